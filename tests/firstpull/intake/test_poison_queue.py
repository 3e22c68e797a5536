"""Every refused message is kept, whatever is in it and however long it is."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

import pytest

from firstpull.intake.poison_queue import Front, Poison, PoisonMessage, StoredMessage
from firstpull.model.errors import FieldError, Invalid
from firstpull.model.reasons import Reason
from tests.firstpull.harness import Harness

LONGEST = 64 * 1024


@dataclass(frozen=True)
class XmlQueues:
    """Poison queues that carry messages in XML and refuse long ones, as Azure's do."""

    kept: dict[str, list[str]] = field(default_factory=dict)

    async def keep(self, queue: str, text: str) -> None:
        assert len(text.encode()) <= LONGEST, "413 RequestBodyTooLarge"
        parsed = ET.fromstring(f"<m>{escape(text)}</m>").text or ""  # noqa: S314 - ours
        assert parsed == text
        self.kept.setdefault(queue, []).append(parsed)

    async def peek(self, queue: str) -> Front:
        texts = self.kept.get(queue, [])
        return Front(
            messages=tuple(
                StoredMessage(id=f"{n}", text=t, inserted_at=None) for n, t in enumerate(texts)
            )
        )

    async def resend(self, queue: str, message_id: str, text: str) -> bool:
        del self.kept[queue][int(message_id)]
        await self.keep(f"{queue} again", text)
        return True

    async def discard(self, queue: str, message_ids: Collection[str]) -> int:
        del queue, message_ids
        return 0

    async def clear(self, queue: str) -> int:
        return len(self.kept.pop(queue))


def poison_of(queues: XmlQueues) -> Poison:
    harness = Harness()
    records = harness.processes[0].application.ports.records
    return Poison(queues=queues, records=records, policy=harness.policy, clock=harness.clock)


async def kept(text: str, refusal: Invalid) -> PoisonMessage:
    poison = poison_of(XmlQueues())
    await poison.keep("device-events", text, refusal)
    (message,) = (await poison.list("device-events")).messages
    return message


async def test_a_corrected_message_is_sent_again_whatever_is_in_it() -> None:
    queues = XmlQueues()
    poison = poison_of(queues)
    await poison.keep("device-events", "[]", Invalid("no"))
    corrected = '{"a": "\uffff"}'
    await poison.resend("device-events", "0", corrected=corrected.encode(), requested_by="a test")
    (sent,) = queues.kept["device-events again"]
    assert json.loads(sent) == json.loads(corrected)


REFUSALS = [
    Invalid("no"),
    Invalid("no", errors=(FieldError("/\uffff/\x00", "is not a parameter here"),)),
    Invalid("no", errors=tuple(FieldError("/ä" * 200, "is wrong" * 10) for _ in range(1000))),
]
TEXTS: dict[str, Callable[[int], str]] = {
    "ASCII": lambda size: json.dumps({"a": "x" * size}),
    "not in XML": lambda size: json.dumps({"\uffff": "\ufffe" * (size // 3)}, ensure_ascii=False),
    "two bytes": lambda size: json.dumps({"ä": "ä" * (size // 2)}, ensure_ascii=False),
    "four bytes": lambda size: json.dumps({"𝄞": "𝄞" * (size // 4)}, ensure_ascii=False),
    "quotes": lambda size: json.dumps('"' * (size // 2)),
}


@pytest.mark.parametrize("refusal", REFUSALS, ids=["plain", "an odd path", "many errors"])
@pytest.mark.parametrize("size", [0, 8_000, 40_000, LONGEST - 200, 300_000])
@pytest.mark.parametrize("kind", TEXTS)
async def test_a_refused_message_is_kept_and_listed(kind: str, size: int, refusal: Invalid) -> None:
    text = TEXTS[kind](size)
    message = await kept(text, refusal)
    assert message.reason in (refusal.reason, Reason.HANDLER_FAILED)
    as_json = message.message
    if len(text.encode()) < LONGEST // 8:
        assert json.loads(as_json) == json.loads(text)
        assert message.reason is refusal.reason
    else:
        assert as_json
