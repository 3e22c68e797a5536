"""Doing what a plan says, in the order that `converge` describes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from firstpull.actions import (
    Action,
    CreateToken,
    Deliver,
    DisableSecretVersion,
    GeneratePassword,
    JoinConnectedRegistry,
    KeepPasswords,
    PutScopeMap,
    TakePlace,
    UpdateToken,
)
from firstpull.clock import Clock
from firstpull.cloud import NewPassword, RegistryId, name_of
from firstpull.credentials import Credential, tags_for
from firstpull.devices import DeviceKey
from firstpull.errors import Blocked, Conflict, Transient
from firstpull.history import Journal
from firstpull.membership import REQUEST_DEADLINE, Membership
from firstpull.naming import Names
from firstpull.observation import Observed, PlaceView
from firstpull.plan import contents_of
from firstpull.ports import ContainerRegistries, Hubs, Secrets
from firstpull.reasons import Reason
from firstpull.records import Delivery
from firstpull.secret import Secret


@dataclass(frozen=True, kw_only=True)
class Guard:
    """A worker's claim, asked before each write: no write may outlast it."""

    until: datetime
    clock: Clock

    def check(self) -> None:
        """Raise Transient when a write begun now could end after the claim."""
        if self.clock.now() + timedelta(seconds=REQUEST_DEADLINE) >= self.until:
            raise Transient(
                Reason.OUT_OF_TIME, "The time for one pass is over; it goes on in the next."
            )


@dataclass(frozen=True, kw_only=True)
class Applier:
    """Carries out the actions of one plan."""

    deployment: str
    registries: ContainerRegistries
    secrets: Secrets
    hubs: Hubs
    membership: Membership
    clock: Clock

    async def apply(
        self,
        actions: Sequence[Action],
        observed: Observed,
        view: PlaceView,
        *,
        guard: Guard,
        journal: Journal,
    ) -> Delivery | None:
        """Steps 4 to 8. Returns the new delivery where there is one.

        Raises what the ports raise; what was done until then stays and is found again.
        """
        run = _Run(self, observed, view, guard, journal)
        for action in actions:
            if isinstance(action, TakePlace):
                await self._hold_room(action, view)
        for action in actions:
            if isinstance(action, PutScopeMap | CreateToken | UpdateToken):
                await run.prepare(action)
        await _both(run.fill_slot(actions), run.join(actions))
        delivery = None
        for action in actions:
            if isinstance(action, Deliver):
                delivery = await run.deliver(action)
            elif isinstance(action, DisableSecretVersion):
                await self.secrets.disable(action.secret, action.version)
                journal.note("device.secret.disabled", version=action.version)
        return delivery

    async def _hold_room(self, action: TakePlace, view: PlaceView) -> None:
        """Step 4: room at the place, before anything is made.

        Raises Conflict when the last room went meanwhile: the next look finds another place,
        or says that there is none.
        """
        if view.entry is None:
            return
        try:
            await self.membership.reserve(action.place, view.token_id, capacity=view.entry.capacity)
        except Blocked as refusal:
            if refusal.reason is Reason.CONNECTED_REGISTRY_FULL:
                raise Conflict(refusal.message) from None
            raise


