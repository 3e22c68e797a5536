"""The adapters against the local services, through the SDKs that they use."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
from pydantic import SecretStr

from firstpull.adapters.storage import StorageServices, TableRecords, blob_sweeps
from firstpull.model.azure_resources import (
    ConnectedRegistryRef,
    RegistryId,
    ScopeMapId,
    Slot,
    StoredSecret,
    Twin,
)
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import (
    Condition,
    DeviceRecord,
    Grant,
    Intent,
    RetiringGrant,
    Revocation,
    State,
)
from firstpull.model.errors import Blocked, Conflict, FirstpullError, InProgress, Transient
from firstpull.model.history import LENGTH, entry, extended
from firstpull.model.naming import Names
from firstpull.model.ports import ContainerRegistries, Query
from firstpull.model.reasons import Reason
from firstpull.model.secret import Secret
from firstpull.model.sweep_report import Kind, Orphan, SweepReport
from firstpull.model.transitions import new_record
from firstpull.observability.log_events import LogEvent
from local_azure.container_registry.models import OperationLengths, Registry
from local_azure.iot_hub.identities import DeviceSettings, DeviceStatus
from local_azure.iot_hub.twins import TwinPatch
from local_azure.kernel.faults import Fault, FaultKind
from local_azure.key_vault.models import Properties, Vault
from local_azure.stack import Stack
from tests.firstpull.records import changed

from .cloud import (
    RECORDS_TABLE,
    cloud_answers,
    cloud_registry,
    forget_devices,
    operations_end,
    register,
)
from .in_process import Firstpull, MovableClock, connected
from .whole_lifetime import storage_of

_DEADLINE = 60.0
_PLANT, _HUB = "plant19", "adapters.example"
_REGISTRY = RegistryId(
    "/subscriptions/any/resourceGroups/any/providers/Microsoft.ContainerRegistry/registries/anyone"
)
_ACTIONS = frozenset({"repositories/hello-world/content/read"})
_NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)
_NUMBERS = count()


@pytest.fixture(scope="module")
async def firstpull(stack: Stack) -> AsyncIterator[Firstpull]:
    async with connected(stack) as firstpull:
        yield firstpull


# Container registry


@dataclass(frozen=True)
class Arm:
    """The container registry: by the adapter, and as the service keeps it.

    The writes here end when the service has carried them out, however long it takes.
    """

    stack: Stack
    adapter: ContainerRegistries
    registry: RegistryId

    @property
    def cloud(self) -> Registry:
        """The state of the service."""
        return cloud_registry(self.stack)

    @property
    def ref(self) -> ConnectedRegistryRef:
        """One of its connected registries."""
        return ConnectedRegistryRef(registry=self.registry, name=_PLANT)

    async def new_token(self, *slots: Slot) -> str:
        """The name of a new token and its scope map, with passwords in these slots."""
        name = f"adapters-{next(_NUMBERS):03}"
        await self.adapter.put_scope_map(
            self.registry, name, actions=_ACTIONS, deadline_seconds=_DEADLINE
        )
        async with self.to_the_end():
            await self.adapter.create_token(
                self.registry,
                name,
                scope_map=self.registry.scope_map(name),
                deadline_seconds=_DEADLINE,
            )
        for slot in slots:
            await self.new_password(name, slot)
        return name

    async def new_password(
        self, token: str, slot: Slot, *, deadline_seconds: float = _DEADLINE
    ) -> str:
        """The value of a new password."""
        made = await self.adapter.generate_password(
            self.registry,
            token,
            slot=slot,
            expires_at=datetime.now(UTC) + timedelta(days=1),
            deadline_seconds=deadline_seconds,
        )
        return made.value.reveal()

    async def keep_passwords(self, token: str, slots: tuple[Slot, ...]) -> None:
        """Remove the passwords of a token in other slots."""
        async with self.to_the_end():
            await self.adapter.keep_passwords(
                self.registry, token, slots=slots, deadline_seconds=_DEADLINE
            )

    async def disable_token(self, token: str) -> None:
        """Disable a token."""
        async with self.to_the_end():
            await self.adapter.disable_token(self.registry, token, deadline_seconds=_DEADLINE)

    async def enable_token(self, token: str) -> None:
        """Enable a token, with the scope map of its name."""
        scope_map = self.registry.scope_map(token)
        async with self.to_the_end():
            await self.adapter.update_token(
                self.registry, token, scope_map=scope_map, deadline_seconds=_DEADLINE
            )

    async def delete_token(self, token: str) -> None:
        """Delete a token."""
        async with self.to_the_end():
            await self.adapter.delete_token(self.registry, token, deadline_seconds=_DEADLINE)

    async def delete_scope_map(self, name: str) -> None:
        """Delete a scope map."""
        async with self.to_the_end():
            await self.adapter.delete_scope_map(self.registry, name, deadline_seconds=_DEADLINE)

    @asynccontextmanager
    async def to_the_end(self) -> AsyncIterator[None]:
        """Make a write of the adapter, and wait until the service has carried it out."""
        with suppress(InProgress):
            yield
        await operations_end(self.stack)


@pytest.fixture
async def arm(stack: Stack, firstpull: Firstpull) -> AsyncIterator[Arm]:
    """What a test leaves there is removed."""
    cloud = cloud_registry(stack)
    yield Arm(stack, firstpull.ports.registries, RegistryId(stack.registry_id))
    for token in cloud.tokens():
        if token.name.startswith("adapters-"):
            cloud.delete_token(token.name)
    await operations_end(stack)
    for scope_map in cloud.scope_maps():
        if scope_map.name.startswith("adapters-"):
            cloud.delete_scope_map(scope_map.name)


@pytest.mark.parametrize("kept", [(), (Slot.TWO,), (Slot.TWO, Slot.ONE)])
async def test_a_token_keeps_the_named_passwords_and_no_other(
    arm: Arm, kept: tuple[Slot, ...]
) -> None:
    token = await arm.new_token(*Slot)
    before = {password.name: password for password in arm.cloud.token(token).passwords}
    await arm.keep_passwords(token, kept)
    after = {password.name: password for password in arm.cloud.token(token).passwords}
    assert after == {name: before[name] for name in before if name in kept}


async def test_a_disabled_token_keeps_its_password_and_lets_nobody_in(
    stack: Stack, arm: Arm
) -> None:
    token = await arm.new_token()
    password = await arm.new_password(token, Slot.ONE)
    assert await cloud_answers(stack, token, password) == 200
    await arm.disable_token(token)
    assert await cloud_answers(stack, token, password) == 401
    await arm.enable_token(token)
    assert await cloud_answers(stack, token, password) == 200


async def test_a_password_is_waited_for_longer_than_its_submission_may_take(
    stack: Stack, arm: Arm, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = await arm.new_token()
    lengths = OperationLengths(change=(1, 1))
    monkeypatch.setattr(stack.cloud.settings, "generate_credentials_asynchronously", True)
    monkeypatch.setattr(stack.cloud.settings, "operation_lengths", lengths)
    monkeypatch.setattr("local_azure.container_registry.responses._RETRY_AFTER_SECONDS", "3")
    password = await arm.new_password(token, Slot.ONE, deadline_seconds=2)
    assert await cloud_answers(stack, token, password) == 200


async def test_what_is_gone_can_be_disabled_and_deleted_again(arm: Arm) -> None:
    token = await arm.new_token()
    for _ in range(2):
        await arm.delete_token(token)
        await arm.disable_token(token)
        await arm.delete_scope_map(token)
    assert token not in {found.name for found in arm.cloud.tokens()}
    assert token not in {found.name for found in arm.cloud.scope_maps()}


async def test_a_token_that_a_connected_registry_uses_is_not_deleted_and_the_error_says_where(
    arm: Arm,
) -> None:
    client = await arm.new_token()
    found = await arm.adapter.get_connected_registry(arm.ref)
    assert found is not None
    clients = (*found.client_token_ids, arm.registry.token(client))
    await arm.adapter.replace_client_tokens(arm.ref, clients, deadline_seconds=_DEADLINE)
    sync_token = arm.cloud.token_of(arm.cloud.connected_registry(_PLANT).sync_token_id)
    for token in (client, sync_token.name):
        with pytest.raises(Blocked, match=_PLANT) as refused:
            await arm.delete_token(token)
        assert refused.value.reason is Reason.TOKEN_IN_USE
    await arm.adapter.replace_client_tokens(
        arm.ref, found.client_token_ids, deadline_seconds=_DEADLINE
    )
    await arm.delete_token(client)


@pytest.mark.parametrize(
    ("status", "code", "reason"),
    [
        (409, "OperationInProgress", Reason.CHANGED_MEANWHILE),
        (400, "InvalidParameter", Reason.REFUSED),
        (403, "AuthorizationFailed", Reason.ACCESS_DENIED),
        (429, "TooManyRequests", Reason.THROTTLED),
    ],
)
async def test_a_refused_deletion_has_its_reason(
    stack: Stack, arm: Arm, status: int, code: str, reason: Reason
) -> None:
    token = await arm.new_token()
    # A throttled request goes again within its deadline.
    fault = Fault(r"arm\.tokens\.delete", FaultKind.STATUS, status=status, code=code, times=3)
    stack.kernel.faults.add(fault)
    with pytest.raises(FirstpullError) as refused:
        await arm.delete_token(token)
    assert refused.value.reason is reason
    assert arm.cloud.token(token).name == token


async def test_a_scope_map_that_a_token_needs_is_not_deleted(arm: Arm) -> None:
    token = await arm.new_token()
    with pytest.raises(Conflict, match="ScopeMapInUse"):
        await arm.delete_scope_map(token)
    assert arm.cloud.scope_map(token).name == token


async def test_lists_hold_what_is_on_every_page(stack: Stack, arm: Arm) -> None:
    token = await arm.new_token(Slot.TWO)
    for number in range(45):
        name = f"adapters-page-{number}"
        arm.cloud.put_scope_map(name, actions=sorted(_ACTIONS))
        scope_map_id = str(arm.registry.scope_map(name))
        arm.cloud.put_token(name, scope_map_id=scope_map_id, status="disabled")
    await operations_end(stack)
    stack.kernel.calls.reset()
    tokens = {found.name: found for found in await arm.adapter.list_tokens(arm.registry)}
    scope_maps = {found.name: found for found in await arm.adapter.list_scope_maps(arm.registry)}
    assert stack.kernel.calls.counts()["arm.tokens.list"] >= 3
    assert tokens.keys() == {found.name for found in arm.cloud.tokens()}
    assert scope_maps.keys() == {found.name for found in arm.cloud.scope_maps()}
    assert tokens[token] == await arm.adapter.get_token(arm.registry, token)
    assert scope_maps[token] == await arm.adapter.get_scope_map(arm.registry, token)


async def test_all_connected_registries_are_listed_as_each_is_read(arm: Arm) -> None:
    arm.cloud.note_connection(_PLANT, "Offline")
    listed = await arm.adapter.list_connected_registries(arm.registry)
    found = await arm.adapter.get_connected_registry(arm.ref)
    arm.cloud.note_connection(_PLANT, "Online")
    names = [connected.name for connected in listed]
    assert sorted(names) == [connected.name for connected in arm.cloud.connected_registries()]
    assert found == listed[names.index(_PLANT)]
    # As text: an enumeration of the SDK would not be "Offline" there.
    assert f"{found.connection_state}" == "Offline"


async def test_the_lists_of_a_missing_container_registry_are_errors_and_not_empty(
    arm: Arm,
) -> None:
    missing = RegistryId(f"{arm.registry}missing")
    for listing in (
        arm.adapter.list_tokens,
        arm.adapter.list_scope_maps,
        arm.adapter.list_connected_registries,
    ):
        with pytest.raises(Blocked, match="ParentResourceNotFound"):
            await listing(missing)


# Key Vault


@pytest.fixture
def vault(stack: Stack) -> Iterator[Vault]:
    """What a test leaves there is removed."""
    yield stack.vault
    for name in stack.vault.list_secrets():
        if name.startswith("adapters-"):
            stack.vault.delete(name)
    for name in stack.vault.list_deleted():
        if name.startswith("adapters-"):
            stack.vault.purge(name)


async def test_the_vault_lists_its_secrets_page_after_page_without_the_deleted_ones(
    vault: Vault, firstpull: Firstpull
) -> None:
    for number in range(30):
        properties = Properties(tags={"number": str(number)}, enabled=number != 3)
        vault.set(f"adapters-{number:02}", SecretStr("a value"), properties)
    vault.delete("adapters-07")
    listed = await firstpull.ports.secrets.list_secrets()
    ours = [secret for secret in listed if secret.name.startswith("adapters-")]
    assert all(secret.updated_at is not None for secret in ours)
    assert [replace(secret, updated_at=None) for secret in ours] == [
        StoredSecret(
            name=f"adapters-{number:02}", enabled=number != 3, tags={"number": str(number)}
        )
        for number in range(30)
        if number != 7
    ]
    assert "a value" not in repr(listed)


@pytest.mark.parametrize("purged", [False, True])
async def test_a_version_of_a_deleted_secret_can_be_disabled(
    vault: Vault, firstpull: Firstpull, *, purged: bool
) -> None:
    secrets = firstpull.ports.secrets
    name = f"adapters-gone-{purged}"
    version = vault.set(name, SecretStr("a value"), Properties()).version
    assert [found.version for found in await secrets.versions(name)] == [version]
    vault.delete(name)
    if purged:
        vault.purge(name)
    await secrets.disable(name, version)
    assert await secrets.versions(name) == ()


@pytest.mark.parametrize("purged", [False, True])
async def test_a_secret_that_is_being_recovered_or_purged_is_waited_for(
    stack: Stack,
    vault: Vault,
    firstpull: Firstpull,
    monkeypatch: pytest.MonkeyPatch,
    *,
    purged: bool,
) -> None:
    monkeypatch.setattr("firstpull.adapters.key_vault._MOVING_PAUSES", (0.0,))
    name = f"adapters-moves-{purged}"
    vault.set(name, SecretStr("a value"), Properties())
    vault.delete(name)
    vault.settings.moving_seconds = (3600, 3600)
    stack.kernel.calls.reset()
    (vault.purge if purged else vault.recover)(name)
    with pytest.raises(Transient, match="ObjectIsBeing") as refused:
        await firstpull.ports.secrets.put(name, Secret("another"), expires_at=None, tags={})
    assert refused.value.retry_after
    assert not [c for c in stack.kernel.calls.latest() if "/deletedsecrets/" in c.path]
    vault.settings.moving_seconds = (0, 0)
    vault._moves.clear()


# IoT Hub


@pytest.fixture(scope="module")
def devices(stack: Stack) -> Iterator[list[str]]:
    """More than fit a page; they are deregistered afterwards."""
    names = [f"adapters-{number:03}" for number in range(105)]
    register(stack, *names, "adapters-without-a-tag")
    for name in names:
        stack.hub.patch_twin(name, TwinPatch(tags={"firstpull": {}}), etag=None)
    yield names
    for name in (*names, "adapters-without-a-tag"):
        stack.hub.delete_device(name, etag=None)


def without_stamps(twin: Twin | None) -> Twin:
    """The twin as a listing has it, which may be one of thousands."""
    assert twin is not None
    desired, reported = dict(twin.desired), dict(twin.reported)
    assert desired.pop("$metadata")
    assert reported.pop("$metadata")
    return replace(twin, desired=desired, reported=reported)


async def test_a_hub_lists_its_devices_page_after_page_with_their_twins(
    stack: Stack, firstpull: Firstpull, devices: list[str]
) -> None:
    hubs = firstpull.ports.hubs
    disabled = DeviceSettings(devices[-1], status=DeviceStatus.DISABLED)
    stack.hub.update_device(disabled, etag=None)
    stack.hub.report(devices[0], {"firstpull": {"said": "something"}})
    stack.kernel.calls.reset()
    listed = await hubs.list_devices(stack.iot_hub_host_name)
    assert stack.kernel.calls.counts()["iotHub.twins.query"] >= 2
    ours = {each.device_id: each.twin for each in listed if each.device_id in devices}
    assert list(ours) == devices
    assert "adapters-without-a-tag" not in {each.device_id for each in listed}
    for name in (devices[0], devices[50], devices[-1]):
        assert ours[name] == without_stamps(await hubs.twin(firstpull.device(name)))
    assert not ours[devices[-1]].enabled


async def test_devices_are_found_by_their_ids_many_at_a_time(
    stack: Stack, firstpull: Firstpull, devices: list[str]
) -> None:
    odd = "it's-%24#1"
    register(stack, odd)
    stack.kernel.calls.reset()
    hubs, host = firstpull.ports.hubs, stack.iot_hub_host_name
    found = await hubs.find_devices(host, [*devices, odd, "no-such-device"])
    assert sorted(each.device_id for each in found) == sorted([*devices, odd])
    queries = [c for c in stack.kernel.calls.latest() if c.operation == "twins.query"]
    assert len(queries) == 3
    assert await hubs.find_devices(host, []) == ()
    stack.hub.delete_device(odd, etag=None)


@pytest.mark.parametrize("page", [1, 2])
async def test_a_throttled_page_is_waited_for(
    stack: Stack,
    firstpull: Firstpull,
    devices: list[str],
    page: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = MovableClock(stack.kernel.clock.now)
    monkeypatch.setattr(firstpull.ports.hubs, "_clock", clock)
    throttled = Fault(r"iotHub\.twins\.query", FaultKind.STATUS, status=429, skip=page - 1, times=2)
    stack.kernel.faults.add(throttled)
    begun = clock.now()
    listed = await firstpull.ports.hubs.list_devices(stack.iot_hub_host_name)
    assert set(devices) <= {each.device_id for each in listed}
    assert clock.now() - begun >= timedelta(seconds=20)


async def test_a_listing_that_is_throttled_for_minutes_is_given_up(
    stack: Stack, firstpull: Firstpull, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(firstpull.ports.hubs, "_clock", MovableClock(stack.kernel.clock.now))
    throttled = Fault(
        r"iotHub\.twins\.query", FaultKind.STATUS, status=429, retry_after="100", times=None
    )
    stack.kernel.faults.add(throttled)
    with pytest.raises(Transient) as refused:
        await firstpull.ports.hubs.list_devices(stack.iot_hub_host_name)
    assert refused.value.reason is Reason.THROTTLED


# Storage


@pytest.fixture(scope="module")
async def storage(stack: Stack) -> AsyncIterator[StorageServices]:
    async with storage_of(stack) as services:
        await services.prepare()
        yield services


@pytest.fixture
async def records(stack: Stack, storage: StorageServices) -> AsyncIterator[TableRecords]:
    """There are none afterwards."""
    yield TableRecords(storage)
    await forget_devices(stack)


def _record(device_id: str, **fields: Any) -> DeviceRecord:  # noqa: ANN401 - fields of a record
    intent = Intent(
        target=_PLANT,
        candidates=(ConnectedRegistryRef(registry=_REGISTRY, name=_PLANT),),
        repositories=("hello-world",),
        actions=("content/read",),
        requested_by="a test",
        at=_NOW,
    )
    device = DeviceKey(hub=_HUB, device_id=device_id)
    return changed(new_record(device, intent), due_at=_NOW + timedelta(days=36500), **fields)


def _grant(token: str) -> Grant:
    ref = ConnectedRegistryRef(registry=_REGISTRY, name=_PLANT)
    return Grant(ref=ref, names=Names(token=token, secret=f"{token}-secret"))


async def test_a_record_comes_back_however_long_it_is(records: TableRecords) -> None:
    recorded = LogEvent.DEVICE_REVOKE_RECORDED
    long = [entry(recorded, at=_NOW, by="ö" * 60, detail="ö" * 999)] * LENGTH
    repositories = tuple(f"repository-{number:04}/{'x' * 100}" for number in range(500))
    small = _record("long", history=extended((), long))
    record = changed(small, intent=replace(small.spec.intent, repositories=repositories))
    stored = await records.insert(record)
    assert await records.get(record.device) == stored
    assert (await records.page(Query(hub=_HUB))).records == (record,)
    await records.replace(small, etag=stored.etag)
    assert (await records.page(Query(hub=_HUB))).records == (small,)


async def test_a_record_is_found_by_the_name_of_its_token(records: TableRecords) -> None:
    one = _record("one", grant=_grant("fp-one"))
    for record in (one, _record("other", grant=_grant("fp-other")), _record("nameless")):
        await records.insert(record)
    assert (await records.page(Query(token="fp-one"))).records == (one,)  # noqa: S106 - a name
    assert (await records.page(Query(token="fp-none"))).records == ()  # noqa: S106 - a name


async def test_an_unreadable_record_is_named_and_hides_no_other(
    storage: StorageServices, records: TableRecords
) -> None:
    whole, damaged = _record("whole"), _record("damaged")
    for record in (whole, damaged):
        await records.insert(record)
    table = storage.tables.get_table_client(RECORDS_TABLE)
    entity = await table.get_entity(_HUB, damaged.device.digest())
    await table.update_entity({**entity, "record": '{"device": 7}'})
    with pytest.raises(Blocked) as raised:
        await records.get(damaged.device)
    assert raised.value.reason is Reason.RECORD_NOT_READABLE
    page = await records.page(Query(hub=_HUB))
    assert (page.records, page.unreadable) == ((whole,), (damaged.device,))


async def test_the_report_of_a_sweep_replaces_only_the_one_that_was_read(
    stack: Stack, storage: StorageServices
) -> None:
    await forget_devices(stack)
    sweeps = blob_sweeps(storage)
    report = SweepReport(
        id="one",
        started_at=_NOW,
        finished_at=_NOW + timedelta(seconds=5),
        devices=3,
        drifted={"the token is gone": 1},
        held=(DeviceKey(hub="a.example", device_id="gone"),),
        orphans=(Orphan(kind=Kind.SECRET, name="fp-x", where="the vault"),),
        scope_maps_unreferenced={ScopeMapId("an id"): _NOW},
    )
    assert await sweeps.get() is None
    first = await sweeps.put(report, etag=None)
    assert await sweeps.get() == first
    with pytest.raises(Conflict):
        await sweeps.put(replace(report, id="a second first"), etag=None)
    second = await sweeps.put(replace(report, id="two"), etag=first.etag)
    with pytest.raises(Conflict):
        await sweeps.put(replace(report, id="late"), etag=first.etag)
    assert await sweeps.get() == second
    await forget_devices(stack)


async def test_a_record_is_found_by_what_its_device_is_about_to_leave(
    records: TableRecords,
) -> None:
    old, new = _grant("fp-old"), _grant("fp-new")
    leaving = RetiringGrant(ref=old.ref, names=old.names, at_once=False)
    other = RetiringGrant(ref=new.ref, names=new.names, at_once=False)
    moving = _record("moving", grant=new, retiring=(leaving,))
    for record in (moving, _record("another", retiring=(other,)), _record("nameless")):
        await records.insert(record)
    for query in (Query(token=old.names.token), Query(secret=old.names.secret)):
        assert (await records.page(query)).records == (moving,)


async def test_records_are_found_by_state_and_reason_and_tombstones_are_left_out(
    records: TableRecords,
) -> None:
    def record(name: str, state: State, reason: Reason) -> DeviceRecord:
        condition = Condition(state=state, reason=reason, message="", since=_NOW)
        return changed(_record(name), condition=condition)

    full = record("full", State.BLOCKED, Reason.SITE_FULL)
    ready = record("ready", State.READY, Reason.ACKNOWLEDGED)
    waiting = record("waiting", State.WAITING, Reason.AWAITING_SYNC)
    gone = record("gone", State.REVOKED, Reason.REVOKED)
    gone = changed(
        gone,
        revocation=Revocation(requested_by="a test", at=_NOW),
        observed_generation=gone.spec.generation,
    )
    for one in (full, ready, waiting, gone):
        await records.insert(one)

    async def found(**filters: Any) -> set[str]:  # noqa: ANN401 - filters of a query
        query, names = Query(hub=_HUB, size=1, **filters), set[str]()
        while True:
            page = await records.page(query)
            names |= {record.device.device_id for record in page.records}
            if page.next_page is None:
                return names
            query = replace(query, after=page.next_page)

    assert await found(states=frozenset({State.BLOCKED, State.READY})) == {"full", "ready"}
    assert await found(reason=Reason.AWAITING_SYNC) == {"waiting"}
    assert await found(tombstones=False) == {"full", "ready", "waiting"}
    assert await found() == {"full", "ready", "waiting", "gone"}


async def test_only_the_record_that_was_read_is_deleted(records: TableRecords) -> None:
    stored = await records.insert(_record("deleted"))
    later = await records.replace(stored.value, etag=stored.etag)
    with pytest.raises(Conflict):
        await records.delete(stored.value.device, etag=stored.etag)
    await records.delete(stored.value.device, etag=later.etag)
    assert await records.get(stored.value.device) is None
    await records.delete(stored.value.device, etag=later.etag)
