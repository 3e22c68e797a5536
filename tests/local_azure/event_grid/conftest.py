from __future__ import annotations

from datetime import UTC, datetime
from random import Random

import pytest

from local_azure.event_grid import EventGrid, EventSubscription, StorageQueue, Topic
from local_azure.event_grid.models import DeliverySettings
from local_azure.kernel.clock import Clock

TOPIC_IDS = {Topic.HUB: "/SUBSCRIPTIONS/S/HUB", Topic.VAULT: "/subscriptions/s/vault"}
AT_ONCE_AND_ONCE = DeliverySettings(delay_seconds=(0, 0), duplicate_probability=0)


@pytest.fixture
def clock() -> Clock:
    return Clock(lambda: datetime(2031, 5, 6, 12, 0, 0, 250_000, tzinfo=UTC))


@pytest.fixture
def grid(clock: Clock) -> EventGrid:
    return EventGrid(
        clock=clock,
        random=Random(5),  # noqa: S311 - chance
        topic_ids=TOPIC_IDS,
        settings=AT_ONCE_AND_ONCE,
    )


@pytest.fixture
def to_queue() -> EventSubscription:
    return EventSubscription(
        name="to-queue", topic=Topic.HUB, destination=StorageQueue("device-events")
    )
