"""Carries out the steps of a provision, in the plan's order (docs/onboarding-cycle.md)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, assert_never

from firstpull.membership import REQUEST_DEADLINE, Membership
from firstpull.model.azure_resources import NewPassword, ScopeMap
from firstpull.model.clock import Clock
from firstpull.model.delivery_kinds import Problem, kind_named
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import Delivery
from firstpull.model.errors import Blocked, Conflict
from firstpull.model.history import Journal
from firstpull.model.naming import Names
from firstpull.model.password_slots import Credential, owner_tags, tags_for
from firstpull.model.ports import ContainerRegistries, Hubs, Secrets
from firstpull.model.reasons import Reason
from firstpull.model.secret import Secret
from firstpull.observability.log_events import LogEvent
from firstpull.reconcile.actions import (
    CreateToken,
    Deliver,
    DisableSecretVersion,
    GeneratePassword,
    JoinConnectedRegistry,
    KeepPasswords,
    ProvisionAction,
    PutScopeMap,
    ReserveRoom,
    SideBySide,
    TagSecret,
    UpdateToken,
    actions_of,
    lanes_of,
)
from firstpull.reconcile.ahead import Ahead
from firstpull.reconcile.claim import Guard

_NO_PASSWORD = Secret("This version has tags alone.")


@dataclass(frozen=True, kw_only=True)
class Applier:
    """Carries out the steps of provisions."""

    deployment: str
    registries: ContainerRegistries
    secrets: Secrets
    hubs: Hubs
    membership: Membership
    clock: Clock

    async def apply(
        self,
        steps: Sequence[ProvisionAction | SideBySide[ProvisionAction]],
        *,
        guard: Guard,
        journal: Journal,
    ) -> Delivery | None:
        """Carry out the steps; returns the new delivery, if there is one.

        Raises what the ports raise. Completed steps stay done, and the next pass finds them.
        """
        run = _Run(self, guard, journal, _joins(steps))
        try:
            if run.joins is not None:
                run.read_ahead(steps)
            for step in steps:
                await run_lanes(*(run.do_all(lane) for lane in lanes_of(step)))
        finally:
            await run.ahead.end()
        return run.delivery


class _Run:
    """The application of one plan. It keeps a new password until the delivery."""

    def __init__(
        self,
        applier: Applier,
        guard: Guard,
        journal: Journal,
        joins: JoinConnectedRegistry | None,
    ) -> None:
        self._applier = applier
        self.joins = joins
        self._guard = guard
        self._journal = journal
        self._note = journal.note
        self._made: tuple[Credential, Secret] | None = None
        self.ahead = Ahead()
        self.delivery: Delivery | None = None

    @property
    def _device(self) -> DeviceKey:
        return self._journal.device

    def read_ahead(self, steps: Sequence[ProvisionAction | SideBySide[ProvisionAction]]) -> None:
        """Begin to read the stored password that is delivered when the list is written."""
        for action in actions_of(steps):
            if isinstance(action, Deliver) and action.credential is not None:
                self.ahead.begin(*self._stored(action.secret, action.credential))

    async def do_all(self, actions: Sequence[ProvisionAction]) -> None:
        """Carry out one lane, in order."""
        for action in actions:
            await self.do(action)

    async def do(self, action: ProvisionAction) -> None:
        """Carry out one action."""
        match action:
            case ReserveRoom():
                await self._reserve(action)
            case PutScopeMap():
                await self._put_scope_map(action)
            case CreateToken() | UpdateToken():
                await self._put_token(action)
            case KeepPasswords():
                await self._keep_passwords(action)
            case GeneratePassword():
                await self._generate(action)
            case JoinConnectedRegistry():
                await self._applier.membership.join(
                    action.ref, action.token_id, capacity=action.capacity
                )
                self._note(LogEvent.DEVICE_MEMBERSHIP_JOINED, connected_registry=str(action.ref))
            case Deliver():
                await self._deliver(action)
            case DisableSecretVersion():
                await self._applier.secrets.disable(action.secret, action.version)
                self._note(LogEvent.DEVICE_SECRET_DISABLED, version=action.version)
            case TagSecret():
                await tag_secret(self._applier.secrets, action, journal=self._journal)
            case _:
                assert_never(action)

    async def _reserve(self, action: ReserveRoom) -> None:
        """Raises Conflict if another client has taken the last room: observe again."""
        try:
            await self._applier.membership.reserve(
                action.ref, action.token_id, capacity=action.capacity
            )
        except Blocked as refusal:
            if refusal.reason is Reason.CONNECTED_REGISTRY_FULL:
                raise Conflict(refusal.message) from None
            raise

    async def _put_scope_map(self, action: PutScopeMap) -> None:
        async def write() -> None:
            with self._journal.noting(LogEvent.DEVICE_SCOPE_MAP_WRITTEN, scope_map=action.name):
                await self._applier.registries.put_scope_map(
                    action.registry,
                    action.name,
                    actions=action.actions,
                    deadline_seconds=REQUEST_DEADLINE,
                )

        self._guard.check()
        wanted = ScopeMap(name=action.name, actions=action.actions)
        await self._applier.membership.shared.write_scope_map(
            action.registry, wanted, write, since=self._journal.began_at
        )

    async def _put_token(self, action: CreateToken | UpdateToken) -> None:
        self._guard.check()
        creates, registries = isinstance(action, CreateToken), self._applier.registries
        put = registries.create_token if creates else registries.update_token
        more: dict[str, Any] = {"on_look": self._expect} if creates else {}
        event = LogEvent.DEVICE_TOKEN_CREATED if creates else LogEvent.DEVICE_TOKEN_UPDATED
        with self._journal.noting(event, token=action.name):
            await put(
                action.registry,
                action.name,
                scope_map=action.scope_map,
                deadline_seconds=REQUEST_DEADLINE,
                **more,
            )

    def _expect(self, looks: int) -> None:
        """Prepare to join: the second look most likely finds the token active."""
        if looks and self.joins is not None:
            self._applier.membership.join_soon(self.joins.ref, capacity=self.joins.capacity)

    async def _keep_passwords(self, action: KeepPasswords) -> None:
        self._guard.check()
        with self._journal.noting(LogEvent.DEVICE_PASSWORDS_REMOVED, token=action.name):
            await self._applier.registries.keep_passwords(
                action.registry,
                action.name,
                slots=action.slots,
                deadline_seconds=REQUEST_DEADLINE,
            )

    async def _generate(self, action: GeneratePassword) -> None:
        token = action.names.token
        if action.repeats:
            await self._check_vault(action)
        self._guard.check()
        password = await self._applier.registries.generate_password(
            action.registry,
            token,
            slot=action.slot,
            expires_at=action.expires_at,
            deadline_seconds=REQUEST_DEADLINE,
        )
        self._note(LogEvent.DEVICE_PASSWORD_GENERATED, token=token, slot=action.slot.value)
        self._made = (await self._store(password, action), password.value)

    async def _check_vault(self, action: GeneratePassword) -> None:
        """Raises what Key Vault raises: a password that it refuses is made in vain.

        Key Vault takes or refuses a version by its dates, its policies and its firewall.
        """
        await self._applier.secrets.put(
            action.names.secret,
            _NO_PASSWORD,
            expires_at=action.expires_at,
            tags=self._owner_tags(action.names) | dict(action.request),
            enabled=False,
        )

    def _owner_tags(self, names: Names) -> dict[str, str]:
        return owner_tags(self._device, deployment=self._applier.deployment, token=names.token)

    async def _store(self, password: NewPassword, action: GeneratePassword) -> Credential:
        names, expires_at = action.names, password.expires_at or action.expires_at
        owner = self._owner_tags(names)
        version = await self._applier.secrets.put(
            names.secret,
            password.value,
            expires_at=expires_at,
            tags=tags_for(password, more=owner | dict(action.request)),
        )
        self._note(LogEvent.DEVICE_CREDENTIAL_STORED, secret=names.secret, version=version.version)
        return Credential(
            slot=password.slot,
            version=version.version,
            created_at=password.created_at,
            expires_at=expires_at,
        )

    async def _deliver(self, action: Deliver) -> None:
        credential, password = await self._credential_for(action)
        kind, expires_at = kind_named(action.delivery), credential.expires_at
        contents, found_id = action.contents, action.found_id
        if contents.sealed_already(found_id, password, expires_at=expires_at):
            delivery_id = f"{found_id}"
        else:
            now = self._applier.clock.now()
            contents = contents.sealed(password, expires_at=expires_at, now=now)
            delivery_id = kind.delivery_id(contents, password, expires_at=expires_at)
        if found_id != delivery_id:
            if action.withheld is not None:
                raise _not_as_printed(action.withheld)
            self._guard.check()
            patch = kind.patch(
                contents,
                action.ref.name,
                password,
                expires_at=expires_at,
                replaces=action.replaces,
            )
            await self._applier.hubs.patch_desired(
                self._device,
                patch,
                etag=action.twin_etag,
                deadline_seconds=REQUEST_DEADLINE,
                module=kind.module,
            )
        address = action.contents.address
        self._note(LogEvent.DEVICE_CREDENTIAL_DELIVERED, delivery=delivery_id, address=address)
        self.delivery = Delivery(
            id=delivery_id,
            slot=credential.slot,
            secret_version=credential.version,
            address=address,
            expires_at=credential.expires_at,
            at=self._applier.clock.now(),
        )

    def _stored(
        self, secret: str, credential: Credential
    ) -> tuple[str, Callable[[], Coroutine[Any, Any, Secret]]]:
        """The key and the read of a stored password, ahead or not."""
        version = credential.version
        return version, partial(self._applier.secrets.read, secret, version)

    async def _credential_for(self, action: Deliver) -> tuple[Credential, Secret]:
        """The credential to deliver. Raises Conflict if the plan made none: observe again."""
        if action.credential is not None:
            stored = self._stored(action.secret, action.credential)
            return action.credential, await self.ahead.get(*stored)
        if self._made is None:
            raise Conflict("The password to deliver was not made.")
        return self._made


def _not_as_printed(problem: Problem) -> Blocked:
    """The error for an entry that a person wrote with another password than the stored one."""
    message = "The entry has another password than the one in Key Vault."
    return Blocked(problem.reason, f"{problem.message} {message}", remedy=problem.remedy)


def _joins(
    steps: Sequence[ProvisionAction | SideBySide[ProvisionAction]],
) -> JoinConnectedRegistry | None:
    """The step that joins a list, if there is one."""
    return next((a for a in actions_of(steps) if isinstance(a, JoinConnectedRegistry)), None)


async def tag_secret(secrets: Secrets, action: TagSecret, *, journal: Journal) -> None:
    """Carry out a `TagSecret`."""
    tags = dict(action.tags)
    if action.version is not None:
        await secrets.tag(action.secret, action.version, tags)
    else:
        await secrets.put(action.secret, _NO_PASSWORD, expires_at=None, tags=tags, enabled=False)
    journal.note(LogEvent.DEVICE_SECRET_TAGGED, secret=action.secret)


async def run_lanes(*lanes: Awaitable[None]) -> None:
    """Run lanes concurrently. All lanes end before an error is raised: no write is cut short."""
    if len(lanes) == 1:
        await lanes[0]
        return
    results = await asyncio.gather(*lanes, return_exceptions=True)
    errors = [result for result in results if isinstance(result, BaseException)]
    # A blocker needs a person, so it comes before other errors.
    errors.sort(key=lambda error: not isinstance(error, Blocked))
    if errors:
        raise errors[0]
