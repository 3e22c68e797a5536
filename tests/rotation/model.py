"""What can happen next in a state, and what must be true of every state.

Events of the service and the device are *progress*: each is taken in the end. The rest may happen
or not, at any time: a crash, a late write, a rotation, a restore, the passing of time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import NamedTuple

from tests.firstpull.harness import VALIDITY
from tests.rotation.consumers import TWIN, Consumer
from tests.rotation.state import (
    GONE,
    NEW,
    Azure,
    Record,
    State,
    Synced,
    Work,
    Write,
    WriteKind,
    canonical,
)
from tests.rotation.worker import Worker, apply_write, rotation_of

FRESH = 0


@dataclass(frozen=True, kw_only=True)
class Ages:
    """The steps in a password's life: at `due` its renewal is, at `expired` it ends."""

    due: int
    expired: int


AGES = {2: Ages(due=1, expired=2), 3: Ages(due=2, expired=3)}
"""By the number of steps. The device's renewal is due at 0.55 of a password's life."""


class Kind(Enum):
    """What happens."""

    BEGIN = "a worker observes, and claims the device"
    NOTE = "a worker notes the device's report"
    WRITE = "the worker writes"
    END = "the worker ends its pass"
    FAIL = "an error ends the pass"
    CRASH = "the worker dies"
    CRASH_LATE = "the worker dies, its next write under way"
    LAND = "the late write takes effect"
    VANISH = "the late write is lost"
    SYNC = "the connected registry syncs"
    RACE = "the connected registry syncs just before the newest password"
    LOG_IN = "the device reads its twin, logs in, and reports"
    ROTATE = "somebody asks for a rotation"
    RESTORE = "the device is restored from an old backup"
    RESET = "the twin is reset, as by another provisioning"
    TIME = "weeks pass, and each password is a step older"


PROGRESS = frozenset(
    {
        Kind.BEGIN,
        Kind.NOTE,
        Kind.WRITE,
        Kind.END,
        Kind.FAIL,
        Kind.LAND,
        Kind.VANISH,
        Kind.SYNC,
        Kind.LOG_IN,
    }
)


class Move(NamedTuple):
    """One thing that can happen, and the state after it, not yet canonical."""

    kind: Kind
    after: State


@dataclass(frozen=True, kw_only=True)
class Model:
    """The model. `fences`: who takes over a device waits for the last write of its claim.

    `without` are kinds of moves that are left out, for a smaller model.
    """

    worker: Worker
    ages: Ages
    fences: bool = True
    without: frozenset[Kind] = frozenset()

    @classmethod
    def make(
        cls,
        *,
        to: Consumer = TWIN,
        steps: int = 2,
        fences: bool = True,
        without: frozenset[Kind] = frozenset(),
    ) -> Model:
        """A model that remembers no plan of another rule."""
        step = timedelta(seconds=VALIDITY.total_seconds() * (0.6 if steps == 2 else 1 / steps))
        worker = Worker(validity=VALIDITY, step=step, to=to)
        return cls(worker=worker, ages=AGES[steps], fences=fences, without=without)

    @property
    def to(self) -> Consumer:
        """Who takes the deliveries."""
        return self.worker.to

    def canonical(self, state: State) -> State:
        """The state by which all that differ by names alone are known."""
        found, _ = self.renumbered(state)
        return found

    def renumbered(self, state: State) -> tuple[State, dict[int, int]]:
        """The same, with the new number of each password that is kept."""
        return canonical(state, lives=self.ages.expired)

    def moves(self, state: State) -> Iterator[Move]:
        """Everything that can happen next and changes something."""
        for move in self._all_moves(state):
            if move.kind not in self.without:
                yield move

    def _all_moves(self, state: State) -> Iterator[Move]:
        yield from self._of_worker(state)
        yield from _of_registry(state, self.ages, self.to)
        yield from _of_device(state, self.to)
        yield from _of_others(state, self.ages)

    def _of_worker(self, state: State) -> Iterator[Move]:
        if state.late is not None:
            yield Move(Kind.VANISH, state._replace(late=None))
            if (landed := _written(state, state.late, self.to)) is not None:
                yield Move(Kind.LAND, landed._replace(late=None))
        if state.work is not None:
            yield from _of_pass(state, state.work, self.to)
        elif state.late is None or not self.fences:
            begun = self.worker.begin(state)
            if isinstance(begun, Record):
                yield Move(Kind.NOTE, state._replace(record=begun))
            elif begun is not None:
                work, claimed = begun
                if not _has_choice(state):
                    work = work._replace(writes=tuple(map(_as_only_choice, work.writes)))
                yield Move(Kind.BEGIN, state._replace(record=claimed, work=work))


def _of_pass(state: State, work: Work, to: Consumer) -> Iterator[Move]:
    if not work.writes:
        is_rotated = state.record.rotates is not None
        record = work.if_rotated if is_rotated else work.ends
        yield Move(Kind.END, state._replace(work=None, record=record))
        yield Move(Kind.CRASH, state._replace(work=None))
        return
    write, *others = work.writes
    if (written := _written(state, write, to)) is None:
        yield Move(Kind.FAIL, state._replace(work=None))
        return
    further = work._replace(writes=tuple(others))
    if write.kind is WriteKind.MAKE:
        made = len(state.ages)
        further = further.renumbered(lambda password: made if password == NEW else password)
    yield Move(Kind.WRITE, written._replace(work=further))
    yield Move(Kind.CRASH, state._replace(work=None))
    if state.late is None:
        yield Move(Kind.CRASH_LATE, state._replace(work=None, late=write))


