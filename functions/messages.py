"""Queue messages as the worker passes them."""

from __future__ import annotations

from datetime import UTC, datetime

import azure.functions as func


def text_of(message: func.QueueMessage) -> str:
    """The message as it was in the queue."""
    return message.get_body().decode(errors="replace")


def inserted_at(message: func.QueueMessage) -> datetime | None:
    """When the message was written, with its time zone; None where the host does not say."""
    at = message.insertion_time
    return at.replace(tzinfo=UTC) if at is not None and at.tzinfo is None else at
