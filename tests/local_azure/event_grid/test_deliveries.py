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
from local_azure.event_grid.models import DeliverySettings
from local_azure.event_grid.retries import retry_seconds
from local_azure.kernel.clock import Clock

from .conftest import PLAIN, TOPIC_IDS

CREATED = "Microsoft.Devices.DeviceCreated"
DELETED = "Microsoft.Devices.DeviceDeleted"


def publish(grid: EventGrid, subject: str = "devices/d", *, kind: str = CREATED) -> Event:
    return grid.publish(Topic.HUB, kind, subject=subject, data={})


def to_webhook(**changes: object) -> EventSubscription:
    subscription = EventSubscription(
        name="to-webhook", topic=Topic.HUB, destination=Webhook("https://example.org/hook?code=k")
    )
    return replace(subscription, **changes)  # type: ignore[arg-type]


def test_an_event_goes_to_every_subscription_that_takes_it(
    grid: EventGrid, to_queue: EventSubscription
) -> None:
    grid.subscribe(to_queue)
    grid.subscribe(replace(to_queue, name="deletions", event_types=(DELETED,)))
    grid.subscribe(replace(to_queue, name="vault", topic=Topic.VAULT))
    created, deleted = publish(grid), publish(grid, kind=DELETED)
    due = Counter((d.subscription.name, d.event.id) for d in grid.take_due())
    assert due == Counter(
        [("to-queue", created.id), ("to-queue", deleted.id), ("deletions", deleted.id)]
    )
    assert grid.published == {CREATED: 1, DELETED: 1}
    assert grid.take_due() == []


def test_a_subscription_hears_of_nothing_that_happened_before_it(
    grid: EventGrid, to_queue: EventSubscription
) -> None:
    publish(grid)
    grid.subscribe(to_queue)
    assert grid.take_due() == []


def test_names_are_unique_and_unknown_ones_refused(
    grid: EventGrid, to_queue: EventSubscription
) -> None:
    grid.subscribe(to_queue)
    with pytest.raises(SubscriptionExists):
        grid.subscribe(to_queue)
    grid.unsubscribe("to-queue")
    with pytest.raises(SubscriptionNotFound):
        grid.unsubscribe("to-queue")


@given(seed=st.integers(0, 2**32), count=st.integers(1, 30))
def test_every_event_arrives_at_least_once_within_the_most_delay(seed: int, count: int) -> None:
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


def test_one_event_in_five_comes_twice_and_the_order_is_lost(
    clock: Clock, to_queue: EventSubscription
) -> None:
    grid = EventGrid(clock=clock, random=Random(1), topic_ids=TOPIC_IDS)  # noqa: S311 - chance
    grid.subscribe(to_queue)
    sent = [publish(grid).id for _ in range(500)]
    clock.advance(timedelta(seconds=1))
    arrived = [delivery.event.id for delivery in grid.take_due()]
    assert 560 < len(arrived) < 640
    assert list(dict.fromkeys(arrived)) != sent


def test_the_same_seed_loses_the_order_in_the_same_way(
    clock: Clock, to_queue: EventSubscription
) -> None:
    runs = []
    for _ in range(2):
        grid = EventGrid(clock=clock, random=Random(8), topic_ids=TOPIC_IDS)  # noqa: S311 - chance
        grid.subscribe(to_queue)
        for number in range(20):
            publish(grid, f"devices/{number}")
        clock.advance(timedelta(seconds=1))
        runs.append([(d.event.id, d.event.subject) for d in grid.take_due()])
    assert runs[0] == runs[1]


@pytest.mark.parametrize("status", [200, 201, 202, 203, 204])
def test_200_to_204_is_success(grid: EventGrid, status: int) -> None:
    state = grid.subscribe(to_webhook())
    publish(grid)
    (delivery,) = grid.take_due()
    grid.settle(delivery, status=status)
    assert (state.counts["delivered"], grid.next_due_at()) == (1, None)


@pytest.mark.parametrize("status", [205, 301, 402, 404, 429, 500, 503, None])
def test_other_answers_bring_the_event_back_later(
    grid: EventGrid, clock: Clock, status: int | None
) -> None:
    grid.subscribe(to_webhook())
    event = publish(grid)
    (delivery,) = grid.take_due()
    grid.settle(delivery, status=status)
    assert grid.take_due() == []
    clock.advance(timedelta(minutes=6))
    (again,) = grid.take_due()
    assert (again.event, again.attempts) == (event, 1)


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


def test_the_waits_can_be_made_short(grid: EventGrid, clock: Clock) -> None:
    grid.settings = replace(PLAIN, retry_scale=0.001)
    grid.subscribe(to_webhook())
    publish(grid)
    (delivery,) = grid.take_due()
    grid.settle(delivery, status=404)
    due_at = grid.next_due_at()
    assert due_at is not None
    assert 0.3 <= (due_at - clock.now()).total_seconds() <= 0.33


