"""Finds what a device has and its record does not name: the record is lost, or too old."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, replace

from firstpull.config.policy import Policy
from firstpull.model.azure_resources import (
    ConnectedRegistryRef,
    RegistryId,
    TokenId,
    Twin,
)
from firstpull.model.delivery_kinds import entries_everywhere
from firstpull.model.device_record import DeviceRecord, Grant
from firstpull.model.errors import FirstpullError, read_or_else
from firstpull.model.password_slots import token_of
from firstpull.reconcile.traces import RegistryTraces, TraceReader


@dataclass(frozen=True, kw_only=True)
class Found:
    """What the record does not name."""

    grants: tuple[Grant, ...] = ()
    unproven: tuple[TokenId, ...] = ()
    """Tokens with the device's name of which nothing shows that firstpull made them."""
    traces: tuple[RegistryTraces, ...] = ()
    """What was read, where that could be read."""


@dataclass(frozen=True, kw_only=True)
class Unnamed:
    """Looks in every container registry of the policy."""

    policy: Policy
    reader: TraceReader

    async def read(
        self, record: DeviceRecord, errors: list[FirstpullError]
    ) -> tuple[RegistryTraces, ...]:
        """What exists. A container registry that cannot be read adds its error to `errors`."""
        known = {grant.token_id for grant in record.grants}
        reading = (
            read_or_else(self.reader.read_in(r, record.device, known=known), None, errors)
            for r in self.policy.container_registries
        )
        return tuple(part for part in await asyncio.gather(*reading) if part is not None)

    def found_in(
        self, traces: tuple[RegistryTraces, ...], record: DeviceRecord, twin: Twin | None
    ) -> Found:
        """What the record does not name of what exists."""
        unproven = [
            part.registry.token(name)
            for part in traces
            for name in part.tokens
            if not part.proves(name)
        ]
        grants = [grant for part in traces for grant in self._grants_in(part, record, twin)]
        return Found(grants=tuple(grants), unproven=tuple(unproven), traces=traces)

    def _grants_in(
        self, part: RegistryTraces, record: DeviceRecord, twin: Twin | None
    ) -> list[Grant]:
        known = {grant.token_id for grant in record.grants}
        grants = unnamed_grants(part, twin, self.policy, known=known)
        return [
            grant
            for grant in grants
            if not any(
                named.is_delivered_with(grant) and named.shares_token_with(grant)
                for named in record.grants
            )
        ]


def unnamed_grants(
    part: RegistryTraces, twin: Twin | None, policy: Policy, *, known: Collection[TokenId] = ()
) -> list[Grant]:
    """The grants of a device by its traces: by lists, by its twin, and by its enabled secrets."""
    grants: list[Grant] = []
    for name in part.token_names:
        if name in part.tokens and not part.proves(name):
            continue
        names = replace(part.names, token=name)
        delivered = _deliveries_of(part.registry, name, twin, policy)
        grants += [Grant(ref=ref, names=names, delivery=kind) for ref, kind in delivered]
        if part.registry.token(name) in known:
            continue
        refs = list(part.clients_of(name))
        has_secret = any(v.enabled and token_of(v) == name for v in part.versions)
        if (name in part.tokens or has_secret) and not (refs or delivered):
            refs = refs_in(part.registry, policy)[:1]  # no list has the token
        is_delivered = {ref for ref, _ in delivered}
        grants += [Grant(ref=ref, names=names) for ref in refs if ref not in is_delivered]
    return grants


def places_of(
    token: str, part: RegistryTraces, twin: Twin | None, policy: Policy
) -> list[ConnectedRegistryRef]:
    """The connected registries that list a token, or for which the twin has it."""
    delivered = _deliveries_of(part.registry, token, twin, policy)
    return list(dict.fromkeys((*part.clients_of(token), *(ref for ref, _ in delivered))))


def refs_in(registry: RegistryId, policy: Policy) -> list[ConnectedRegistryRef]:
    """The connected registries of a container registry that the policy lists."""
    refs = map(policy.ref_of, policy.connected_registries)
    return [ref for ref in refs if ref.registry == registry]


def _deliveries_of(
    registry: RegistryId, token: str, twin: Twin | None, policy: Policy
) -> list[tuple[ConnectedRegistryRef, str]]:
    """The connected registries for which a twin has an entry with this token, with its kind."""
    entries = entries_everywhere(twin) if twin is not None else ()
    delivered = [(key.casefold(), kind.name) for kind, key, entry in entries if entry.is_for(token)]
    refs = refs_in(registry, policy)
    return [(ref, kind) for ref in refs for key, kind in delivered if ref.name.casefold() == key]
