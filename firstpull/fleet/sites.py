"""How full the sites are, and the state of their connected registries."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from firstpull.config.policy import ConnectedRegistryPolicy, Policy, address_of
from firstpull.model.azure_resources import (
    ConnectedRegistry,
    ConnectedRegistryRef,
    RegistryId,
    TokenId,
)
from firstpull.model.errors import Blocked, FirstpullError, read_or_else
from firstpull.model.ledger import Ledger, Standing
from firstpull.model.pagination import every_record
from firstpull.model.ports import ContainerRegistries, Ledgers, Query, Records, read_ledger

NOT_FOUND = "NotFound"
"""The state of a connected registry that the policy lists but that does not exist."""
UNKNOWN = "Unknown"
"""The state of a connected registry whose container registry did not answer."""
_AT_ONCE = 8
"""Ledgers that are read at the same time: each takes a connection, which costs more than a read."""


@dataclass(frozen=True, kw_only=True)
class Room:
    """The clients of a connected registry.

    `ours` are the entries of the ledger, reservations included; `foreign` are the other listed
    tokens. `state` is Azure's Online, Offline, Syncing or Unhealthy, NOT_FOUND or UNKNOWN.
    """

    ref: ConnectedRegistryRef
    capacity: int
    ours: int
    retiring: int
    foreign: int
    state: str | None
    last_sync_at: datetime | None
    address: str | None

    @property
    def used(self) -> int:
        """The number of clients and reservations."""
        return self.ours + self.foreign

    @property
    def free(self) -> int:
        """How many clients may still join; 0 if the registry does not exist or is unknown."""
        return 0 if self.state in (NOT_FOUND, UNKNOWN) else max(self.capacity - self.used, 0)


@dataclass(frozen=True, kw_only=True)
class SiteRoom:
    """A site, with its connected registries in the order in which devices fill them."""

    name: str
    rooms: tuple[Room, ...]

    @property
    def free(self) -> int:
        """How many clients the site still takes."""
        return sum(room.free for room in self.rooms)

    @property
    def used(self) -> int:
        """The number of clients and reservations of the whole site."""
        return sum(room.used for room in self.rooms)


@dataclass(frozen=True, kw_only=True)
class SitesView:
    """All sites of the policy, and its connected registries that are in no site."""

    sites: tuple[SiteRoom, ...]
    others: tuple[Room, ...]


@dataclass(frozen=True, kw_only=True)
class Sites:
    """Reads how full the sites are."""

    policy: Policy
    registries: ContainerRegistries
    ledgers: Ledgers
    records: Records

    async def view(self, *, with_retiring: bool = True) -> SitesView:
        """The room of all sites: one listing per container registry, one ledger per connected one.

        `with_retiring` also reads the records, because only they tell which clients are about to
        leave. Raises an error of the listings only if all of them fail.
        """
        entries = self.policy.connected_registries
        refs = [self.policy.ref_of(entry) for entry in entries]
        registries = list(dict.fromkeys(ref.registry for ref in refs))
        retiring = await self._retiring() if with_retiring else frozenset()
        listings, ledgers = await asyncio.gather(self._listings(registries), self._ledgers(refs))
        found = {
            ref: ledger for ref, ledger in zip(refs, ledgers, strict=True) if ledger is not None
        }
        return view_of(self.policy, listings, found, retiring=retiring)

    async def _ledgers(self, refs: Sequence[ConnectedRegistryRef]) -> list[Ledger | None]:
        """The ledgers; None where one may not be read, without which nobody knows the room."""
        slots = asyncio.Semaphore(_AT_ONCE)

        async def read(ref: ConnectedRegistryRef) -> Ledger | None:
            async with slots:
                try:
                    return await read_ledger(self.ledgers, ref)
                except Blocked:
                    return None

        return await asyncio.gather(*map(read, refs))

    async def _retiring(self) -> frozenset[tuple[ConnectedRegistryRef, TokenId]]:
        """The clients that a device is about to leave, after a move or a revoke."""
        return frozenset(
            [
                (grant.ref, grant.token_id)
                async for record in every_record(self.records, Query())
                if not record.is_tombstone
                for grant in (record.grants if record.spec.revocation else record.status.retiring)
            ]
        )

    async def _listings(
        self, registries: Sequence[RegistryId]
    ) -> dict[RegistryId, tuple[ConnectedRegistry, ...]]:
        """The connected registries of those container registries that answer."""
        errors: list[FirstpullError] = []
        listings = await asyncio.gather(
            *(
                read_or_else(self.registries.list_connected_registries(r), None, errors)
                for r in registries
            )
        )
        if len(errors) == len(registries):
            raise errors[0]
        found = zip(registries, listings, strict=True)
        return {registry: listing for registry, listing in found if listing is not None}


def view_of(
    policy: Policy,
    listings: Mapping[RegistryId, Iterable[ConnectedRegistry]],
    ledgers: Mapping[ConnectedRegistryRef, Ledger],
    *,
    retiring: frozenset[tuple[ConnectedRegistryRef, TokenId]] = frozenset(),
) -> SitesView:
    """The room of all sites. What could not be read is missing in `listings` and `ledgers`."""
    rooms: dict[ConnectedRegistryRef, Room] = {}
    for entry in policy.connected_registries:
        ref = policy.ref_of(entry)
        ledger, listing = ledgers.get(ref), listings.get(ref.registry)
        rooms[ref] = _room(ref, entry, listing if ledger is not None else None, ledger, retiring)
    sites = tuple(
        SiteRoom(
            name=site.name,
            rooms=tuple(
                rooms[policy.ref_of(entry)] for entry in policy.connected_registries_of(site)
            ),
        )
        for site in policy.sites
    )
    in_sites = {room.ref for site in sites for room in site.rooms}
    return SitesView(
        sites=sites, others=tuple(room for ref, room in rooms.items() if ref not in in_sites)
    )


def _room(
    ref: ConnectedRegistryRef,
    entry: ConnectedRegistryPolicy,
    listing: Iterable[ConnectedRegistry] | None,
    ledger: Ledger | None,
    retiring: frozenset[tuple[ConnectedRegistryRef, TokenId]],
) -> Room:
    ledger = ledger or Ledger()
    name = ref.name.casefold()
    connected = next((c for c in listing or () if c.name.casefold() == name), None)
    absent = NOT_FOUND if listing is not None else UNKNOWN
    listed = connected.client_token_ids if connected is not None else ()
    return Room(
        ref=ref,
        capacity=entry.capacity,
        ours=len(ledger.entries),
        retiring=sum(
            entry.standing is Standing.LEAVING or (ref, entry.token_id) in retiring
            for entry in ledger.entries.values()
        ),
        foreign=len(ledger.foreign(listed)),
        state=connected.connection_state if connected is not None else absent,
        last_sync_at=connected.last_sync_at if connected is not None else None,
        address=address_of(entry, connected, registry=ref.registry),
    )
