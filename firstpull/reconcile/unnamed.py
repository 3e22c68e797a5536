"""Finds what a device has and its record does not name: the record is lost, or too old.

Token and secret names follow from deployment, hub and device. The tags of the secret's versions
name a token that was adopted. A name alone proves nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from firstpull.config.policy import Policy
from firstpull.model.azure_resources import (
    ConnectedRegistryRef,
    RegistryId,
    TokenId,
    Twin,
)
from firstpull.model.device_record import DeviceRecord, Grant
from firstpull.model.errors import FirstpullError, read_or_else
from firstpull.model.naming import names_for
from firstpull.model.password_slots import is_made_for, token_of
from firstpull.model.ports import ContainerRegistries, Secrets
from firstpull.model.twin_entry import entries_in


@dataclass(frozen=True, kw_only=True)
class Found:
    """What the record does not name."""

    grants: tuple[Grant, ...] = ()
    unproven: tuple[TokenId, ...] = ()
    """Tokens with the device's name of which nothing shows that firstpull made them."""


@dataclass(frozen=True, kw_only=True)
class Unnamed:
    """Looks in every container registry of the policy."""

    deployment: str
    policy: Policy
    registries: ContainerRegistries
    secrets: Secrets

    async def find(
        self, record: DeviceRecord, twin: Twin | None, errors: list[FirstpullError]
    ) -> Found:
        """What exists. A container registry that cannot be read adds its error to `errors`."""
        grants: list[Grant] = []
        unproven: list[TokenId] = []
        for registry in self.policy.container_registries:
            found = await read_or_else(self._find_in(registry, record, twin), Found(), errors)
            grants += found.grants
            unproven += found.unproven
        return Found(grants=tuple(grants), unproven=tuple(unproven))

    async def _find_in(
        self, registry: RegistryId, record: DeviceRecord, twin: Twin | None
    ) -> Found:
        device = record.device
        own = names_for(device, deployment=self.deployment, registry=registry)
        stored = await self.secrets.versions(own.secret)
        made = [v for v in stored if is_made_for(v, device, deployment=self.deployment)]
        grants: list[Grant] = []
        for name in dict.fromkeys((own.token, *filter(None, map(token_of, made)))):
            token_id = registry.token(name)
            refs = self._delivered_to(registry, name, twin)
            if all(grant.token_id != token_id for grant in record.grants):
                token = await self.registries.get_token(registry, name)
                if token is not None and not made:
                    return Found(unproven=(token_id,))
                if token is not None:
                    refs = [*await self._clients_of(token_id), *refs]
                has_secret = any(v.enabled and token_of(v) == name for v in made)
                if token is not None or has_secret:  # also where no list has the token
                    refs = refs or self._refs_in(registry)[:1]
            grants += [
                Grant(ref=ref, names=replace(own, token=name)) for ref in dict.fromkeys(refs)
            ]
        named = {(grant.ref, grant.token_id) for grant in record.grants}
        return Found(grants=tuple(g for g in grants if (g.ref, g.token_id) not in named))

    def _refs_in(self, registry: RegistryId) -> list[ConnectedRegistryRef]:
        refs = map(self.policy.ref_of, self.policy.connected_registries)
        return [ref for ref in refs if ref.registry == registry]

    def _delivered_to(
        self, registry: RegistryId, token: str, twin: Twin | None
    ) -> list[ConnectedRegistryRef]:
        """The connected registries for which the twin has an entry with this token."""
        entries = entries_in(twin.desired) if twin is not None else {}
        delivered = {name for name, entry in entries.items() if entry.is_for(token)}
        return [ref for ref in self._refs_in(registry) if ref.name in delivered]

    async def _clients_of(self, token_id: TokenId) -> Sequence[ConnectedRegistryRef]:
        """The connected registries that list a token."""
        registry = token_id.registry
        connected = await self.registries.list_connected_registries(registry)
        return [
            ConnectedRegistryRef(registry=registry, name=c.name)
            for c in connected
            if c.lists(token_id)
        ]
