from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_azure.event_grid import (
    Event,
    EventGrid,
    EventSchema,
    EventSubscription,
    StorageQueue,
    Topic,
    Webhook,
)
from local_azure.event_grid.exceptions import (
    EventNotFound,
    SubscriptionExists,
    SubscriptionNotFound,
)
from local_azure.event_grid.models import Delivery, DeliverySettings
from local_azure.event_grid.retries import retry_seconds
from local_azure.kernel.clock import Clock

from .conftest import AT_ONCE_AND_ONCE, TOPIC_IDS

CREATED = "Microsoft.Devices.DeviceCreated"
DELETED = "Microsoft.Devices.DeviceDeleted"


def publish(grid: EventGrid, subject: str = "devices/d", *, kind: str = CREATED) -> Event:
    return grid.publish(Topic.HUB, kind, subject=subject, data={})


def to_webhook(**changes: object) -> EventSubscription:
    subscription = EventSubscription(
        name="to-webhook", topic=Topic.HUB, destination=Webhook("https://example.org/hook?code=k")
    )
    return replace(subscription, **changes)  # type: ignore[arg-type]


def delivered_with(
    grid: EventGrid, status: int | None, subscription: EventSubscription | None = None
) -> Delivery:
    """The delivery of one event to one subscription, settled with a status."""
    grid.subscribe(subscription or to_webhook())
    publish(grid)
    (delivery,) = grid.take_due()
    grid.settle(delivery, status=status)
    return delivery


def test_an_event_goes_to_every_matching_subscription_that_existed_before_it(
    grid: EventGrid, to_queue: EventSubscription
) -> None:
    publish(grid)
    grid.subscribe(to_queue)
    grid.subscribe(replace(to_queue, name="deletions", event_types=(DELETED,)))
    grid.subscribe(replace(to_queue, name="vault", topic=Topic.VAULT))
    created, deleted = publish(grid), publish(grid, kind=DELETED)
    due = Counter((d.subscription.name, d.event.id) for d in grid.take_due())
    assert due == Counter(
        [("to-queue", created.id), ("to-queue", deleted.id), ("deletions", deleted.id)]
    )
    assert grid.published == {CREATED: 2, DELETED: 1}
    assert grid.take_due() == []


def test_the_name_of_a_subscription_is_unique(grid: EventGrid, to_queue: EventSubscription) -> None:
    grid.subscribe(to_queue)
    with pytest.raises(SubscriptionExists):
        grid.subscribe(to_queue)
    grid.unsubscribe("to-queue")
    with pytest.raises(SubscriptionNotFound):
        grid.unsubscribe("to-queue")


@given(seed=st.integers(0, 2**32), count=st.integers(1, 30))
def test_every_event_arrives_once_or_twice_within_the_maximum_delay(seed: int, count: int) -> None:
    clock = Clock()
    settings = DeliverySettings(delay_seconds=(0.5, 60), duplicate_probability=0.5)
    grid = EventGrid(clock=clock, random=Random(seed), topic_ids=TOPIC_IDS, settings=settings)  # noqa: S311 - chance
    grid.subscribe(
        EventSubscription(name="queue", topic=Topic.HUB, destination=StorageQueue("queue"))
    )
    sent = [publish(grid).id for _ in range(count)]
    assert grid.take_due() == []
    clock.advance(timedelta(seconds=61))
    arrived = Counter(delivery.event.id for delivery in grid.take_due())
    assert set(arrived) == set(sent)
    assert max(arrived.values()) <= 2
    counts = grid.subscription("queue").counts
    assert counts["events"] + counts["duplicates"] == arrived.total()


def test_by_default_a_fifth_of_the_events_comes_twice_in_an_order_that_the_seed_decides(
    clock: Clock, to_queue: EventSubscription
) -> None:
    runs = []
    for _ in range(2):
        grid = EventGrid(clock=clock, random=Random(1), topic_ids=TOPIC_IDS)  # noqa: S311 - chance
        grid.subscribe(to_queue)
        sent = [publish(grid).id for _ in range(500)]
        clock.advance(timedelta(seconds=1))
        runs.append([delivery.event.id for delivery in grid.take_due()])
    assert 560 < len(runs[0]) < 640
    assert list(dict.fromkeys(runs[0])) != sent
    assert runs[0] == runs[1]


@pytest.mark.parametrize(
    ("status", "succeeded"),
    [
        *((status, True) for status in (200, 201, 202, 203, 204)),
        *((status, False) for status in (205, 301, 402, 404, 429, 500, 503, None)),
    ],
)
def test_only_200_to_204_is_success_and_other_statuses_are_retried(
    grid: EventGrid, clock: Clock, status: int | None, *, succeeded: bool
) -> None:
    delivery = delivered_with(grid, status)
    assert grid.take_due() == []
    clock.advance(timedelta(minutes=6))
    expected = [] if succeeded else [(delivery.event, 1)]
    assert [(each.event, each.attempts) for each in grid.take_due()] == expected
    assert grid.subscription("to-webhook").counts["delivered"] == succeeded


@pytest.mark.parametrize(
    ("attempts", "status", "seconds"),
    [
        (1, 500, 10),
        (2, None, 30),
        (3, 500, 60),
        (4, 500, 300),
        (7, 500, 3600),
        (30, 500, 12 * 3600),
        (1, 503, 30),
        (1, 408, 120),
        (1, 404, 300),
        (7, 404, 3600),
    ],
)
def test_the_waits_are_those_of_event_grid(
    attempts: int, status: int | None, seconds: float
) -> None:
    assert retry_seconds(attempts, status) == seconds


