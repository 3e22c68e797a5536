"""Queue messages as the worker hands them over."""

from __future__ import annotations

from datetime import UTC, datetime

import azure.functions as func


def text_of(message: func.QueueMessage) -> str:
    """The message as it lay in the queue."""
    return message.get_body().decode(errors="replace")


def inserted_at(message: func.QueueMessage) -> datetime | None:
    """When it was written, aware; None where the host does not say."""
    at = message.insertion_time
    return at.replace(tzinfo=UTC) if at is not None and at.tzinfo is None else at
