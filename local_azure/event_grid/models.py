"""Subscriptions, due deliveries, retries and dead letters, without input or output.

Deliveries are at least once, in no order, and late. The dispatcher takes due deliveries, makes
them, and settles each with its answer.
"""

from __future__ import annotations

import heapq
import uuid
from collections import Counter, deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from random import Random

from local_azure.event_grid.events import Event, EventSchema, Json, Topic, document
from local_azure.event_grid.exceptions import (
    EventNotFound,
    SubscriptionExists,
    SubscriptionNotFound,
)
from local_azure.event_grid.retries import (
    DeadLetterReason,
    is_success,
    outcome_name,
    retry_seconds,
    undeliverable,
)
from local_azure.event_grid.subscriptions import EventSubscription
from local_azure.kernel.clock import Clock, dotnet_time

_EVENT_HISTORY = 1000
_JITTER = 0.1


@dataclass(frozen=True, kw_only=True)
class DeliverySettings:
    """Settings of deliveries. Times follow the stack's clock, except the wait for an answer.

    `retry_scale` multiplies the waits between attempts and the time to live.
    """

    delay_seconds: tuple[float, float] = (0.0, 0.3)  # least and most, drawn for each copy
    duplicate_probability: float = 0.2
    expiry_noticed_seconds: tuple[float, float] = (0.0, 900.0)  # the delay of expiry events
    retry_scale: float = 1.0
    most_attempts: int = 30
    time_to_live_seconds: float = 24 * 3600.0
    response_wait_seconds: float = 30.0


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """One copy of an event for one subscription. `attempts` counts the earlier ones."""

    number: int
    event: Event
    subscription: EventSubscription
    published_at: datetime
    due_at: datetime
    attempts: int = 0

    def __lt__(self, other: Delivery) -> bool:
        return (self.due_at, self.number) < (other.due_at, other.number)


@dataclass(frozen=True, kw_only=True)
class DeadLetter:
    """A delivery that was given up. `attempted_at` is the time of the last attempt."""

    delivery: Delivery
    reason: str
    outcome: str
    attempted_at: datetime

    def document(self) -> Json:
        """The event in its subscription's schema, with the reason."""
        schema = self.delivery.subscription.schema
        outcome = {
            "deadLetterReason": self.reason,
            "deliveryAttempts": self.delivery.attempts,
            "lastDeliveryOutcome": self.outcome,
            "publishTime": dotnet_time(self.delivery.published_at),
            "lastDeliveryAttemptTime": dotnet_time(self.attempted_at),
        }
        if schema is EventSchema.CLOUD_EVENTS:  # whose attributes have lower-case names
            outcome = {name.lower(): value for name, value in outcome.items()}
        return document(self.delivery.event, schema) | outcome


@dataclass
class SubscriptionState:
    """A subscription and its latest events. While it is paused, nothing is due."""

    subscription: EventSubscription
    created_at: datetime
    paused: bool = False
    waiting: list[Delivery] = field(default_factory=list)
    sent: deque[Event] = field(default_factory=lambda: deque(maxlen=_EVENT_HISTORY))
    counts: Counter[str] = field(default_factory=Counter)


