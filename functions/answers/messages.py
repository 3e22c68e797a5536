"""Problem documents (RFC 9457), and kept messages with their reasons."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Self

from pydantic import BeforeValidator

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
    errors: tuple[FieldError, ...] | None
    remedy: str | None

    @classmethod
    def of(
        cls,
        status: int,
        reason: Reason,
        detail: str,
        *,
        errors: tuple[FieldError, ...] = (),
        remedy: str | None = None,
    ) -> Self:
        """The problem document of a reason."""
        return cls(
            type=f"urn:firstpull:problem:{reason.value}",
            title=MEANING[reason],
            status=status,
            reason=reason,
            detail=detail,
            errors=errors or None,
            remedy=remedy,
        )


def _field_errors(errors: Iterable[tuple[str, str]]) -> tuple[FieldError, ...]:
    return tuple(FieldError(path=path, message=message) for path, message in errors)


class PoisonMessage(Answer):
    """A kept message, and why it was refused."""

    queue: str
    id: str
    reason: Reason
    detail: str
    errors: Annotated[tuple[FieldError, ...], BeforeValidator(_field_errors)]
    kept_at: Time | None
    message: str


class PoisonList(Answer):
    """The oldest kept messages of each queue, and the queues where storage fails at the next."""

    messages: tuple[PoisonMessage, ...]
    unreadable: tuple[str, ...] | None


class Discarded(Answer):
    """How many kept messages were thrown away."""

    discarded: Count
