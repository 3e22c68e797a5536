"""Makes the record of a device again from what exists: a pure function of its traces.

A revoked device gets a record that is revoked; any other keeps what it has, and nothing more. What
no tag proves, or what a teardown may have begun to end, is left to a person.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from firstpull.config.policy import Policy
from firstpull.model.azure_resources import ConnectedRegistryRef, Token, Twin
from firstpull.model.delivery_kinds import kind_named, same_place
from firstpull.model.device_record import (
    Applied,
    Delivery,
    DeviceRecord,
    Grant,
    Intent,
    RetiringGrant,
    Revocation,
    Schedule,
    Spec,
    Status,
)
from firstpull.model.last_request import LastRequest, latest
from firstpull.model.password_slots import current_credential, ended_slots, token_of
from firstpull.model.scope_actions import pairs_in
from firstpull.model.sealing import SealingKey
from firstpull.model.transitions import accepted, unknown_device, with_found_grants
from firstpull.model.twin_entry import DeliveredEntry, wire_expiry
from firstpull.reconcile.traces import RegistryTraces, Traces
from firstpull.reconcile.unnamed import places_of, refs_in, unnamed_grants

REBUILT = "rebuild"
"""Who requested what a rebuilt record asks for."""


@dataclass(frozen=True)
class Problem:
    """Why no record can be made. The text is for a person."""

    text: str


def rebuilt(
    traces: Traces, last: LastRequest, *, policy: Policy, now: datetime
) -> DeviceRecord | Problem:
    """The record of a device. Its condition comes with the next pass, which is due now."""
    if last.is_revoke:
        revocation = Revocation(requested_by=REBUILT, at=last.at, gone=last.identity)
        record = unknown_device(traces.device, revocation)
        return with_found_grants(record, _all_grants(traces, policy))
    return _Rebuild(traces, last, policy, now).record()


def _all_grants(traces: Traces, policy: Policy) -> tuple[Grant, ...]:
    """The grants of a revoked device, also those of which only a disabled secret is left."""
    grants: list[Grant] = []
    for part in traces.parts:
        found = unnamed_grants(part, traces.twin, policy)
        if part.versions and not found:
            refs = refs_in(part.registry, policy)[:1]
            found = [Grant(ref=ref, names=part.names) for ref in refs]
        grants += found
    return tuple(grants)


class _Rebuild:
    """Collects the parts of the record of a device that has access."""

    def __init__(self, traces: Traces, last: LastRequest, policy: Policy, now: datetime) -> None:
        self._traces = traces
        self._twin = traces.twin
        self._last = last
        self._policy = policy
        self._now = now

    def record(self) -> DeviceRecord | Problem:
        last, own = self._last, self._own()
        if own is None:
            return Problem(f"The policy does not list {last.connected_registry or 'its site'}.")
        grant, part = own
        token = part.tokens.get(grant.names.token)
        if token is None:
            return Problem(f"Its token {grant.names.token} is missing.")
        if not token.enabled or ended_slots(token, part.versions):
            return Problem(f"Its token {token.name} or a password of it was disabled.")
        if last.identity is None:
            return Problem("The tags of its secret do not name the hub's identity.")
        intent = self._intent(grant, part, token)
        if intent is None:
            return Problem(f"The scope map of its token {token.name} says nothing.")
        others = tuple(self._others(grant))
        delivery = self._delivery(grant, part, token)
        is_done = not others
        return DeviceRecord(
            device=self._traces.device,
            spec=Spec(intent=intent, generation=last.generation, intent_generation=last.generation),
            status=Status(
                condition=accepted(self._now),
                observed_generation=last.generation if is_done else last.generation - 1,
                applied=Applied(intent=intent, generation=last.generation) if is_done else None,
                grant=grant,
                adopted=last.is_adoption and delivery is None,
                retiring=tuple(
                    RetiringGrant(ref=g.ref, names=g.names, delivery=g.delivery, at_once=False)
                    for g in others
                ),
                retired_secrets=self._secrets()
                - {grant.names.secret, *(other.names.secret for other in others)},
                delivery=delivery,
                hub_generation_id=last.identity,
                hub_device_etag=self._device_etag(grant),
            ),
            schedule=Schedule(due_at=self._now),
        )

    def _own(self) -> tuple[Grant, RegistryTraces] | None:
        """The grant at the connected registry that the tags name, with the newest token there."""
        for part in self._traces.parts:
            newest = latest(part.versions)
            for ref in refs_in(part.registry, self._policy):
                if newest is not None and str(ref) == self._last.connected_registry:
                    token = token_of(newest) or part.names.token
                    names = replace(part.names, token=token)
                    return Grant(ref=ref, names=names, delivery=self._last.delivery), part
        return None

    def _others(self, own: Grant) -> Iterator[Grant]:
        """The grants that the device is leaving."""
        for part in self._traces.parts:
            for grant in unnamed_grants(part, self._twin, self._policy):
                places = places_of(grant.names.token, part, self._twin, self._policy)
                is_there = grant.ref in places or not grant.shares_token_with(own)
                if is_there and not self._is_own(grant, own):
                    yield grant

    def _is_own(self, grant: Grant, own: Grant) -> bool:
        """Whether a found grant is the device's own: a list does not tell the delivery kind."""
        if grant.ref != own.ref or grant.names != own.names:
            return False
        return same_place(grant.delivery, own.delivery) or self._entry(grant) is None

    def _intent(self, grant: Grant, part: RegistryTraces, token: Token) -> Intent | None:
        """What the token may do, in the repositories that the delivery names.

        Until a device has logged in, its token keeps earlier permissions as well.
        """
        scope_map = part.scope_maps.get(token.scope_map_id.name)
        permitted = pairs_in(scope_map.actions if scope_map is not None else ())
        named = self._entry_fields(grant).get("repositories")
        known = {repository for repository, _ in permitted}
        repositories = known & set(named) if isinstance(named, list) else known
        repositories = repositories or known
        verbs = [{v for r, v in permitted if r == repository} for repository in repositories]
        actions = set.intersection(*verbs) if verbs else set[str]()
        if not actions:
            return None
        site, candidates = self._site(grant.ref)
        return Intent(
            target=f"site {site}" if site is not None else grant.ref.name,
            candidates=candidates,
            repositories=tuple(sorted(repositories)),
            actions=tuple(sorted(actions)),
            requested_by=REBUILT,
            at=self._last.at,
            site=site,
            adopt=token.name if self._last.is_adoption else None,
            delivery=self._last.delivery,
            sealing_key=self._sealing_key(),
        )

    def _sealing_key(self) -> SealingKey | None:
        """The key by its thumbprint alone: the key itself comes from a request."""
        sealed_to = self._last.sealed_to
        return SealingKey(thumbprint=sealed_to) if sealed_to is not None else None

    def _site(
        self, ref: ConnectedRegistryRef
    ) -> tuple[str | None, tuple[ConnectedRegistryRef, ...]]:
        """The site that was asked for, while the policy still has the connected registry in it."""
        name = self._last.site
        site = self._policy.site(name) if name is not None else None
        if site is not None:
            listed = self._policy.connected_registries_of(site)
            refs = tuple(map(self._policy.ref_of, listed))
            if ref in refs:
                return site.name, refs
        return None, (ref,)

    def _delivery(self, grant: Grant, part: RegistryTraces, token: Token) -> Delivery | None:
        """The delivery that the twin has, if its password is the token's and is stored."""
        entry = self._entry(grant)
        address = entry.fields.get("address") if entry is not None else None
        if entry is None or not entry.intact or not entry.is_for(token.name):
            return None
        if not isinstance(address, str):
            return None
        for password in token.passwords:
            if password.expires_at is None or wire_expiry(password.expires_at) != entry.expires:
                continue
            alone = token.with_passwords_in({password.slot})
            found = current_credential(alone, part.versions, now=self._now)
            if found is not None:
                return Delivery(
                    id=entry.id,
                    slot=found.slot,
                    secret_version=found.version,
                    address=address,
                    expires_at=found.expires_at,
                    at=found.created_at,
                )
        return None

    def _device_etag(self, grant: Grant) -> str | None:
        """The identity's ETag, if the twin shows that the identity is the one in the tags.

        A twin ends with its identity. Without an entry, the pass reads the identity.
        """
        twin: Twin | None = self._twin
        is_same = self._entry_fields(grant).get("username") == grant.names.token
        return twin.device_etag if twin is not None and is_same else None

    def _entry_fields(self, grant: Grant) -> Mapping[str, Any]:
        entry = self._entry(grant)
        return entry.fields if entry is not None else {}

    def _entry(self, grant: Grant) -> DeliveredEntry | None:
        kind = kind_named(grant.delivery)
        return kind.entry(self._twin, grant.ref.name) if self._twin is not None else None

    def _secrets(self) -> frozenset[str]:
        return frozenset(part.names.secret for part in self._traces.parts if part.versions)
