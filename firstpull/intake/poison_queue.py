"""Rejected messages: keep them with their reason, list them, and send them again.

firstpull moves a message that it refuses to `<queue>-poison`, in an envelope with the reason. The
Functions host moves a message whose handler keeps failing there unchanged; its reason is
`HandlerFailed`.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Protocol

from pydantic import AwareDatetime, Field, ValidationError

from firstpull.config.fields import StrictModel
from firstpull.config.policy import Policy
from firstpull.intake.json_input import read_json, read_message, read_object
from firstpull.intake.requests import read_request
from firstpull.model.clock import Clock
from firstpull.model.device_key import DeviceKey, is_device_id
from firstpull.model.device_record import Rejection
from firstpull.model.errors import FirstpullError, Invalid, NotKnown
from firstpull.model.ports import Records
from firstpull.model.reasons import Reason
from firstpull.model.transitions import with_rejection
from firstpull.observability.log import emit, emit_warning
from firstpull.observability.log_events import LogEvent

_ONBOARDING = "device-onboarding"
QUEUES = (_ONBOARDING, "device-events", "device-work")
"""The queues that have a poison queue."""
_LONGEST_MESSAGE = 64 * 1024
"""Bytes that a storage queue takes in one message."""
_BEGINNING = 8_000
"""Characters, none of which takes more than six bytes."""
_NOT_IN_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML, and so a queue, has not. JSON has them in strings alone."""


@dataclass(frozen=True, kw_only=True)
class StoredMessage:
    """A message as a poison queue has it."""

    id: str
    text: str
    inserted_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Front:
    """The oldest messages of a poison queue; `is_whole` unless storage fails at the next one."""

    messages: tuple[StoredMessage, ...]
    is_whole: bool = True


class PoisonQueues(Protocol):
    """The port to the poison queues. `queue` is always the name without `-poison`."""

    async def keep(self, queue: str, text: str) -> None:
        """Put a message into the poison queue, without expiry."""
        ...

    async def peek(self, queue: str) -> Front:
        """The oldest messages, at most 32; the queue keeps them unchanged."""
        ...

    async def resend(self, queue: str, message_id: str, text: str) -> bool:
        """Put `text` into the queue and remove the rejected message. False if it has gone."""
        ...

    async def discard(self, queue: str, message_ids: Collection[str]) -> int:
        """Remove these messages, of the oldest 32, from the poison queue. Returns how many."""
        ...

    async def clear(self, queue: str) -> int:
        """Remove all messages from the poison queue. Returns about how many."""
        ...


class _Error(StrictModel):
    path: str
    message: str


class _Envelope(StrictModel):
    rejected: Annotated[str, Field(pattern="^firstpull$")]
    reason: Reason
    detail: str
    errors: tuple[_Error, ...]
    at: AwareDatetime
    message: str


@dataclass(frozen=True, kw_only=True)
class PoisonMessage:
    """A rejected message with its reason. `errors` are (path, message)."""

    queue: str
    id: str
    reason: Reason
    detail: str
    errors: tuple[tuple[str, str], ...]
    kept_at: datetime | None
    message: str


