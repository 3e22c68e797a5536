"""The state that the model check explores: small, canonical and hashable.

A password is a number: passwords are numbered by their creation, and those that nothing names any
more are dropped, so that states which differ by names alone are one state. Time is the age of
each password, in the few steps that matter: fresh, due for renewal, expired.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from functools import cache
from typing import NamedTuple

type Number = int | None
"""A password, None for none. `GONE` is one that ended, and that nothing else names."""

GONE = -1
NEW = -2
"""In a pass, the password that it is about to make."""
_NO_NUMBERS = (None, GONE, NEW)
_NONE: frozenset[Number] = frozenset()


class WriteKind(Enum):
    """What a pass writes."""

    MAKE = "makes a password"
    STORE = "stores it in Key Vault"
    DELIVER = "delivers it in the twin"
    KEEP = "removes the other password"
    DISABLE = "disables its version in Key Vault"


type Renumber = Callable[[Number], Number]


class Record(NamedTuple):
    """What the record holds of the passwords. `rotates` is the one that a rotation replaces."""

    delivered: Number = None
    acknowledged: bool = False
    requested: tuple[bool, bool] = (False, False)
    rotates: Number = None

    def renumbered(self, new: Renumber) -> Record:
        """The record with other numbers."""
        return self._replace(delivered=new(self.delivered), rotates=new(self.rotates))


class Azure(NamedTuple):
    """The two slots, Key Vault's versions, and the device's twin."""

    slots: tuple[Number, Number] = (None, None)
    stored: frozenset[tuple[int, bool]] = frozenset()
    """Passwords in Key Vault, each with whether its version is enabled."""
    entry: Number = None
    answer: Number = None
    """The password with which the device reports that it has logged in, or that edgeAgent took."""
    confirmed: bool = False
    """Whether the connected registry has synced since edgeAgent took it."""

    def renumbered(self, new: Renumber) -> Azure:
        """The same with other numbers."""
        one, two = self.slots
        return self._replace(
            slots=(new(one), new(two)),
            stored=frozenset((n, on) for p, on in self.stored if (n := new(p)) is not None),
            entry=new(self.entry),
            answer=new(self.answer),
        )


class Synced(NamedTuple):
    """The connected registry's last sync is later than the creation of the first `newer_than`.

    With `races`, it is stamped within the margin after the next one's creation as well, which it
    has not taken over.
    """

    newer_than: int
    races: bool = False


class Write(NamedTuple):
    """One write of a pass to Azure.

    `slots`: where a password is made, or those that are kept. `etag`: the entry of the twin that
    it replaces. `has_no_choice`: when the pass observed, no password to deliver was synced.
    """

    kind: WriteKind
    password: Number = None
    slots: tuple[bool, bool] = (False, False)
    etag: Number = None
    has_no_choice: bool = False

    def renumbered(self, new: Renumber) -> Write:
        """The same with other numbers."""
        return self._replace(password=new(self.password), etag=new(self.etag))


class Work(NamedTuple):
    """A pass under way: the writes to come, and the record in the end.

    `if_rotated` is the record where somebody asks for a rotation meanwhile.
    """

    writes: tuple[Write, ...]
    ends: Record
    if_rotated: Record

    def renumbered(self, new: Renumber) -> Work:
        """The same with other numbers."""
        return Work(
            writes=tuple(write.renumbered(new) for write in self.writes),
            ends=self.ends.renumbered(new),
            if_rotated=self.if_rotated.renumbered(new),
        )


class State(NamedTuple):
    """Everything. A device that is away is one that takes no step for a while."""

    ages: tuple[int, ...] = ()
    azure: Azure = Azure()
    known: frozenset[int] = frozenset()
    """The passwords that the connected registry accepts until they expire."""
    synced: Synced = Synced(0)
    had_no_choice: bool = True
    """Whether no password to deliver was synced when the worker chose the twin's entry."""
    held: Number = None
    """What the device logs in with. One that was restored from a backup holds what is gone."""
    had: frozenset[int] = frozenset()
    """Those in the slots that the twin has had, where somebody may have copied them from it."""
    record: Record = Record()
    work: Work | None = None
    late: Write | None = None
    """The write of a worker that has died, which may still take effect."""

    def accepts(self, password: Number) -> bool:
        """Whether the connected registry lets this password in now."""
        return password in self.known