@pytest.mark.parametrize(
    ("status", "reason", "outcome"),
    [
        (400, "UndeliverableDueToHttpBadRequest", "BadRequest"),
        (401, "UndeliverableDueToHttpUnauthorized", "Unauthorized"),
        (403, "UndeliverableDueToHttpForbidden", "Forbidden"),
        (413, "UndeliverableDueToHttpPayloadTooLarge", "PayloadTooLarge"),
    ],
)
def test_some_answers_of_a_webhook_are_final(
    grid: EventGrid, status: int, reason: str, outcome: str
) -> None:
    state = grid.subscribe(to_webhook())
    event = publish(grid)
    (delivery,) = grid.take_due()
    grid.settle(delivery, status=status)
    assert (grid.next_due_at(), state.counts["deadLettered"]) == (None, 1)
    (letter,) = grid.dead_letters
    shown = letter.document()
    assert (shown["id"], shown["deadLetterReason"], shown["lastDeliveryOutcome"]) == (
        event.id, reason, outcome,
    )  # fmt: skip
    assert (shown["deliveryAttempts"], shown["publishTime"]) == (1, "2031-05-06T12:00:00.2500000Z")


def test_a_storage_queue_that_forbids_for_now_is_asked_again(
    grid: EventGrid, to_queue: EventSubscription
) -> None:
    grid.subscribe(to_queue)
    publish(grid)
    (delivery,) = grid.take_due()
    grid.settle(delivery, status=401)
    assert grid.next_due_at() is not None


def test_a_dead_letter_of_cloud_events_has_lower_case_names(grid: EventGrid) -> None:
    grid.subscribe(to_webhook(schema=EventSchema.CLOUD_EVENTS))
    publish(grid)
    (delivery,) = grid.take_due()
    grid.settle(delivery, status=400)
    shown = grid.dead_letters[0].document()
    assert shown["deadletterreason"] == "UndeliverableDueToHttpBadRequest"
    assert shown["specversion"] == "1.0"


@pytest.mark.parametrize(
    ("settings", "reason", "attempts"),
    [
        (replace(PLAIN, most_attempts=3), "MaxDeliveryAttemptsExceeded", 3),
        # 10 s, 30 s and 1 min fit into two minutes, the next wait of 5 min does not.
        (replace(PLAIN, time_to_live_seconds=120), "TimeToLiveExceeded", 4),
    ],
)
def test_an_event_that_fails_for_too_long_is_given_up(
    grid: EventGrid, clock: Clock, settings: DeliverySettings, reason: str, attempts: int
) -> None:
    grid.settings = settings
    grid.subscribe(to_webhook())
    publish(grid)
    tried = 0
    while (due_at := grid.next_due_at()) is not None:
        clock.advance(due_at - clock.now())
        for delivery in grid.take_due():
            tried += 1
            grid.settle(delivery, status=500)
    (letter,) = grid.dead_letters
    assert (letter.reason, tried, letter.delivery.attempts) == (reason, attempts, attempts)


def test_a_paused_subscription_gets_everything_afterwards(
    grid: EventGrid, to_queue: EventSubscription
) -> None:
    state = grid.subscribe(to_queue)
    state.paused = True
    events = {publish(grid).id, publish(grid).id}
    assert (grid.take_due(), grid.next_due_at()) == ([], None)
    state.paused = False
    assert {delivery.event.id for delivery in grid.take_due()} == events


def test_what_was_delivered_can_be_sent_again(grid: EventGrid, to_queue: EventSubscription) -> None:
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


def test_an_answer_for_a_subscription_that_is_gone_changes_nothing(
    grid: EventGrid, to_queue: EventSubscription
) -> None:
    grid.subscribe(to_queue)
    publish(grid)
    (delivery,) = grid.take_due()
    grid.unsubscribe("to-queue")
    state = grid.subscribe(replace(to_queue))
    grid.settle(delivery, status=500)
    assert (grid.next_due_at(), state.counts) == (None, {})


@pytest.mark.parametrize(
    "changes",
    [{"name": "a"}, {"name": "a b c"}, {"event_types": ("Microsoft.Devices.DeviceConnected",)}],
)
def test_a_subscription_that_could_not_be_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"subscription's name|has no"):
        to_webhook(**changes)


@pytest.mark.parametrize("name", ["ab", "a--b", "-ab", "ab-", "Abc", "a" * 64, "a_b"])
def test_a_queue_that_storage_would_refuse_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="queue's name"):
        StorageQueue(name)


@pytest.mark.parametrize("url", ["", "example.org", "ftp://example.org/", "https://", "https:///x"])
def test_a_webhook_needs_a_url(url: str) -> None:
    with pytest.raises(ValueError, match="webhook's URL"):
        Webhook(url)


def test_a_webhooks_key_is_not_shown() -> None:
    webhook = Webhook("https://example.org/hook?code=secret")
    assert "secret" not in repr(webhook)
    assert webhook.shown_url == "https://example.org/hook?****"
