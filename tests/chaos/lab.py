"""firstpull with its real adapters on a local Azure in this process, and devices that act."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import count
from typing import Any

import pytest

from firstpull.bootstrap import Application
from firstpull.model.azure_resources import ConnectedRegistryRef, RegistryId
from firstpull.model.delivery_kinds import DEFAULT_KIND
from firstpull.model.device_record import DeviceRecord, State
from firstpull.model.errors import Transient
from firstpull.model.record_codec import to_json
from local_azure.container_registry.backends import SyncOverride
from local_azure.container_registry.models import AT_ONCE
from local_azure.container_registry.resources import Token
from local_azure.kernel.clock import Clock
from local_azure.stack import ConnectedRegistryOptions, Stack, StackOptions, start_stack
from local_azure.stack.listeners import Wire
from tests import conftest
from tests.chaos.tally import asks_for
from tests.end_to_end.actions import put_foreign_token, write_clients
from tests.end_to_end.cloud import (
    clients_of,
    cloud_registry,
    edge_entries,
    entry_of,
    forget_devices,
    operations_end,
    register,
    register_edge,
    report_login,
    secret_versions,
    site_of,
    tokens_like,
)
from tests.end_to_end.deployments import settings_of
from tests.end_to_end.in_process import Firstpull, MovableClock, connected
from tests.firstpull.records import grant_of
from tests.world.device import edge_agent_reads

PLANTS = ("plant01", "plant02")
FOREIGN = "somebody-elses"
BY_HAND = "by-hand"
_ROOM = 1000
_ROUNDS = 12
_READS = 20
_SYNC_AFTER = timedelta(seconds=10)
"""Later than a password's creation by more than firstpull's margin."""
_NO_SYNCS = SyncOverride(every_seconds=None)
_SETTLED = (State.READY, State.REVOKED)


class AzuresClock(MovableClock):
    """The time of the local Azure, which goes on when firstpull waits."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock.now)
        self._clock = clock

    def advance(self, by: timedelta) -> None:
        """Move everybody's time forward."""
        self._clock.advance(by)

    def keep_azures_time(self) -> None:
        """It is Azure's."""


