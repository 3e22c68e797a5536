"""Events as values, and the two schemas in which subscribers receive them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

type Json = dict[str, Any]


class Topic(StrEnum):
    """What events come from: the system topics of a stack."""

    HUB = "hub"
    VAULT = "vault"


class EventSchema(StrEnum):
    """How a subscriber wants its events, in the words of the resource provider."""

    EVENT_GRID = "EventGridSchema"
    CLOUD_EVENTS = "CloudEventSchemaV1_0"


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened. `source` is the ARM id of the topic's resource.

    `about_since` is when what the event is about came to be: a subscription hears only of what
    is younger than itself. None is always young enough.
    """

    id: str
    topic: Topic
    source: str
    subject: str
    type: str
    time: datetime
    data: Json
    about_since: datetime | None = None


def document(event: Event, schema: EventSchema) -> Json:
    """An event as one JSON object."""
    if schema is EventSchema.CLOUD_EVENTS:
        return {
            "id": event.id,
            "source": event.source,
            "subject": event.subject,
            "type": event.type,
            "time": event_time(event.time),
            "data": event.data,
            "specversion": "1.0",
        }
    return {
        "id": event.id,
        "topic": event.source,
        "subject": event.subject,
        "eventType": event.type,
        "eventTime": event_time(event.time),
        "data": event.data,
        "dataVersion": "1",
        "metadataVersion": "1",
    }


def event_time(at: datetime) -> str:
    """A time with seven digits after the second, as .NET writes them."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f0Z")
