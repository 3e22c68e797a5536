"""Reconciles the device with the desired properties, step by step, and collects the reports."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from firstpull_agent.applied import Applied
from firstpull_agent.backoff import LOGIN_CAP_SECONDS, delay_seconds
from firstpull_agent.deliveries import Delivery, Rejected, Wanted, read_deliveries
from firstpull_agent.http_client import ANSWER_SECONDS
from firstpull_agent.planning import Step, lane, newer_rivals, next_step, to_settle
from firstpull_agent.reports import (
    Failure,
    Reason,
    Report,
    State,
    defect,
    reported_entries,
    reported_patch,
)
from firstpull_agent.seals import Seals
from firstpull_agent.times import Time

_log = logging.getLogger(__name__)

# Less is no fair try: it would replace the reason of the one before.
_LEAST_SECONDS = 2.0

# Raises Failure unless the registry takes the credential within so many seconds.
LoginCheck = Callable[[Delivery, float], Awaitable[None]]


class Logins(Protocol):
    """What keeps the logins: a device's container engine, or a cluster."""

    def applied(self) -> tuple[Applied, ...]:
        """Every login that the agent made and has not removed."""
        ...

    def in_place(self, delivery: Delivery) -> bool:
        """Whether there is exactly the login of this delivery."""
        ...

    def carry_out(self, step: Step) -> None:
        """Carry out a step. Raises Failure, and then the previous login is still in place."""
        ...


@dataclass
class _Track:
    """The progress of one connected registry.

    `due` is monotonic time, None when settled or in progress. `again` is set by a `recheck` during
    an attempt: it may have missed what has changed. `is_accepted` says that the registry took the
    credential since the last failure: a recheck is about where the login is kept.
    While one of the `newer` deliveries for the same address is logged in, its login stays.
    """

    wanted: Wanted | None
    newer: frozenset[Delivery]
    lane: str
    due: float | None
    failures: int = 0
    again: bool = False
    is_accepted: bool = False

    @property
    def delivery_id(self) -> str | None:
        return None if self.wanted is None else self.wanted.delivery_id


