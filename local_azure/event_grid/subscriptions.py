"""Event subscriptions as values: topic, event types, schema and destination."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from local_azure.event_grid.events import Event, EventSchema, Topic

EVENT_TYPES = {
    Topic.HUB: ("Microsoft.Devices.DeviceCreated", "Microsoft.Devices.DeviceDeleted"),
    Topic.VAULT: (
        "Microsoft.KeyVault.SecretNewVersionCreated",
        "Microsoft.KeyVault.SecretNearExpiry",
        "Microsoft.KeyVault.SecretExpired",
    ),
}
"""The event types of each topic."""

_NAME = re.compile(r"[A-Za-z0-9-]{3,64}")
_QUEUE_NAME = re.compile(r"(?=.{3,63}\Z)[a-z0-9]+(?:-[a-z0-9]+)*")


@dataclass(frozen=True)
class StorageQueue:
    """A queue of the stack's storage account. Each message is one event in base64."""

    name: str

    def __post_init__(self) -> None:
        if not _QUEUE_NAME.fullmatch(self.name):
            raise ValueError("a queue's name is 3 to 63 of a-z 0-9 and single dashes inside")

    @property
    def final_statuses(self) -> frozenset[int]:
        """The statuses after which Event Grid does not retry."""
        return frozenset({400, 403, 413})


@dataclass(frozen=True)
class Webhook:
    """An HTTP endpoint. Its URL may contain a key."""

    url: str = field(repr=False)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"https?://[^/?#\s]+\S*", self.url):
            raise ValueError("a webhook's URL begins with http:// or https:// and a host")

    @property
    def shown_url(self) -> str:
        """The URL without its query, which may contain a key."""
        base, query, _ = self.url.partition("?")
        return f"{base}?****" if query else base

    @property
    def final_statuses(self) -> frozenset[int]:
        """The statuses after which Event Grid does not retry."""
        return frozenset({400, 401, 403, 413})


type Destination = StorageQueue | Webhook


@dataclass(frozen=True, kw_only=True)
class EventSubscription:
    """One subscription. `event_types` of None means all types of the topic."""

    name: str
    topic: Topic
    destination: Destination
    event_types: tuple[str, ...] | None = None
    schema: EventSchema = EventSchema.EVENT_GRID

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError("a subscription's name is 3 to 64 letters, digits and dashes")
        unknown = set(self.event_types or ()) - set(EVENT_TYPES[self.topic])
        if unknown:
            raise ValueError(f"the {self.topic} has no {', '.join(sorted(unknown))}")

    def matches(self, event: Event) -> bool:
        """Whether the subscription matches an event."""
        return event.topic is self.topic and (
            self.event_types is None or event.type in self.event_types
        )