def test_a_setting_scales_the_waits(grid: EventGrid, clock: Clock) -> None:
    grid.settings = replace(AT_ONCE_AND_ONCE, retry_scale=0.001)
    delivered_with(grid, 404)
    (retry,) = grid.subscription("to-webhook").waiting
    assert 0.3 <= (retry.due_at - clock.now()).total_seconds() <= 0.33


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(400, "BadRequest"), (401, "Unauthorized"), (403, "Forbidden"), (413, "PayloadTooLarge")],
)
def test_a_final_status_of_a_webhook_makes_a_dead_letter(
    grid: EventGrid, status: int, outcome: str
) -> None:
    delivery = delivered_with(grid, status)
    state = grid.subscription("to-webhook")
    assert (state.waiting, state.counts["deadLettered"]) == ([], 1)
    (letter,) = grid.dead_letters
    shown = letter.document()
    assert shown["id"] == delivery.event.id
    assert shown["deadLetterReason"] == f"UndeliverableDueToHttp{outcome}"
    assert (shown["lastDeliveryOutcome"], shown["deliveryAttempts"]) == (outcome, 1)
    assert shown["publishTime"] == "2031-05-06T12:00:00.2500000Z"


def test_401_of_a_storage_queue_is_retried(grid: EventGrid, to_queue: EventSubscription) -> None:
    delivered_with(grid, 401, to_queue)
    assert len(grid.subscription("to-queue").waiting) == 1


def test_a_dead_letter_of_cloud_events_has_lower_case_names(grid: EventGrid) -> None:
    delivered_with(grid, 400, to_webhook(schema=EventSchema.CLOUD_EVENTS))
    shown = grid.dead_letters[0].document()
    assert shown["deadletterreason"] == "UndeliverableDueToHttpBadRequest"
    assert shown["specversion"] == "1.0"


@pytest.mark.parametrize(
    ("settings", "reason", "attempts"),
    [
        (replace(AT_ONCE_AND_ONCE, most_attempts=3), "MaxDeliveryAttemptsExceeded", 3),
        # 10 s, 30 s and 1 min fit into two minutes, the next wait of 5 min does not.
        (replace(AT_ONCE_AND_ONCE, time_to_live_seconds=120), "TimeToLiveExceeded", 4),
    ],
)
def test_an_event_is_given_up_after_its_attempts_or_its_time_to_live(
    grid: EventGrid, clock: Clock, settings: DeliverySettings, reason: str, attempts: int
) -> None:
    grid.settings = settings
    state = grid.subscribe(to_webhook())
    publish(grid)
    while state.waiting:
        clock.advance(state.waiting[0].due_at - clock.now())
        for delivery in grid.take_due():
            grid.settle(delivery, status=500)
    (letter,) = grid.dead_letters
    assert (letter.reason, letter.delivery.attempts) == (reason, attempts)
    assert state.counts["failedAttempts"] == attempts


def test_a_paused_subscription_gets_its_events_afterwards(
    grid: EventGrid, to_queue: EventSubscription
) -> None:
    state = grid.subscribe(to_queue)
    state.paused = True
    events = {publish(grid).id, publish(grid).id}
    assert grid.take_due() == []
    state.paused = False
    assert {delivery.event.id for delivery in grid.take_due()} == events


def test_a_delivered_event_can_be_sent_again(grid: EventGrid, to_queue: EventSubscription) -> None:
    grid.subscribe(to_queue)
    first, second = publish(grid), publish(grid)
    for delivery in grid.take_due():
        grid.settle(delivery, status=201)
    assert grid.resend("to-queue", [first.id]) == 1
    assert [delivery.event for delivery in grid.take_due()] == [first]
    assert grid.resend("to-queue") == 2
    assert {delivery.event.id for delivery in grid.take_due()} == {first.id, second.id}
    with pytest.raises(EventNotFound):
        grid.resend("to-queue", ["another"])


def test_a_status_for_a_deleted_subscription_is_ignored(
    grid: EventGrid, to_queue: EventSubscription
) -> None:
    grid.subscribe(to_queue)
    publish(grid)
    (delivery,) = grid.take_due()
    grid.unsubscribe("to-queue")
    state = grid.subscribe(replace(to_queue))
    grid.settle(delivery, status=500)
    assert (state.waiting, state.counts) == ([], {})


def test_invalid_names_types_and_urls_are_refused() -> None:
    for changes in (
        {"name": "a"},
        {"name": "a b c"},
        {"event_types": ("Microsoft.Devices.DeviceConnected",)},
    ):
        with pytest.raises(ValueError, match=r"subscription's name|has no"):
            to_webhook(**changes)
    for name in ("ab", "a--b", "-ab", "ab-", "Abc", "a" * 64, "a_b"):
        with pytest.raises(ValueError, match="queue's name"):
            StorageQueue(name)
    for url in ("", "example.org", "ftp://example.org/", "https://", "https:///x"):
        with pytest.raises(ValueError, match="webhook's URL"):
            Webhook(url)


def test_the_key_of_a_webhook_is_not_shown() -> None:
    webhook = Webhook("https://example.org/hook?code=secret")
    assert "secret" not in repr(webhook)
    assert webhook.shown_url == "https://example.org/hook?****"