class Convergence:
    """Reconciles the device, in one event loop. Each delivery is checked by itself.

    Only changes of the device exclude each other.
    """

    def __init__(
        self,
        logins: Logins,
        *,
        check: LoginCheck,
        time: Time,
        rng: random.Random,
        seals: Seals | None = None,
    ) -> None:
        self._logins = logins
        self._seals = seals
        self._check = check
        self._time = time
        self._rng = rng
        self._changing = asyncio.Lock()
        self._busy: set[str] = set()  # lanes
        self._tracks: dict[str, _Track] = {}
        self._outcomes: dict[str, Report | None] = {}  # None: logged out
        self._reported: dict[str, Any] = {}
        self._wanted: dict[str, Wanted] | None = None

    def adopt(self, desired: object, reported: Mapping[str, Any]) -> None:
        """Set the desired state. An unchanged delivery keeps its progress.

        Raises MalformedDesired, and then changes nothing.
        """
        wanted = read_deliveries(desired, self._seals)
        _log.info("the twin holds %d deliveries", len(wanted))
        self._reported = reported_entries(reported)
        self._wanted = wanted
        self._track(wanted)

    def recheck(self) -> None:
        """Make an attempt for every delivery that is logged in: its logins may have changed.

        Before there is a desired state, this does nothing.
        """
        if self._wanted is None:
            return
        self._track(self._wanted)
        for track in self._tracks.values():
            if track.due is None and isinstance(track.wanted, Delivery):
                if track.lane in self._busy:
                    track.again = True
                else:
                    track.due = self._time.monotonic()

    def _track(self, wanted: Mapping[str, Wanted]) -> None:
        applied = self._logins.applied()
        known = {*(login.name for login in applied), *self._reported, *self._tracks}
        before, self._tracks = self._tracks, {}
        for name, target in to_settle(wanted, known=known, applied=applied).items():
            newer = newer_rivals(target, wanted)
            own_lane = lane(name, target, wanted=wanted, applied=applied)
            track = before.get(name)
            if track is None or track.wanted != target or not track.newer <= newer:
                track = _Track(target, newer, own_lane, due=self._time.monotonic())
            track.newer, track.lane = newer, own_lane
            self._tracks[name] = track

    def next_attempt(
        self, seconds: float = ANSWER_SECONDS, *, retries: bool = True
    ) -> Coroutine[None, None, None] | None:
        """The attempt that is due first, for the caller to await. None if none can start now.

        `seconds` limit what a registry takes of it. Without `retries`, it is a first attempt.
        """
        now = self._time.monotonic()
        startable = [
            (due, name)
            for due, name in self._startable()
            if due <= now and (retries or not self._tracks[name].failures)
        ]
        if not startable:
            return None
        # min keeps the order of the tracks among equals.
        name = min(startable, key=lambda entry: entry[0])[1]
        track = self._tracks[name]
        track.due = None
        self._busy.add(track.lane)
        return self._attempt(name, track, track.lane, seconds)

    def seconds_until_due(self) -> float | None:
        """The seconds until an attempt can start; None if none can before another one ends."""
        dues = [due for due, _ in self._startable()]
        return max(0.0, min(dues) - self._time.monotonic()) if dues else None

    def all_logged_in(self) -> bool:
        """Whether every attempt is done and none failed."""
        return all(
            name in self._outcomes and _is_good(self._outcomes[name]) for name in self._tracks
        )

    def outcomes_patch(self) -> dict[str, Any]:
        """Every outcome, as a reported properties patch."""
        return reported_patch(self._outcomes)

    def unreported(self) -> dict[str, Report | None]:
        """The outcomes that the reported properties do not have yet."""
        return {
            name: outcome
            for name, outcome in self._outcomes.items()
            if not self._is_reported(name, outcome)
        }

    def confirm(self, entries: Mapping[str, Report | None]) -> None:
        """Note that the reported properties have these outcomes now."""
        for name, outcome in entries.items():
            if outcome is None:
                self._reported.pop(name, None)
            else:
                self._reported[name] = outcome.as_property()

    def _startable(self) -> list[tuple[float, str]]:
        return [
            (track.due, name)
            for name, track in self._tracks.items()
            if track.due is not None and track.lane not in self._busy
        ]

    async def _attempt(self, name: str, track: _Track, own_lane: str, seconds: float) -> None:
        failure: Failure | None = None
        try:
            if isinstance(track.wanted, Delivery) and not track.is_accepted:
                await self._check(track.wanted, seconds)
                track.is_accepted = True
            async with self._changing:
                if self._tracks.get(name) is not track:
                    return  # the desired state has changed meanwhile
                superseded = any(self._is_logged_in(newer) for newer in track.newer)
                await asyncio.to_thread(self._change, name, track.wanted, superseded=superseded)
        except Failure as error:
            failure = error
        except Exception as error:  # one delivery's trouble must not stop the others
            failure = defect(error)
        finally:
            self._busy.discard(own_lane)
        if self._tracks.get(name) is track:
            self._settle(name, track, failure)

    def _change(self, name: str, wanted: Wanted | None, *, superseded: bool) -> None:
        in_place = isinstance(wanted, Delivery) and self._logins.in_place(wanted)
        self._logins.carry_out(next_step(name, wanted, in_place=in_place, superseded=superseded))
        if self._seals is not None and isinstance(wanted, Delivery) and wanted.seal is not None:
            try:
                self._seals.remember(wanted.seal)
            except OSError as error:
                detail = f"{error.filename or 'a file'}: {error.strerror}"
                raise Failure(Reason.STORAGE_FAILED, detail) from None

    def _settle(self, name: str, track: _Track, failure: Failure | None) -> None:
        if failure is None:
            track.due = self._time.monotonic() if track.again else None
            track.failures, track.again = 0, False
            if track.wanted is None:
                self._outcomes[name] = None
                del self._tracks[name]
                _log.info("%s: logged out", name)
                return
            _log.info("%s: logged in with delivery %s", name, track.delivery_id)
        else:
            self._postpone(name, track, failure)
        self._outcomes[name] = Report(
            delivery_id=track.delivery_id,
            state=State.LOGGED_IN if failure is None else State.FAILED,
            reason=None if failure is None else failure.reason,
            at=self._time.now(),
        )

    def _postpone(self, name: str, track: _Track, failure: Failure) -> None:
        _log.warning("%s: %s", name, failure)
        if isinstance(track.wanted, Rejected):
            track.due = None  # only another delivery can change it
            return
        track.failures += 1
        track.is_accepted = False
        wait = delay_seconds(track.failures, cap_seconds=LOGIN_CAP_SECONDS, rng=self._rng)
        track.due, track.again = self._time.monotonic() + max(wait, failure.retry_after), False

    def _is_logged_in(self, delivery: Delivery) -> bool:
        outcome = self._outcomes.get(delivery.name)
        return (
            outcome is not None
            and outcome.delivery_id == delivery.delivery_id
            and outcome.state is State.LOGGED_IN
        )

    def _is_reported(self, name: str, outcome: Report | None) -> bool:
        if outcome is None:
            return name not in self._reported
        return outcome.says_the_same_as(self._reported.get(name))


def _is_good(outcome: Report | None) -> bool:
    return outcome is None or outcome.state is State.LOGGED_IN


async def settle(convergence: Convergence, *, time: Time, seconds: float) -> None:
    """Make every attempt once, and failed ones again for `seconds`, which also limit attempts."""
    end = time.monotonic() + seconds
    ended = asyncio.Event()
    async with asyncio.TaskGroup() as attempts:
        running = 0

        def finished(_: asyncio.Task[None]) -> None:
            nonlocal running
            running -= 1
            ended.set()

        while True:
            ended.clear()
            left = end - time.monotonic()
            limit = min(ANSWER_SECONDS, max(left, _LEAST_SECONDS)) if seconds else ANSWER_SECONDS
            while attempt := convergence.next_attempt(limit, retries=left >= _LEAST_SECONDS):
                attempts.create_task(attempt).add_done_callback(finished)
                running += 1
            pause = convergence.seconds_until_due()
            if pause is not None and pause + _LEAST_SECONDS > left:
                pause = None  # too late to try again
            if pause is None and not running:
                return
            await time.wait(ended, pause)
