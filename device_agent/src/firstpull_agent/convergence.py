"""Reconciles the device with the desired properties, step by step, and collects the reports."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from firstpull_agent.backoff import LOGIN_CAP_SECONDS, delay_seconds
from firstpull_agent.deliveries import Delivery, Rejected, Wanted, read_deliveries
from firstpull_agent.logins import Logins
from firstpull_agent.planning import newer_rivals, next_step, to_settle
from firstpull_agent.reports import Failure, Report, State, reported_entries, reported_patch
from firstpull_agent.times import Time

_log = logging.getLogger(__name__)


@dataclass
class _Track:
    """The progress of one connected registry. `due` is monotonic time, None when settled.

    While one of the `newer` deliveries for the same address is logged in, its login stays.
    """

    wanted: Wanted | None
    newer: frozenset[Delivery]
    due: float | None
    failures: int = 0

    @property
    def delivery_id(self) -> str | None:
        return None if self.wanted is None else self.wanted.delivery_id


class Convergence:
    """Reconciles the device. Safe for two threads: one reads the twin, one makes attempts."""

    def __init__(self, logins: Logins, *, time: Time, rng: random.Random) -> None:
        self._logins = logins
        self._time = time
        self._rng = rng
        self._lock = threading.Lock()
        self._tracks: dict[str, _Track] = {}
        self._outcomes: dict[str, Report | None] = {}  # None: logged out
        self._reported: dict[str, Any] = {}

    def adopt(self, desired: object, reported: Mapping[str, Any]) -> None:
        """Set the desired state. An unchanged delivery keeps its progress.

        Raises MalformedDesired, and then changes nothing.
        """
        wanted = read_deliveries(desired)
        _log.info("the twin holds %d deliveries", len(wanted))
        with self._lock:
            self._reported = reported_entries(reported)
            applied = self._logins.applied()
            known = {*(login.name for login in applied), *self._reported, *self._tracks}
            before, self._tracks = self._tracks, {}
            for name, target in to_settle(wanted, known=known, applied=applied).items():
                newer = newer_rivals(target, wanted)
                track = before.get(name)
                if track is None or track.wanted != target or not track.newer <= newer:
                    track = _Track(target, newer, due=self._time.monotonic())
                track.newer = newer
                self._tracks[name] = track

    def attempt_next(self) -> bool:
        """Make the attempt that is due first. False if none is due."""
        with self._lock:
            name = self._first_due()
            if name is None:
                return False
            track = self._tracks[name]
            superseded = any(self._is_logged_in(newer) for newer in track.newer)
        in_place = isinstance(track.wanted, Delivery) and self._logins.in_place(track.wanted)
        step = next_step(name, track.wanted, in_place=in_place, superseded=superseded)
        failure: Failure | None = None
        try:
            self._logins.carry_out(step)
        except Failure as error:
            failure = error
        with self._lock:
            if self._tracks.get(name) is track:  # else the desired state has changed meanwhile
                self._settle(name, track, failure)
        return True

    def seconds_until_due(self) -> float | None:
        """The seconds until the next attempt; None if everything is settled."""
        with self._lock:
            dues = [track.due for track in self._tracks.values() if track.due is not None]
        return max(0.0, min(dues) - self._time.monotonic()) if dues else None

    def all_logged_in(self) -> bool:
        """Whether every attempt is done and none failed."""
        with self._lock:
            return all(
                name in self._outcomes and _is_good(self._outcomes[name]) for name in self._tracks
            )

    def outcomes_patch(self) -> dict[str, Any]:
        """Every outcome, as a reported properties patch."""
        with self._lock:
            return reported_patch(self._outcomes)

    def unreported(self) -> dict[str, Report | None]:
        """The outcomes that the reported properties do not have yet."""
        with self._lock:
            return {
                name: outcome
                for name, outcome in self._outcomes.items()
                if not self._is_reported(name, outcome)
            }

    def confirm(self, entries: Mapping[str, Report | None]) -> None:
        """Note that the reported properties have these outcomes now."""
        with self._lock:
            for name, outcome in entries.items():
                if outcome is None:
                    self._reported.pop(name, None)
                else:
                    self._reported[name] = outcome.as_property()

    def _first_due(self) -> str | None:
        now = self._time.monotonic()
        due = [(t.due, name) for name, t in self._tracks.items() if t.due is not None]
        due = [entry for entry in due if entry[0] <= now]
        # min keeps the order of the tracks among equals.
        return min(due, key=lambda entry: entry[0])[1] if due else None

    def _settle(self, name: str, track: _Track, failure: Failure | None) -> None:
        if failure is None:
            track.due = None
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
        wait = delay_seconds(track.failures, cap_seconds=LOGIN_CAP_SECONDS, rng=self._rng)
        track.due = self._time.monotonic() + wait

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
