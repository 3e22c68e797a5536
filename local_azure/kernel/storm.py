"""Random trouble on request: refusals, lost answers, resets, late answers, and odd documents.

A storm follows its own seed, so that the same calls in the same order meet the same trouble.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.utils import format_datetime
from typing import Any

from local_azure.kernel.faults import Fault, FaultKind

_STORAGE = ("blob", "queue", "table")
_NEVER = ("identity",)
"""Services without trouble: clients keep their answers for hours."""
_SLOW_SECONDS = 0.3
_ARM_ID = re.compile(r"/subscriptions/[^\s]+", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """One kind. `pause` makes the value of Retry-After, an HTTP date or seconds, from the time."""

    name: str
    kind: FaultKind = FaultKind.STATUS
    status: int = 503
    pause: Callable[[datetime], str] | None = None
    seconds: float = 0.0

    def fault(self, operation: str, *, now: datetime) -> Fault:
        """The fault of one call."""
        return Fault(
            re.escape(operation),
            self.kind,
            status=self.status,
            retry_after=self.pause(now) if self.pause is not None else None,
            seconds=self.seconds,
        )


def _in_a_second(now: datetime) -> str:
    return format_datetime((now + timedelta(seconds=1)).replace(microsecond=0), usegmt=True)


_ANYWHERE = (
    Trouble(name="500", status=500),
    Trouble(name="503"),
    Trouble(name="answer lost", kind=FaultKind.ANSWER_LOST),
    Trouble(name="reset", kind=FaultKind.RESET),
    Trouble(name="slow", kind=FaultKind.DELAY, seconds=_SLOW_SECONDS),
)
_BESIDE_STORAGE = (
    Trouble(name="429, Retry-After in seconds", status=429, pause=lambda _: "1"),
    Trouble(name="429, Retry-After as a date", status=429, pause=_in_a_second),
    Trouble(name="429 without Retry-After", status=429),
    Trouble(name="409", status=409),
    Trouble(name="412", status=412),
)
KINDS = tuple(trouble.name for trouble in (*_ANYWHERE, *_BESIDE_STORAGE))


@dataclass
class Storm:
    """Trouble at a share of the calls. Storage throttles by 503, and never by 429."""

    chance: random.Random
    share: float
    now: Callable[[], datetime]
    met: Counter[str] = field(default_factory=Counter)

    def next_for(self, operation: str) -> Fault | None:
        """What this call meets, if anything."""
        service = operation.partition(".")[0]
        if service in _NEVER or self.chance.random() >= self.share:
            return None
        kinds = _ANYWHERE if service in _STORAGE else (*_ANYWHERE, *_BESIDE_STORAGE)
        trouble = self.chance.choice(kinds)
        self.met[trouble.name] += 1
        return trouble.fault(operation, now=self.now())


@dataclass
class Oddities:
    """Ways in which answers may change without notice; clients must not mind. None at first."""

    page_size: int | None = None
    """Documents on a page of Azure Resource Manager."""
    case_of_ids: bool = False
    """Ids of resources come in another case each time."""
    unknown_fields: bool = False
    """Documents have fields that nobody knows."""
    chance: random.Random = field(default_factory=lambda: random.Random(0))  # noqa: S311

    def clear(self) -> None:
        """Answer as documented again."""
        self.page_size, self.case_of_ids, self.unknown_fields = None, False, False

    @property
    def change_documents(self) -> bool:
        """Whether documents are to be changed."""
        return self.case_of_ids or self.unknown_fields

    def changed(self, document: Any) -> Any:  # noqa: ANN401 - JSON
        """A JSON document, as somebody may answer it some day."""
        if self.case_of_ids:
            document = self._with_other_case(document)
        if self.unknown_fields:
            for each in _resources(document):
                each["addedLater"] = {"since": "2031-01-01", "values": [1, None, "x"]}
        return document

    def _with_other_case(self, value: Any) -> Any:  # noqa: ANN401 - JSON
        if isinstance(value, dict):
            return {name: self._with_other_case(inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [self._with_other_case(inner) for inner in value]
        if isinstance(value, str) and _ARM_ID.fullmatch(value):
            return self.chance.choice((str.lower, str.upper, str.title, str))(value)
        return value


def _resources(document: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401 - JSON
    """The document and those that it lists, each with its properties."""
    listed = document.get("value") if isinstance(document, Mapping) else document
    for each in (document, *(listed if isinstance(listed, list) else ())):
        if isinstance(each, dict):
            yield each
            if isinstance(each.get("properties"), dict):
                yield each["properties"]