class _Run:
    """One plan being applied: the password exists here between its making and its delivery."""

    def __init__(
        self,
        applier: Applier,
        observed: Observed,
        view: PlaceView,
        guard: Guard,
        journal: Journal,
    ) -> None:
        self._applier = applier
        self._note = journal.note
        self._observed = observed
        self._view = view
        self._guard = guard
        self._made: tuple[Credential, Secret] | None = None

    @property
    def _device(self) -> DeviceKey:
        return self._observed.record.device

    @property
    def _registry(self) -> RegistryId:
        return self._view.place.registry

    async def prepare(self, action: PutScopeMap | CreateToken | UpdateToken) -> None:
        """Step 5: scope map and token."""
        self._guard.check()
        registries = self._applier.registries
        match action:
            case PutScopeMap():
                await registries.put_scope_map(
                    self._registry,
                    action.name,
                    actions=action.actions,
                    deadline_seconds=REQUEST_DEADLINE,
                )
                self._note("device.scope_map.written", scope_map=action.name)
            case CreateToken():
                await registries.create_token(
                    self._registry,
                    action.name,
                    scope_map=action.scope_map,
                    deadline_seconds=REQUEST_DEADLINE,
                )
                self._note("device.token.created", token=action.name)
            case UpdateToken():
                await registries.update_token(
                    self._registry,
                    action.name,
                    scope_map=action.scope_map,
                    deadline_seconds=REQUEST_DEADLINE,
                )
                self._note("device.token.updated", token=action.name)

    async def fill_slot(self, actions: Sequence[Action]) -> None:
        """Step 6a: the password, made and stored."""
        for action in actions:
            if isinstance(action, KeepPasswords):
                self._guard.check()
                await self._applier.registries.keep_passwords(
                    self._registry,
                    action.name,
                    slots=action.slots,
                    deadline_seconds=REQUEST_DEADLINE,
                )
                self._note("device.passwords.removed", token=action.name)
            elif isinstance(action, GeneratePassword):
                await self._generate(action)

    async def _generate(self, action: GeneratePassword) -> None:
        self._guard.check()
        password = await self._applier.registries.generate_password(
            self._registry,
            self._token_name,
            slot=action.slot,
            expires_at=action.expires_at,
            deadline_seconds=REQUEST_DEADLINE,
        )
        self._note("device.password.generated", token=self._token_name, slot=action.slot.value)
        credential = await self._store(password, asked_expiry=action.expires_at)
        self._made = (credential, password.value)

    async def _store(self, password: NewPassword, *, asked_expiry: datetime) -> Credential:
        names = self._names
        expires_at = password.expires_at or asked_expiry
        version = await self._applier.secrets.put(
            names.secret,
            password.value,
            expires_at=expires_at,
            tags=tags_for(
                password,
                more={
                    "deployment": self._applier.deployment,
                    "hub": self._device.hub,
                    "deviceId": self._device.device_id,
                    "token": names.token,
                },
            ),
        )
        self._note("device.credential.stored", secret=names.secret, version=version.version)
        return Credential(
            slot=password.slot,
            version=version.version,
            created_at=password.created_at,
            expires_at=expires_at,
        )

    async def join(self, actions: Sequence[Action]) -> None:
        """Step 6b: membership."""
        for action in actions:
            if isinstance(action, JoinConnectedRegistry) and self._view.entry is not None:
                await self._applier.membership.join(
                    action.place, self._view.token_id, capacity=self._view.entry.capacity
                )
                self._note("device.membership.joined", place=str(action.place))

    async def deliver(self, action: Deliver) -> Delivery:
        """Step 7: the twin."""
        credential, password = await self._credential_for(action)
        contents = contents_of(
            self._view,
            credential,
            address=action.address,
            repositories=self._observed.record.intent.repositories,
        )
        delivery = Delivery(
            id=contents.delivery_id(password),
            slot=credential.slot,
            secret_version=credential.version,
            address=action.address,
            expires_at=credential.expires_at,
            at=self._applier.clock.now(),
        )
        twin = self._observed.twin
        if action.found_id != delivery.id and twin is not None:
            self._guard.check()
            patch = contents.patch(
                action.place.connected_registry, password, replaces=action.replaces
            )
            await self._applier.hubs.patch_desired(
                self._device, patch, etag=twin.etag, deadline_seconds=REQUEST_DEADLINE
            )
        self._note("device.credential.delivered", delivery=delivery.id, address=action.address)
        return delivery

    async def _credential_for(self, action: Deliver) -> tuple[Credential, Secret]:
        if action.credential is None:
            if self._made is None:
                raise AssertionError("a delivery without a credential follows a new password")
            return self._made
        version = action.credential.version
        return action.credential, await self._applier.secrets.read(self._names.secret, version)

    @property
    def _names(self) -> Names:
        if self._observed.credential is None:
            raise AssertionError("a plan with actions has names")
        return self._observed.credential.names

    @property
    def _token_name(self) -> str:
        return name_of(self._view.token_id)


async def _both(*steps: Awaitable[None]) -> None:
    """Run side by side; let both end before one's error is raised: no write is cut short."""
    results = await asyncio.gather(*steps, return_exceptions=True)
    errors = [result for result in results if isinstance(result, BaseException)]
    # What blocks needs a person and says so: it comes before what passes by itself.
    errors.sort(key=lambda error: not isinstance(error, Blocked))
    if errors:
        raise errors[0]