class EventGrid:
    """The topics of a stack with their subscriptions."""

    def __init__(
        self,
        *,
        clock: Clock,
        random: Random,
        topic_ids: Mapping[Topic, str],
        settings: DeliverySettings | None = None,
    ) -> None:
        """`topic_ids` are the ARM ids of the resources, spelled as in their events."""
        self.settings = settings or DeliverySettings()
        self.published: Counter[str] = Counter()  # by event type
        self.dead_letters: deque[DeadLetter] = deque(maxlen=_EVENT_HISTORY)
        self._clock = clock
        self._random = random
        self._topic_ids = topic_ids
        self._states: dict[str, SubscriptionState] = {}
        self._numbered = 0

    def subscribe(self, subscription: EventSubscription) -> SubscriptionState:
        """Add a subscription for future events. Raises SubscriptionExists."""
        if subscription.name in self._states:
            raise SubscriptionExists(subscription.name)
        state = SubscriptionState(subscription, created_at=self._clock.now())
        self._states[subscription.name] = state
        return state

    def unsubscribe(self, name: str) -> None:
        """Remove a subscription and its waiting deliveries. Raises SubscriptionNotFound."""
        self.subscription(name)
        del self._states[name]

    def subscriptions(self) -> list[SubscriptionState]:
        """All subscriptions, the oldest first."""
        return list(self._states.values())

    def subscription(self, name: str) -> SubscriptionState:
        """One subscription. Raises SubscriptionNotFound."""
        try:
            return self._states[name]
        except KeyError:
            raise SubscriptionNotFound(name) from None

    def publish(
        self,
        topic: Topic,
        event_type: str,
        *,
        subject: str,
        data: Json,
        about_since: datetime | None = None,
    ) -> Event:
        """Publish an event that happens now."""
        event = Event(
            id=self.new_id(),
            topic=topic,
            source=self.topic_id(topic),
            subject=subject,
            type=event_type,
            time=self._clock.now(),
            data=data,
            about_since=about_since,
        )
        self.published[event.type] += 1
        for state in self._states.values():
            if state.subscription.matches(event) and _is_young_enough(event, state):
                state.sent.append(event)
                self._send(state, event)
        return event

    def resend(self, name: str, event_ids: Collection[str] | None = None) -> int:
        """Send events to a subscription again: these, or all that it remembers. Returns how many.

        Raises SubscriptionNotFound and EventNotFound.
        """
        state = self.subscription(name)
        events = {event.id: event for event in state.sent}
        wanted = events.keys() if event_ids is None else event_ids
        missing = set(wanted) - events.keys()
        if missing:
            raise EventNotFound(", ".join(sorted(missing)))
        for event_id in wanted:
            self._send(state, events[event_id])
        return len(wanted)

    def take_due(self) -> list[Delivery]:
        """All due deliveries, in any order. The caller settles each afterwards."""
        now = self._clock.now()
        due: list[Delivery] = []
        for state in self._states.values():
            while not state.paused and state.waiting and state.waiting[0].due_at <= now:
                due.append(heapq.heappop(state.waiting))
        self._random.shuffle(due)
        return due

    def settle(self, delivery: Delivery, *, status: int | None) -> None:
        """Record the status of a delivery, None without an answer; retry or give up a failure."""
        state = self._states.get(delivery.subscription.name)
        if state is None or state.subscription is not delivery.subscription:
            return
        if is_success(status):
            state.counts["delivered"] += 1
            return
        state.counts["failedAttempts"] += 1
        now = self._clock.now()
        tried = replace(delivery, attempts=delivery.attempts + 1)
        retried_at = now + timedelta(seconds=self._wait(tried.attempts, status))
        reason = self._reason_to_give_up(tried, status, retried_at=retried_at)
        if reason is None:
            heapq.heappush(state.waiting, replace(tried, due_at=retried_at))
            return
        state.counts["deadLettered"] += 1
        self.dead_letters.append(
            DeadLetter(
                delivery=tried, reason=reason, outcome=outcome_name(status), attempted_at=now
            )
        )

    def topic_id(self, topic: Topic) -> str:
        """The ARM id of a topic's resource."""
        return self._topic_ids[topic]

    def new_id(self) -> str:
        """A UUID from the seeded random numbers."""
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))

    def _send(self, state: SubscriptionState, event: Event) -> None:
        twice = self._random.random() < self.settings.duplicate_probability
        state.counts["events"] += 1
        state.counts["duplicates"] += twice
        now = self._clock.now()
        for _ in range(2 if twice else 1):
            delay = self._random.uniform(*self.settings.delay_seconds)
            self._numbered += 1
            copy = Delivery(
                number=self._numbered,
                event=event,
                subscription=state.subscription,
                published_at=now,
                due_at=now + timedelta(seconds=delay),
            )
            heapq.heappush(state.waiting, copy)

    def _wait(self, attempts: int, status: int | None) -> float:
        jitter = self._random.uniform(1.0, 1.0 + _JITTER)
        return retry_seconds(attempts, status) * self.settings.retry_scale * jitter

    def _reason_to_give_up(
        self, tried: Delivery, status: int | None, *, retried_at: datetime
    ) -> str | None:
        if status in tried.subscription.destination.final_statuses:
            return undeliverable(status)
        if tried.attempts >= self.settings.most_attempts:
            return DeadLetterReason.ATTEMPTS
        lifetime = self.settings.time_to_live_seconds * self.settings.retry_scale
        if retried_at > tried.published_at + timedelta(seconds=lifetime):
            return DeadLetterReason.TIME_TO_LIVE
        return None


def _is_young_enough(event: Event, state: SubscriptionState) -> bool:
    """Compare whole seconds, which is all that some services know."""
    return event.about_since is None or event.about_since >= state.created_at.replace(microsecond=0)
