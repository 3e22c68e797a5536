"""The whole fleet in a few figures, from the records alone."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from firstpull.config.policy import Policy
from firstpull.model.clock import Clock
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import DeviceRecord, State
from firstpull.model.pagination import every_page
from firstpull.model.ports import Page, Query, Records
from firstpull.model.reasons import Reason

_WAITS = (State.PENDING, State.CONVERGING, State.WAITING, State.BLOCKED)


@dataclass(frozen=True, kw_only=True)
class Wait:
    """The device that is longest without its credentials."""

    device: DeviceKey
    state: State
    reason: Reason
    since: datetime


@dataclass(frozen=True, kw_only=True)
class Expiry:
    """The device whose delivered password expires next."""

    device: DeviceKey
    expires_at: datetime


@dataclass(frozen=True, kw_only=True)
class FleetSummary:
    """Counts of records. `sites` has the devices of each site by state, `None` those of none.

    Tombstones count as `Revoked` in `states` and nowhere else.
    """

    at: datetime
    devices: int
    states: Mapping[State, int]
    reasons: Mapping[Reason, int]
    sites: Mapping[str | None, Mapping[State, int]]
    oldest_wait: Wait | None
    next_expiry: Expiry | None
    unreadable: int


class SummaryCount:
    """A summary, counted page by page."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._states: Counter[State] = Counter()
        self._reasons: Counter[Reason] = Counter()
        self._sites: dict[str | None, Counter[State]] = defaultdict(Counter)
        self._sites.update({site.name: Counter() for site in policy.sites})
        self._oldest: Wait | None = None
        self._next_expiry: Expiry | None = None
        self._unreadable = 0

    def add(self, page: Page) -> None:
        """Count the records of one more page."""
        self._unreadable += len(page.unreadable)
        for record in page.records:
            condition = record.status.condition
            self._states[condition.state] += 1
            if record.is_tombstone:
                continue
            self._reasons[condition.reason] += 1
            self._sites[self._site(record)][condition.state] += 1
            self._oldest = _older(self._oldest, record)
            self._next_expiry = _earlier(self._next_expiry, record)

    def summary(self, *, at: datetime) -> FleetSummary:
        """The figures of all pages."""
        return FleetSummary(
            at=at,
            devices=sum(self._reasons.values()),
            states=self._states,
            reasons=self._reasons,
            sites=self._sites,
            oldest_wait=self._oldest,
            next_expiry=self._next_expiry,
            unreadable=self._unreadable,
        )

    def _site(self, record: DeviceRecord) -> str | None:
        """The site that was asked for, else the first that has the connected registry."""
        intent, grant = record.spec.intent, record.status.grant
        if intent.site is not None:
            return intent.site
        refs = {*intent.candidates, *((grant.ref,) if grant else ())}
        names = {ref.name.casefold() for ref in refs}
        found = (
            site.name
            for site in self._policy.sites
            if names & set(map(str.casefold, site.connected_registries))
        )
        return next(found, None)


@dataclass(frozen=True, kw_only=True)
class Summaries:
    """Sums the fleet up."""

    records: Records
    policy: Policy
    clock: Clock

    async def summary(self) -> FleetSummary:
        """The figures of now."""
        count = SummaryCount(self.policy)
        async for page in every_page(self.records, Query()):
            count.add(page)
        return count.summary(at=self.clock.now())


def _older(found: Wait | None, record: DeviceRecord) -> Wait | None:
    condition = record.status.condition
    if condition.state not in _WAITS or (found and found.since <= condition.since):
        return found
    return Wait(
        device=record.device,
        state=condition.state,
        reason=condition.reason,
        since=condition.since,
    )


def _earlier(found: Expiry | None, record: DeviceRecord) -> Expiry | None:
    delivery = record.status.delivery
    if delivery is None or (found and found.expires_at <= delivery.expires_at):
        return found
    return Expiry(device=record.device, expires_at=delivery.expires_at)
