"""The ledger: this deployment's entries in a connected registry's list of clients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from pydantic import TypeAdapter

from firstpull.model.azure_resources import TokenId
from firstpull.model.clock import StoredTime


class Standing(StrEnum):
    """How far a token is into the list, or out of it."""

    RESERVED = "reserved"  # has room; the token may not exist yet
    JOINING = "joining"  # exists; the next write of the list adds it
    MEMBER = "member"  # firstpull saw it in the list
    LEAVING = "leaving"  # the next write of the list removes it, and then its room is free


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One token of this deployment. `since` is when it reserved: the order of admission."""

    token_id: TokenId
    standing: Standing
    since: StoredTime


@dataclass(frozen=True)
class Ledger:
    """All entries of one connected registry, by token id."""

    entries: Mapping[TokenId, Entry] = field(default_factory=dict)

    def get(self, token_id: TokenId) -> Entry | None:
        """The entry of a token."""
        return self.entries.get(token_id)

    def with_entry(self, entry: Entry) -> Ledger:
        """This ledger with one entry set."""
        return Ledger({**self.entries, entry.token_id: entry})

    def without(self, token_id: TokenId) -> Ledger:
        """This ledger without one entry."""
        return Ledger({k: e for k, e in self.entries.items() if k != token_id})

    def standing_at(self, token_id: TokenId, standing: Standing) -> Ledger:
        """This ledger with one entry's standing changed, where there is one."""
        entry = self.get(token_id)
        return self if entry is None else self.with_entry(replace(entry, standing=standing))

    def of(self, *standings: Standing) -> tuple[Entry, ...]:
        """The entries of these standings, in the order in which they reserved."""
        found = (e for e in self.entries.values() if e.standing in standings)
        return tuple(sorted(found, key=lambda e: (e.since, e.token_id)))

    def used(self, listed: tuple[TokenId, ...]) -> int:
        """The room in use: every entry, whatever its standing, and every foreign token."""
        return len(self.entries) + len(self.foreign(listed))

    def foreign(self, listed: tuple[TokenId, ...]) -> tuple[TokenId, ...]:
        """The tokens in a list that no entry is for."""
        return tuple(token for token in listed if token not in self.entries)

    def wanted_list(self, listed: tuple[TokenId, ...]) -> tuple[TokenId, ...]:
        """The list to write, given the list as it is.

        Foreign tokens keep their position. Members and joining tokens are in, also members that
        another writer removed. Leaving tokens are out.
        """
        leaving = {entry.token_id for entry in self.of(Standing.LEAVING)}
        kept = tuple(token for token in listed if token not in leaving)
        there = frozenset(kept)
        missing = (
            e.token_id
            for e in self.of(Standing.MEMBER, Standing.JOINING)
            if e.token_id not in there
        )
        return (*kept, *missing)


_ADAPTER = TypeAdapter(dict[str, dict[str, Entry]])


def to_json(ledger: Ledger) -> bytes:
    """The ledger as stored JSON, with keys in lower case."""
    return _ADAPTER.dump_json({"entries": {str(k).lower(): e for k, e in ledger.entries.items()}})


def from_json(text: bytes) -> Ledger:
    """The ledger in JSON that `to_json` made, an empty ledger for anything else.

    The records are the authority: the sweep requeues their devices, whose passes enter them again.
    """
    try:
        stored = _ADAPTER.validate_json(text)
    except ValueError:
        return Ledger()
    return Ledger({entry.token_id: entry for entry in stored.get("entries", {}).values()})