@dataclass
class Lab:
    """One deployment, with a new device for each case."""

    firstpull: Firstpull
    checks: Counter[str] = field(default_factory=Counter)
    numbers: count[int] = field(default_factory=count)
    plants: tuple[str, ...] = PLANTS
    delivery: str = DEFAULT_KIND

    @property
    def stack(self) -> Stack:
        """Where it runs."""
        return self.firstpull.stack

    def new_device(self) -> str:
        """A registered device."""
        device_id = f"chaos-{next(self.numbers):05}"
        (register_edge if self._is_edge else register)(self.stack, device_id)
        return device_id

    @property
    def _is_edge(self) -> bool:
        return self.delivery == "edgeAgent"

    def entry(self, device_id: str, plant: str) -> dict[str, Any]:
        """What the device finds for a connected registry, empty where there is nothing."""
        if not self._is_edge:
            return entry_of(self.stack, device_id, plant)
        return self._edge_entry(device_id, plant, "desired")

    def _edge_entry(self, device_id: str, plant: str, section: str) -> dict[str, Any]:
        found = edge_entries(self.stack, device_id, section)
        return next((found[name] for name in found if name.split("-")[1] == plant), {})

    async def ready_device(self) -> str:
        """A device that has logged in at the first connected registry."""
        device_id, application = self.new_device(), self.firstpull.application()
        await self.ask(application, device_id)
        await self.converge(application, device_id)
        return device_id

    async def ask(
        self,
        application: Application,
        device_id: str,
        plant: str = PLANTS[0],
        **more: Any,  # noqa: ANN401 - JSON
    ) -> None:
        """Request that a device is onboarded."""
        asks = {**asks_for(self.delivery), **more}
        await self.firstpull.ask(application, device_id, plant, **asks)

    async def converge(self, application: Application, device_id: str) -> DeviceRecord:
        """Reconcile whenever it is due, with syncs and a device that acts, until all is done."""
        for _ in range(_ROUNDS):
            record = await self.come_to_rest(application, device_id)
            if is_done(record):
                return record
            self.sync()
            self.act(device_id)
            self.firstpull.clock.advance_to(
                min(record.schedule.due_at, self.firstpull.clock.now() + timedelta(minutes=20))
            )
        raise AssertionError(f"P3: {device_id} does not converge: {record.status.condition}")

    async def come_to_rest(self, application: Application, device_id: str) -> DeviceRecord:
        """Reconcile until the device waits for somebody."""
        for plant in self.plants:
            record = await self.firstpull.come_to_rest(application, device_id, plant)
        return record

    async def record_in_a_storm(self, device_id: str) -> DeviceRecord:
        """The record, read until storage answers."""
        for _ in range(_READS):
            with suppress(Transient):
                return await self.firstpull.record(device_id)
        raise AssertionError("storage does not answer")

    def sync(self) -> None:
        """All connected registries take over what the container registry has now."""
        self.firstpull.clock.advance(_SYNC_AFTER)
        for plant in self.plants:
            site_of(self.stack, plant).backend.sync()

    def act(self, device_id: str) -> None:
        """The device logs in with what its twin holds, and reports it; edgeAgent takes it."""
        if self._is_edge:
            edge_agent_reads(self.stack.hub, device_id)
            return
        for plant in self.plants:
            entry = self.entry(device_id, plant)
            if entry and self._site_accepts(plant, entry["username"], entry["password"]):
                report_login(self.stack, device_id, plant)

    def _site_accepts(self, plant: str, username: str, password: str) -> bool:
        return site_of(self.stack, plant).backend.authenticate(username, password) is not None

    # What holds at any time

    def login(self, device_id: str) -> Login:
        """What the device logs in with now."""
        for plant in self.plants:
            entry = self.entry(device_id, plant)
            if entry and self._site_accepts(plant, entry["username"], entry["password"]):
                return Login(plant, entry["username"], entry["password"])
        raise AssertionError(f"{device_id} cannot log in")

    def check_login(self, login: Login, device_id: str) -> None:
        """P2: the login works, unless the device has logged in with another one since."""
        self.checks["P2"] += 1
        has_another = any(
            self._has_taken(device_id, plant)
            and self.entry(device_id, plant).get("password") != login.password
            for plant in self.plants
        )
        if not has_another:
            token = self.token(login.username)
            accepted = token is not None and token.accepts(
                login.password, now=self.stack.kernel.clock.now()
            )
            assert accepted, f"P2: {device_id} lost its live password"

    def _has_taken(self, device_id: str, plant: str) -> bool:
        """Whether the device reports what was delivered, or that there is nothing."""
        entry = self.entry(device_id, plant)
        if self._is_edge:
            return entry == self._edge_entry(device_id, plant, "reported")
        reported = self.stack.hub.twin(device_id).reported.values
        return entry.get("deliveryId") == _reported_delivery(reported, plant)

    def token(self, name: str) -> Token | None:
        """A token by its name, None where there is none."""
        found = [token for token in cloud_registry(self.stack).tokens() if token.name == name]
        return found[0] if found else None

    def _listed(self, plant: str) -> list[str]:
        """The clients of a connected registry; a list may spell them in another case."""
        return [name.lower() for name in clients_of(self.stack, plant)]

    async def check_after_a_crash(self, device_id: str) -> None:
        """P1, P4 and P6 hold whatever was interrupted."""
        self.checks.update(("P1", "P4", "P6"))
        stored = await self.firstpull.ports.records.get(self.firstpull.device(device_id))
        record = stored.value if stored is not None else None
        tokens = {grant.names.token for grant in record.grants} if record is not None else set()
        secrets = {grant.names.secret for grant in record.grants} if record is not None else set()
        if record is not None:
            secrets |= record.status.retired_secrets
        made = {token.name for token in tokens_like(self.stack, device_id)}
        assert made <= tokens, f"P1: no record names {made - tokens}"
        kept = {name for name in self.stack.vault._secrets if device_id in name}
        assert kept <= secrets, f"P1: no record names {kept - secrets}"
        for plant in self.plants:
            listed = self._listed(plant)
            ours = {name for name in listed if device_id in name}
            assert ours <= tokens, f"P1: no record has {ours - tokens} at {plant}"
            assert f"{FOREIGN}-{plant}" in listed, "P4: a foreign client was removed"
        if record is not None:
            text = to_json(record)
            values = {
                version.value.get_secret_value()
                for name in kept
                for version in secret_versions(self.stack, name)
            }
            assert not any(value in text for value in values), "P6: the record has a password"

    # How it ends

    async def check_ready(self, device_id: str, plant: str) -> None:
        """The device has everything, once, and one more pass writes nothing."""
        await self.check_agrees(device_id, plant)
        await self.check_one_more_pass(device_id)

    async def check_agrees(self, device_id: str, plant: str) -> None:
        """Record, token, secret, list, ledger, twin and site have the same, once."""
        self.checks.update(("P1", "P3", "P4", "P6"))
        record = await self.firstpull.record(device_id)
        grant = grant_of(record)
        assert record.status.condition.state is State.READY, record.status.condition
        assert grant.ref.name == plant, f"P3: it is at {grant.ref.name}"
        names = [token.name for token in tokens_like(self.stack, device_id)]
        assert names == [grant.names.token], f"P3: it has the tokens {names}"
        token = self.token(grant.names.token)
        assert token is not None
        assert token.status == "enabled"
        assert len(token.passwords) == 1, f"P3: {len(token.passwords)} passwords are left"
        entries = {each: self.entry(device_id, each) for each in self.plants}
        assert [each for each in self.plants if entries[each]] == [plant]
        password = entries[plant]["password"]
        assert token.accepts(password, now=self.stack.kernel.clock.now())
        enabled = {
            version.value.get_secret_value()
            for version in secret_versions(self.stack, grant.names.secret)
            if version.enabled
        }
        assert enabled == {password}, "P3: the vault has another password"
        for each in self.plants:
            listed = self._listed(each).count(grant.names.token)
            assert listed == (each == plant), f"P4: it is {listed} times in the list of {each}"
        await self._check_ledgers(record, plant)
        self.sync()
        assert self._site_accepts(plant, grant.names.token, password)
        await self.check_after_a_crash(device_id)

    async def check_adopted(self, device_id: str, token: str, password: str) -> None:
        """The token is the device's now, with its password and its place in the list."""
        self.checks.update(("P3", "P4"))
        record = await self.firstpull.record(device_id)
        assert record.status.condition.state is State.READY, record.status.condition
        assert grant_of(record).names.token == token
        found = self.token(token)
        assert found is not None
        assert found.accepts(password, now=self.stack.kernel.clock.now()), "P2: it was removed"
        assert self._listed(self.plants[0]).count(token) == 1
        assert not tokens_like(self.stack, device_id)
        await self.check_one_more_pass(device_id)

    async def check_revoked(self, device_id: str, login: Login) -> None:
        """Nothing is left, and nothing accepts the password any more."""
        self.checks.update(("P3", "P7"))
        record = await self.firstpull.record(device_id)
        assert record.is_tombstone, record.status.condition
        assert not tokens_like(self.stack, device_id), "P7: the token is left"
        for plant in self.plants:
            assert login.username not in self._listed(plant), "P7: it is listed"
            assert not self.entry(device_id, plant), "P7: the delivery is left"
        for grant in record.grants:
            versions = secret_versions(self.stack, grant.names.secret)
            assert not [v for v in versions if v.enabled], "P7: a secret can be read"
        await self._check_ledgers(record, None)
        self.sync()
        assert not self._site_accepts(login.plant, login.username, login.password), "P7: let in"
        await self.check_after_a_crash(device_id)

    async def _check_ledgers(self, record: DeviceRecord, plant: str | None) -> None:
        registry = RegistryId(self.stack.registry_id)
        tokens = {grant.token_id for grant in record.grants}
        for each in self.plants:
            ref = ConnectedRegistryRef(registry=registry, name=each)
            ledger = await self.firstpull.ports.ledgers.get(ref)
            held = ledger is not None and any(ledger.value.get(token) for token in tokens)
            assert held == (each == plant), f"P3: the ledger of {each} says {held}"

    async def check_one_more_pass(self, device_id: str) -> None:
        """One more pass writes nothing."""
        application = self.firstpull.application()
        await self.converge(application, device_id)  # the pass that follows a login
        writes = await self.firstpull.reconcile_again(application, device_id)
        # A write to Key Vault that was repeated leaves a superfluous version: it is disabled.
        assert writes in ([], ["keyVault.secrets.update"]), f"P3: one more pass wrote {writes}"
        writes = await self.firstpull.reconcile_again(application, device_id)
        assert writes == [], f"P3: one more pass wrote {writes}"

    # Tokens of others

    def make_by_hand(self, device_id: str) -> tuple[str, str]:
        """A token that somebody made, a client of the first one; returns it and its password."""
        name, plant = f"{BY_HAND}-{device_id[-5:]}", self.plants[0]
        token_id = put_foreign_token(self.stack, name)
        listed = cloud_registry(self.stack).connected_registry(plant).settings.client_token_ids
        write_clients(self.stack, plant, [*listed, token_id])
        made = cloud_registry(self.stack).generate_credentials(token_id, name="password1")
        return name, made.value_of("password1")

    def forget(self, device_id: str, *more: str) -> None:
        """Let the lists be short again: a case's device is not looked at any more."""
        registry = cloud_registry(self.stack)
        tokens = [*(token.name for token in tokens_like(self.stack, device_id)), *more]
        for plant in self.plants:
            listed = registry.connected_registry(plant).settings.client_token_ids
            kept = [i for i in listed if i.rsplit("/", 1)[-1] not in tokens]
            if len(kept) < len(listed):
                write_clients(self.stack, plant, kept)
        for token in tokens:
            registry.delete_token(token)