@dataclass(frozen=True, kw_only=True)
class PoisonListing:
    """Rejected messages. Storage cannot deliver what follows them in the `unreadable` queues."""

    messages: tuple[PoisonMessage, ...]
    unreadable: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Poison:
    """Keeps, lists, resends and discards rejected messages."""

    queues: PoisonQueues
    records: Records
    policy: Policy
    clock: Clock

    async def keep(self, queue: str, text: str, refusal: Invalid) -> None:
        """Keep a refused message, and note the refusal on the device's record.

        A message that is too long for the envelope is kept without its reason. Of one that no
        queue can hold, which Event Grid pushed, the beginning is kept.
        """
        envelope = _Envelope(
            rejected="firstpull",
            reason=refusal.reason,
            detail=refusal.message,
            errors=tuple(_Error(path=e.path, message=e.message) for e in refusal.errors),
            at=self.clock.now(),
            message=text,
        )
        beginning = envelope.model_copy(
            update={
                "detail": f"{refusal.message} The message is longer than what is kept of it.",
                "errors": (),
                "message": text[:_BEGINNING],
            }
        )
        candidates = map(storable, (_json(envelope), text, _json(beginning)))
        fitting = (one for one in candidates if len(one.encode()) <= _LONGEST_MESSAGE)
        await self.queues.keep(queue, next(fitting))
        emit_warning(LogEvent.MESSAGE_REJECTED, queue=queue, reason=refusal.reason.value)
        await self._note_on_record(text.encode(), refusal)

    async def list(self, queue: str | None) -> PoisonListing:
        """The rejected messages of a queue, None for all. Raises Invalid for an unknown queue."""
        fronts = {name: await self.queues.peek(name) for name in _named(queue)}
        return PoisonListing(
            messages=tuple(
                _opened(name, message)
                for name, front in fronts.items()
                for message in front.messages
            ),
            unreadable=tuple(name for name, front in fronts.items() if not front.is_whole),
        )

    async def find(self, queue: str, message_id: str) -> PoisonMessage:
        """One rejected message. Raises NotKnown."""
        for message in (await self.list(queue)).messages:
            if message.id == message_id:
                return message
        raise _gone(queue)

    async def resend(
        self, queue: str, message_id: str, *, corrected: bytes | None = None, requested_by: str
    ) -> PoisonMessage:
        """Put a message back into its queue, unchanged or corrected. Raises NotKnown.

        Raises Invalid if the corrected message is not JSON, or no onboarding request.
        """
        message = await self.find(queue, message_id)
        if corrected is not None:
            (read_request if queue == _ONBOARDING else read_json)(corrected)
            message = replace(message, message=corrected.decode())
        if not await self.queues.resend(queue, message_id, storable(message.message)):
            raise _gone(queue)
        emit(LogEvent.MESSAGE_RESENT, queue=queue, requested_by=requested_by)
        return message

    async def discard(self, queue: str, message_id: str, *, requested_by: str) -> None:
        """Delete a message. Raises NotKnown."""
        (name,) = _named(queue)
        if not await self.queues.discard(name, (message_id,)):
            raise _gone(queue)
        emit(LogEvent.MESSAGE_DISCARDED, queue=queue, messages=1, requested_by=requested_by)

    async def discard_all(self, queue: str, *, reason: Reason | None, requested_by: str) -> int:
        """Delete the rejected messages of a queue that have a reason; None is any.

        None deletes those that storage cannot deliver, too; a reason those until none of the oldest
        has it. Returns how many were deleted.
        """
        (name,) = _named(queue)
        discarded = await self._discard_all(name, reason=reason)
        emit(LogEvent.MESSAGE_DISCARDED, queue=name, messages=discarded, requested_by=requested_by)
        return discarded

    async def _discard_all(self, name: str, *, reason: Reason | None) -> int:
        if reason is None:
            return await self.queues.clear(name)
        discarded = 0
        while found := await self.matching(name, reason=reason):
            gone = await self.queues.discard(name, {message.id for message in found})
            if not gone:
                break
            discarded += gone
        return discarded

    async def matching(self, queue: str, *, reason: Reason | None) -> tuple[PoisonMessage, ...]:
        """Those of a queue's oldest rejected messages that have a reason; None is any."""
        listing = await self.list(queue)
        return tuple(m for m in listing.messages if reason in (None, m.reason))

    async def _note_on_record(self, body: bytes, refusal: Invalid) -> None:
        device = self._device_in(body)
        if device is None:
            return
        rejection = Rejection(reason=refusal.reason, message=refusal.message, at=self.clock.now())
        with suppress(FirstpullError):  # the envelope has the reason; a retry would keep it twice
            stored = await self.records.get(device)
            if stored is not None:
                noted = with_rejection(stored.value, rejection)
                await self.records.replace(noted, etag=stored.etag)

    def _device_in(self, body: bytes) -> DeviceKey | None:
        """The device that a refused message names, None if it names none of a listed hub."""
        try:
            document = read_object(read_message(body))
        except Invalid:
            return None
        device_id, host = document.get("deviceId"), document.get("hub")
        hub = self.policy.hub(host if isinstance(host, str) else None)
        if hub is None or not isinstance(device_id, str) or not is_device_id(device_id):
            return None
        return DeviceKey(hub=hub.host, device_id=device_id)


def _json(envelope: _Envelope) -> str:
    return envelope.model_dump_json(by_alias=True)


def storable(text: str) -> str:
    """The text with JSON's escapes for the characters that a queue cannot hold."""
    return _NOT_IN_XML.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _named(queue: str | None) -> tuple[str, ...]:
    if queue is None:
        return QUEUES
    if queue not in QUEUES:
        raise Invalid(f"There is no queue of this name; there are {', '.join(QUEUES)}.")
    return (queue,)


def _opened(queue: str, stored: StoredMessage) -> PoisonMessage:
    try:
        envelope = _Envelope.model_validate_json(stored.text)
    except ValidationError:
        return PoisonMessage(
            queue=queue,
            id=stored.id,
            reason=Reason.HANDLER_FAILED,
            detail="Every attempt to handle the message failed; firstpull's log says why.",
            errors=(),
            kept_at=stored.inserted_at,
            message=stored.text,
        )
    return PoisonMessage(
        queue=queue,
        id=stored.id,
        reason=envelope.reason,
        detail=envelope.detail,
        errors=tuple((e.path, e.message) for e in envelope.errors),
        kept_at=envelope.at,
        message=envelope.message,
    )


def _gone(queue: str) -> NotKnown:
    return NotKnown(
        f"The poison queue of {queue} shows no such message; it shows 32 at a time.",
        reason=Reason.MESSAGE_NOT_KNOWN,
    )
