"""Problem documents (RFC 9457), and kept messages with their reasons."""

from __future__ import annotations

from typing import Self

from firstpull.intake import poison_queue
from firstpull.model.reasons import MEANING, Reason
from functions.answers.base import Answer, Count, Time


class FieldError(Answer):
    """One thing that is wrong: at a JSON pointer into the body, or with a parameter."""

    path: str
    message: str


class Problem(Answer):
    """Why a request was not carried out."""

    type: str
    title: str
    status: Count
    reason: Reason
    detail: str
    errors: tuple[FieldError, ...] | None = None

    @classmethod
    def of(
        cls, status: int, reason: Reason, detail: str, *, errors: tuple[FieldError, ...] = ()
    ) -> Self:
        """The problem document of a reason."""
        return cls(
            type=f"urn:firstpull:problem:{reason.value}",
            title=MEANING[reason],
            status=status,
            reason=reason,
            detail=detail,
            errors=errors or None,
        )


class PoisonMessage(Answer):
    """A kept message, and why it was refused."""

    queue: str
    id: str
    reason: Reason
    detail: str
    errors: tuple[FieldError, ...]
    kept_at: Time | None = None
    message: str

    @classmethod
    def of(cls, kept: poison_queue.PoisonMessage) -> Self:
        """The answer for a kept message."""
        return cls(
            queue=kept.queue,
            id=kept.id,
            reason=kept.reason,
            detail=kept.detail,
            errors=tuple(FieldError(path=path, message=text) for path, text in kept.errors),
            kept_at=kept.kept_at,
            message=kept.message,
        )


class PoisonList(Answer):
    """The oldest kept messages of each queue."""

    messages: tuple[PoisonMessage, ...]