def canonical(state: State, *, lives: int) -> tuple[State, dict[int, int]]:
    """The state without what can no longer matter, and the new number of each password kept.

    `lives` is the age at which a password expires.
    """
    state, ages = _without_what_ended(state), state.ages
    named = _named(state)
    if state.held is not None and state.held != GONE and ages[state.held] < lives:
        named.add(state.held)
    new = {old: number for number, old in enumerate(sorted(named))}
    if any(ages[p] >= lives for p in state.known):
        state = state._replace(known=frozenset(p for p in state.known if ages[p] < lives))
    if len(new) == len(ages):
        return state, new

    def renumber(password: Number) -> Number:
        return password if password in _NO_NUMBERS else new[password]

    def of_device(password: Number) -> Number:
        return None if password is None else new.get(password, GONE)

    return (
        State(
            ages=tuple(ages[old] for old in new),
            azure=state.azure.renumbered(renumber),
            known=frozenset(new[p] for p in state.known if p in new),
            synced=_synced(state.synced, new),
            held=of_device(state.held),
            had_no_choice=state.had_no_choice,
            had=frozenset(new[p] for p in state.had),
            record=state.record.renumbered(renumber),
            work=state.work.renumbered(renumber) if state.work is not None else None,
            late=state.late.renumbered(renumber) if state.late is not None else None,
        ),
        new,
    )


def _without_what_ended(state: State) -> State:
    """The state without what no step can tell from nothing.

    That is: the number of a password that can never be accepted again, in the device, in Key Vault
    and in a rotation; a report on an earlier delivery; what the connected registry knows of
    passwords that nobody can use.
    """
    azure, record, work, late = state.azure, state.record, state.work, state.late
    slots, entry, held, answer, rotates = (
        azure.slots,
        azure.entry,
        state.held,
        azure.answer,
        record.rotates,
    )
    other = _named_by(work) if work is not None else _NONE
    if late is not None:
        other = other | {late.password, late.etag}
    if held is not None and held not in (GONE, entry, *slots) and held not in state.known:
        held = GONE
    if answer not in (None, entry, record.delivered) and answer not in other:
        answer = None
    is_current = rotates in slots and (rotates, True) in azure.stored
    if rotates not in (None, GONE, record.delivered) and not is_current and rotates not in other:
        rotates, record = GONE, record._replace(rotates=GONE)
    named = {entry, answer, record.delivered, rotates, *slots} | other
    stored = azure.stored
    if any(p not in slots and (not on or p not in named) for p, on in stored):
        stored = frozenset((p if p in named else GONE, on) for p, on in stored if on or p in slots)
    count = state.synced.newer_than
    while count and count - 1 not in slots and count - 1 != entry:
        count -= 1
    races = state.synced.races and state.synced.newer_than in slots
    known = state.known
    if any(p not in slots and p not in (held, entry) for p in known):
        known = frozenset(p for p in known if p in slots or p in (held, entry))
    had_no_choice = state.had_no_choice and entry is not None and entry >= count
    return State(
        ages=state.ages,
        azure=Azure(
            slots=slots,
            stored=stored,
            entry=entry,
            answer=answer,
            confirmed=azure.confirmed and answer is not None,
        ),
        known=known,
        synced=Synced(count, races),
        had_no_choice=had_no_choice,
        held=held,
        had=frozenset(p for p in state.had if p in slots),
        record=record,
        work=work,
        late=late,
    )


def _named(state: State) -> set[int]:
    """The passwords that something other than the device names."""
    azure, record = state.azure, state.record
    named = {*azure.slots, azure.entry, azure.answer, record.delivered, record.rotates}
    named.update([password for password, _ in azure.stored])
    if state.work is not None:
        named |= _named_by(state.work)
    if state.late is not None:
        named |= {state.late.password, state.late.etag}
    return {password for password in named if password is not None and password >= 0}


@cache
def _named_by(work: Work) -> frozenset[Number]:
    records = work.ends, work.if_rotated
    named = [number for record in records for number in (record.delivered, record.rotates)]
    return frozenset((*named, *(n for write in work.writes for n in (write.password, write.etag))))


def _synced(synced: Synced, new: Mapping[int, int]) -> Synced:
    count = sum(old < synced.newer_than for old in new)
    return Synced(count, races=synced.races and synced.newer_than in new)