@dataclass(frozen=True)
class Login:
    """Where a device logs in, and with what."""

    plant: str
    username: str
    password: str


def is_done(record: DeviceRecord) -> bool:
    """Whether nothing is left to do for what was asked."""
    return (
        record.status.observed_generation == record.spec.generation
        and record.status.condition.state in _SETTLED
        and record.spec.rotation is None
        and not (record.status.retiring and record.spec.revocation is None)
        and record.claim is None
        and record.schedule.attempts == 0
    )


def _reported_delivery(reported: Any, plant: str) -> object:  # noqa: ANN401 - JSON
    for name in ("firstpull", "registryCredentials", plant, "deliveryId"):
        reported = reported.get(name) if isinstance(reported, dict) else None
    return reported


@asynccontextmanager
async def own_stack(
    seed: int, *, on_disk: bool = False, wire: Wire | None = None
) -> AsyncIterator[Stack]:
    """A local Azure of this process. Its connected registries sync on request only."""
    options = StackOptions(
        seed=seed,
        connected_registries=tuple(
            ConnectedRegistryOptions(name=name, sync_every_seconds=None, max_clients=_ROOM)
            for name in PLANTS
        ),
        operation_lengths=AT_ONCE,
        throttled=False,
        storage_on_disk=on_disk,
        wire=wire,
    )
    async with start_stack(
        options, address=conftest._SECOND_ADDRESS, certificates=conftest._AUTHORITY
    ) as stack:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("IDENTITY_ENDPOINT", stack.identity_endpoint)
            patch.setenv("IDENTITY_HEADER", stack.identity_header_of_both)
            yield stack


@asynccontextmanager
async def lab_on(stack: Stack, *, plants: tuple[str, ...] = PLANTS) -> AsyncIterator[Lab]:
    """A deployment at two connected registries of a stack, each with a client of somebody else."""
    stack.vault.settings.moving_seconds = (0.0, 0.0)
    for plant in plants:
        site_of(stack, plant).backend.override = _NO_SYNCS
        write_clients(stack, plant, [put_foreign_token(stack, f"{FOREIGN}-{plant}")])
    settings = settings_of(
        stack, "chaos", *plants, capacity=_ROOM, adoptableTokens=[f"{BY_HAND}-*"]
    )
    await forget_devices(stack)
    async with connected(stack, settings) as found:
        clock = AzuresClock(stack.kernel.clock)
        firstpull = replace(found, clock=clock, ports=replace(found.ports, clock=clock))
        lab = Lab(firstpull, plants=plants)
        await lab.ready_device()  # opens the connections
        yield lab
    await operations_end(stack)
    await forget_devices(stack)