def _written(state: State, write: Write, to: Consumer) -> State | None:
    """The state after a write; None where the write is refused."""
    ages = state.ages
    if write.kind is WriteKind.MAKE:
        write, ages = write._replace(password=len(ages)), (*ages, FRESH)
    azure, had_no_choice = apply_write(write, state.azure, to=to), state.had_no_choice
    if azure is None:
        return None
    if write.kind is WriteKind.DELIVER:
        had_no_choice = write.has_no_choice
    had = state.had
    if to.keeps_old and azure.entry is not None:
        had = had | {azure.entry}
    return state._replace(ages=ages, azure=azure, had_no_choice=had_no_choice, had=had)


def _as_only_choice(write: Write) -> Write:
    return write._replace(has_no_choice=True) if write.kind is WriteKind.DELIVER else write


def _has_choice(state: State) -> bool:
    """Whether the connected registry accepts a password that Key Vault has."""
    azure = state.azure
    return any(on and p in azure.slots and state.accepts(p) for p, on in azure.stored)


def _of_registry(state: State, ages: Ages, to: Consumer) -> Iterator[Move]:
    in_slots = frozenset(p for p in state.azure.slots if p is not None)
    valid = frozenset(p for p in in_slots if state.ages[p] < ages.expired)
    newest = len(state.ages) - 1
    everything = Synced(newest + 1)
    is_taken = state.azure.answer is not None and not to.logs_in
    confirmed = state.azure._replace(confirmed=is_taken)
    if (state.known, state.synced, state.azure) != (valid, everything, confirmed):
        yield Move(Kind.SYNC, state._replace(known=valid, synced=everything, azure=confirmed))
    if newest in valid and newest not in state.known and state.ages[newest] == FRESH:
        known, races = valid - {newest}, Synced(newest, races=True)
        if (known, races) != (state.known, state.synced):
            yield Move(Kind.RACE, state._replace(known=known, synced=races))
            # What edgeAgent took may have been before it, or after; the newest was after.
            if confirmed != state.azure and state.azure.answer != newest:
                after = state._replace(known=known, synced=races, azure=confirmed)
                yield Move(Kind.RACE, after)


def _of_device(state: State, to: Consumer) -> Iterator[Move]:
    azure, entry = state.azure, state.azure.entry
    if entry is None:
        return
    if not to.logs_in:
        if azure.answer != entry or state.held != entry:
            confirmed = azure.confirmed and azure.answer == entry
            taken = azure._replace(answer=entry, confirmed=confirmed)
            yield Move(Kind.LOG_IN, state._replace(held=entry, azure=taken))
        return
    if state.accepts(entry) and (azure.answer != entry or state.held != entry):
        yield Move(Kind.LOG_IN, state._replace(held=entry, azure=azure._replace(answer=entry)))


def _of_others(state: State, ages: Ages) -> Iterator[Move]:
    if (record := rotation_of(state.record)) is not None:
        yield Move(Kind.ROTATE, state._replace(record=record))
    if state.held not in (None, GONE):
        yield Move(Kind.RESTORE, state._replace(held=GONE))
    if state.azure.entry is not None:
        azure = state.azure._replace(entry=None, answer=None, confirmed=False)
        yield Move(Kind.RESET, state._replace(azure=azure))
    if state.work is None and state.late is None:
        older = tuple(min(age + 1, ages.expired) for age in state.ages)
        if older != state.ages:
            yield Move(Kind.TIME, state._replace(ages=older))


def is_locked_out(state: State, model: Model) -> bool:
    """Whether the device can log in neither with what it holds nor with what its twin has.

    Two things are no fault of a rotation: a password that has expired in the twin, and one that
    the connected registry has not synced where there was no synced one to deliver.
    """
    held, entry = state.held, state.azure.entry
    if held is None or entry is None or state.accepts(held) or state.accepts(entry):
        return False
    is_unsynced = entry >= state.synced.newer_than
    return not (state.ages[entry] >= model.ages.expired or (is_unsynced and state.had_no_choice))


def is_settled(state: State, model: Model) -> bool:
    """Whether the device uses what was delivered last, and nothing else is valid.

    A state in which nobody has anything left to do must be so: the token has one password, Key
    Vault one enabled version, and the password has more than one step of time left. Where an old
    password is kept to its expiry, the next one waits for that.
    """
    password = state.held
    if password is None or password == GONE:
        return False
    record, azure = state.record, state.azure
    in_slots = {p for p in azure.slots if p is not None}
    # An expired password is as good as none: its slot is filled with the next one.
    others = {p for p in in_slots - {password} if state.ages[p] < model.ages.expired}
    waits = model.to.keeps_old and bool(others)
    enabled = {p for p, on in azure.stored if on}
    return (
        azure.entry == record.delivered == password
        and record.acknowledged
        and (record.rotates is None or waits)
        and state.accepts(password)
        and password in in_slots
        and (in_slots == {password} or model.to.keeps_old)
        and enabled == in_slots
        and (state.ages[password] < model.ages.due or waits)
    )


def ends_kept(before: State, after: State, model: Model) -> bool:
    """Whether a write has ended a password that may be in use where no twin reaches.

    That is one which the twin has had, and which has not expired; `after` is not canonical.
    """
    return any(
        before.ages[p] < model.ages.expired
        for p in before.had
        if p in before.azure.slots and p not in after.azure.slots
    )


def beginnings(to: Consumer) -> tuple[State, ...]:
    """A device that has its token and nothing else, and one that is in order."""
    ready = State(
        ages=(FRESH,),
        azure=Azure(
            slots=(0, None),
            stored=frozenset({(0, True)}),
            entry=0,
            answer=0,
            confirmed=not to.logs_in,
        ),
        known=frozenset({0}),
        synced=Synced(1),
        held=0,
        had=frozenset({0}) if to.keeps_old else frozenset(),
        record=Record(delivered=0, acknowledged=True),
    )
    return ready, State()
