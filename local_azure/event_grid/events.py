"""Events as values, and the two schemas in which subscribers receive them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from local_azure.kernel.clock import dotnet_time

type Json = dict[str, Any]


class Topic(StrEnum):
    """The system topics of a stack."""

    HUB = "hub"
    VAULT = "vault"


class EventSchema(StrEnum):
    """The schema of a subscription's events."""

    EVENT_GRID = "EventGridSchema"
    CLOUD_EVENTS = "CloudEventSchemaV1_0"


@dataclass(frozen=True, kw_only=True)
class Event:
    """One event. `source` is the ARM id of the topic's resource.

    `about_since`: the creation time of the event's subject. A subscription gets only events about
    subjects that are younger than itself; None is always young enough.
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
            "time": dotnet_time(event.time),
            "data": event.data,
            "specversion": "1.0",
        }
    return {
        "id": event.id,
        "topic": event.source,
        "subject": event.subject,
        "eventType": event.type,
        "eventTime": dotnet_time(event.time),
        "data": event.data,
        "dataVersion": "1",
        "metadataVersion": "1",
    }
