"""The adapters against the services' own protocols, by the SDKs that they are made of."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any, cast

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from azure.core.credentials import AccessToken
from azure.core.exceptions import ResourceNotFoundError
from pydantic import SecretStr

from firstpull.adapters.container_registry import ContainerRegistryAdapter, client_factory
from firstpull.adapters.storage import BlobSweeps, StorageServices, TableRecords
from firstpull.model.azure_resources import (
    ConnectedRegistryRef,
    RegistryId,
    ScopeMapId,
    Slot,
    StoredSecret,
)
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import DeviceRecord, Grant, Intent
from firstpull.model.errors import Blocked, Conflict, FirstpullError, Transient
from firstpull.model.history import LENGTH, entry, extended
from firstpull.model.naming import Names
from firstpull.model.ports import ContainerRegistries, Query
from firstpull.model.reasons import Reason
from firstpull.model.sweep_report import Kind, Orphan, SweepReport
from firstpull.model.transitions import new_record
from firstpull.observability.log_events import LogEvent
from local_azure.container_registry.models import Registry
from local_azure.iot_hub.identities import DeviceStatus
from local_azure.iot_hub.twins import TwinPatch
from local_azure.kernel.faults import Fault, FaultKind
from local_azure.key_vault.models import Properties, Vault
from local_azure.stack import Stack
from tests.firstpull.records import changed

from .cloud import cloud_answers, cloud_registry, forget_devices, register, set_status
from .in_process import Firstpull, MovableClock, connected
from .whole_life import storage_of

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential

_DEADLINE = 10.0
_PLANT = "plant19"
_ACTIONS = frozenset({"repositories/hello-world/content/read"})
_NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)
_NUMBERS = count()


@pytest.fixture(scope="module")
async def firstpull(stack: Stack) -> AsyncIterator[Firstpull]:
    async with connected(stack) as firstpull:
        yield firstpull
    await forget_devices(stack)


@dataclass(frozen=True)
class Arm:
    """The container registry: by the adapter, and as the service keeps it."""

    adapter: ContainerRegistries
    registry: RegistryId
    cloud: Registry

    @property
    def ref(self) -> ConnectedRegistryRef:
        """A connected registry of it."""
        return ConnectedRegistryRef(registry=self.registry, name=_PLANT)

    async def new_token(self, *slots: Slot) -> str:
        """The name of a new token and its scope map, with passwords in these slots."""
        name = f"adapters-{next(_NUMBERS):03}"
        await self.adapter.put_scope_map(
            self.registry, name, actions=_ACTIONS, deadline_seconds=_DEADLINE
        )
        await self.adapter.create_token(
            self.registry, name, scope_map=self.registry.scope_map(name), deadline_seconds=_DEADLINE
        )
        for slot in slots:
            await self.new_password(name, slot)
        return name

    async def new_password(self, token: str, slot: Slot) -> str:
        """The value of a new password."""
        made = await self.adapter.generate_password(
            self.registry,
            token,
            slot=slot,
            expires_at=datetime.now(UTC) + timedelta(days=1),
            deadline_seconds=_DEADLINE,
        )
        return made.value.reveal()

    async def delete_token(self, token: str) -> None:
        """By the adapter."""
        await self.adapter.delete_token(self.registry, token, deadline_seconds=_DEADLINE)

    async def delete_scope_map(self, name: str) -> None:
        """By the adapter."""
        await self.adapter.delete_scope_map(self.registry, name, deadline_seconds=_DEADLINE)


@pytest.fixture
def arm(stack: Stack, firstpull: Firstpull) -> Iterator[Arm]:
    """What a test leaves there is removed."""
    cloud = cloud_registry(stack)
    yield Arm(firstpull.ports.registries, RegistryId(stack.registry_id), cloud)
    for token in cloud.tokens():
        if token.name.startswith("adapters-"):
            cloud.delete_token(token.name)
    for scope_map in cloud.scope_maps():
        if scope_map.name.startswith("adapters-"):
            cloud.delete_scope_map(scope_map.name)


# Container registry


@pytest.mark.parametrize("kept", [(), (Slot.ONE,), (Slot.TWO,), (Slot.TWO, Slot.ONE)])
async def test_a_token_keeps_the_passwords_that_are_named_and_no_other(
    arm: Arm, kept: tuple[Slot, ...]
) -> None:
    token = await arm.new_token(*Slot)
    before = {password.name: password for password in arm.cloud.token(token).passwords}
    await arm.adapter.keep_passwords(arm.registry, token, slots=kept, deadline_seconds=_DEADLINE)
    after = {password.name: password for password in arm.cloud.token(token).passwords}
    assert after == {name: before[name] for name in before if name in kept}


async def test_a_disabled_token_lets_nobody_in_and_keeps_its_password(
    stack: Stack, arm: Arm
) -> None:
    token = await arm.new_token()
    password = await arm.new_password(token, Slot.ONE)
    assert await cloud_answers(stack, token, password) == 200
    await arm.adapter.disable_token(arm.registry, token, deadline_seconds=_DEADLINE)
    assert await cloud_answers(stack, token, password) == 401
    assert [kept.name for kept in arm.cloud.token(token).passwords] == ["password1"]
    await arm.adapter.update_token(
        arm.registry,
        token,
        scope_map=arm.registry.scope_map(token),
        deadline_seconds=_DEADLINE,
    )
    assert await cloud_answers(stack, token, password) == 200


async def test_what_is_gone_is_disabled_and_deleted_without_a_word(arm: Arm) -> None:
    token = await arm.new_token()
    for _ in range(2):
        await arm.delete_token(token)
        await arm.adapter.disable_token(arm.registry, token, deadline_seconds=_DEADLINE)
        await arm.delete_scope_map(token)
    assert token not in {found.name for found in arm.cloud.tokens()}
    assert token not in {found.name for found in arm.cloud.scope_maps()}


async def test_a_token_in_a_list_is_not_deleted_and_the_refusal_says_in_whose(arm: Arm) -> None:
    token = await arm.new_token()
    found = await arm.adapter.get_connected_registry(arm.ref)
    assert found is not None
    without = found.client_token_ids
    with_it = (*without, arm.registry.token(token))
    await arm.adapter.replace_client_tokens(arm.ref, with_it, deadline_seconds=_DEADLINE)
    with pytest.raises(Blocked) as refused:
        await arm.delete_token(token)
    assert refused.value.reason is Reason.TOKEN_IN_USE
    assert refused.value.message == f"The token {token} is used by {_PLANT}."
    await arm.adapter.replace_client_tokens(arm.ref, without, deadline_seconds=_DEADLINE)
    await arm.delete_token(token)


async def test_a_sync_token_is_not_deleted(arm: Arm) -> None:
    sync_token = arm.cloud.token_of(arm.cloud.connected_registry(_PLANT).sync_token_id)
    with pytest.raises(Blocked, match=_PLANT) as refused:
        await arm.delete_token(sync_token.name)
    assert refused.value.reason is Reason.TOKEN_IN_USE


@pytest.mark.parametrize(
    ("status", "code", "reason"),
    [
        (409, "OperationInProgress", Reason.CHANGED_MEANWHILE),
        (400, "InvalidParameter", Reason.REFUSED),
        (403, "AuthorizationFailed", Reason.ACCESS_DENIED),
        (429, "TooManyRequests", Reason.THROTTLED),
    ],
)
async def test_the_deletion_of_a_token_that_nobody_uses_may_be_refused_for_another_reason(
    stack: Stack, arm: Arm, status: int, code: str, reason: Reason
) -> None:
    token = await arm.new_token()
    fault = Fault(r"arm\.tokens\.delete", FaultKind.STATUS, status=status, code=code)
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


@pytest.mark.parametrize("kind", ["tokens", "scopeMaps"])
async def test_a_deletion_that_takes_its_time_is_waited_for(
    stack: Stack, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("firstpull.adapters.container_registry.clients._POLL_SECONDS", 0.01)
    registry = RegistryId(stack.registry_id)
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(f"{request.method} {request.path.removeprefix(str(registry))}")
        if len(asked) == 3:
            return web.Response(status=200)
        location = request.url.with_path(f"{registry}/operationStatuses/one")
        return web.Response(status=202, headers={"Location": str(location)})

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    server = TestServer(application, scheme="https")
    await server.start_server(ssl=stack.kernel.certificates.server_context())
    async with server:
        create = client_factory(
            cast("AsyncTokenCredential", _AnyToken()),
            endpoint=str(server.make_url("")),
            audience="https://arm",
        )
        adapter = ContainerRegistryAdapter(create)
        delete = adapter.delete_token if kind == "tokens" else adapter.delete_scope_map
        await delete(registry, "adapters", deadline_seconds=_DEADLINE)
        await adapter.close()
    polled = "GET /operationStatuses/one"
    assert asked == [f"DELETE /{kind}/adapters", polled, polled]


class _AnyToken:
    """A credential for a server that asks for none."""

    async def get_token(self, *_scopes: str, **_options: Any) -> AccessToken:  # noqa: ANN401 - as azure-core calls it
        return AccessToken("any", int(datetime.now(UTC).timestamp()) + 3600)


async def test_lists_hold_what_is_on_every_page(stack: Stack, arm: Arm) -> None:
    token = await arm.new_token(Slot.TWO)
    for number in range(45):
        name = f"adapters-page-{number}"
        arm.cloud.put_scope_map(name, actions=sorted(_ACTIONS))
        scope_map_id = str(arm.registry.scope_map(name))
        arm.cloud.put_token(name, scope_map_id=scope_map_id, status="disabled")
    stack.kernel.calls.reset()
    tokens = {found.name: found for found in await arm.adapter.list_tokens(arm.registry)}
    scope_maps = {found.name: found for found in await arm.adapter.list_scope_maps(arm.registry)}
    assert stack.kernel.calls.counts()["arm.tokens.list"] >= 3
    assert tokens.keys() == {found.name for found in arm.cloud.tokens()}
    assert scope_maps.keys() == {found.name for found in arm.cloud.scope_maps()}
    assert tokens[token] == await arm.adapter.get_token(arm.registry, token)
    assert scope_maps[token] == await arm.adapter.get_scope_map(arm.registry, token)


async def test_all_connected_registries_are_listed_as_each_is_read(arm: Arm) -> None:
    listed = await arm.adapter.list_connected_registries(arm.registry)
    names = [connected.name for connected in listed]
    assert names == [connected.name for connected in arm.cloud.connected_registries()]
    found = await arm.adapter.get_connected_registry(arm.ref)
    assert found == listed[names.index(_PLANT)]


async def test_lists_of_a_container_registry_that_is_not_there_are_no_empty_lists(
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


async def test_a_connected_registry_says_whether_it_is_in_touch(arm: Arm) -> None:
    arm.cloud.note_connection(_PLANT, "Offline")
    found = await arm.adapter.get_connected_registry(arm.ref)
    arm.cloud.note_connection(_PLANT, "Online")
    assert found is not None
    # As text: an enumeration of the SDK would say which it is.
    assert f"{found.connection_state}" == "Offline"


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
async def test_a_version_of_a_secret_that_was_deleted_is_disabled_without_a_word(
    vault: Vault, firstpull: Firstpull, *, purged: bool
) -> None:
    secrets = firstpull.ports.secrets
    name = f"adapters-gone-{purged}"
    version = vault.set(name, SecretStr("a value"), Properties()).version
    assert [found.version for found in await secrets.versions(name)] == [version]
    vault.delete(name)
    if purged:
        vault.purge(name)
    assert await secrets.versions(name) == ()
    await secrets.disable(name, version)
    assert await secrets.versions(name) == ()


# IoT Hub


@pytest.fixture
def devices(stack: Stack) -> Iterator[list[str]]:
    """More than fit a page; they are deregistered afterwards."""
    names = [f"adapters-{number:03}" for number in range(105)]
    register(stack, *names, "adapters-without-a-tag")
    for name in names:
        stack.hub.patch_twin(name, TwinPatch(tags={"firstpull": {}}), etag=None)
    yield names
    for name in (*names, "adapters-without-a-tag"):
        stack.hub.delete_device(name, etag=None)


async def test_a_hub_lists_its_devices_page_after_page_with_their_twins(
    stack: Stack, firstpull: Firstpull, devices: list[str]
) -> None:
    hubs = firstpull.ports.hubs
    set_status(stack, devices[-1], DeviceStatus.DISABLED)
    stack.hub.report(devices[0], {"firstpull": {"said": "something"}})
    stack.kernel.calls.reset()
    listed = await hubs.list_devices(stack.iot_hub_host_name)
    assert stack.kernel.calls.counts()["iotHub.twins.query"] >= 2
    ours = {each.device_id: each.twin for each in listed if each.device_id in devices}
    assert list(ours) == devices
    assert "adapters-without-a-tag" not in {each.device_id for each in listed}
    for name in (devices[0], devices[50], devices[-1]):
        assert ours[name] == await hubs.twin(firstpull.device(name))
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


@pytest.mark.usefixtures("devices")
@pytest.mark.parametrize("page", [1, 2])
async def test_a_page_that_is_throttled_is_waited_for(
    stack: Stack, firstpull: Firstpull, page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = MovableClock(stack.kernel.clock.now)
    monkeypatch.setattr(firstpull.ports.hubs, "_clock", clock)
    throttled = Fault(r"iotHub\.twins\.query", FaultKind.STATUS, status=429, skip=page - 1, times=2)
    stack.kernel.faults.add(throttled)
    begun = clock.now()
    listed = await firstpull.ports.hubs.list_devices(stack.iot_hub_host_name)
    assert len([each for each in listed if each.device_id.startswith("adapters-")]) == 105
    assert clock.now() - begun >= timedelta(seconds=20)


@pytest.mark.usefixtures("devices")
async def test_a_listing_that_is_throttled_for_minutes_is_given_up(
    stack: Stack, firstpull: Firstpull, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(firstpull.ports.hubs, "_clock", MovableClock(stack.kernel.clock.now))
    throttled = Fault(r"iotHub\.twins\.query", FaultKind.STATUS, status=429, times=25)
    stack.kernel.faults.add(throttled)
    with pytest.raises(Transient) as refused:
        await firstpull.ports.hubs.list_devices(stack.iot_hub_host_name)
    stack.kernel.faults.clear()
    assert refused.value.reason is Reason.THROTTLED


# Storage


@pytest.fixture(scope="module")
async def storage(stack: Stack) -> AsyncIterator[StorageServices]:
    async with storage_of(stack) as services:
        await services.prepare()
        yield services


def _record(device_id: str, **fields: Any) -> DeviceRecord:  # noqa: ANN401 - fields of a record
    ref = ConnectedRegistryRef(registry=RegistryId("/any"), name=_PLANT)
    intent = Intent(
        target=_PLANT,
        candidates=(ref,),
        repositories=("hello-world",),
        actions=("content/read",),
        requested_by="a test",
        at=_NOW,
    )
    # A hub of its own, and due when no other test looks.
    device = DeviceKey(hub="adapters.example", device_id=device_id)
    return changed(new_record(device, intent), due_at=_NOW + timedelta(days=36500), **fields)


def _grant(token: str) -> Grant:
    ref = ConnectedRegistryRef(registry=RegistryId("/any"), name=_PLANT)
    return Grant(ref=ref, names=Names(token=token, secret=f"{token}-secret"))


async def _forget(storage: StorageServices, record: DeviceRecord) -> None:
    table = storage.tables.get_table_client("devices")
    await table.delete_entity(record.device.hub, record.device.digest())


async def test_a_record_comes_back_with_its_history_however_long_both_are(
    storage: StorageServices,
) -> None:
    records = TableRecords(storage)
    long = [entry(LogEvent.DEVICE_REVOKE_RECORDED, at=_NOW, by="ö" * 60, detail="ö" * 999)] * LENGTH
    sites = tuple(f"repository-{number:04}/{'x' * 40}" for number in range(400))
    record = _record("long", history=extended((), long))
    record = changed(record, intent=replace(record.spec.intent, repositories=sites))
    stored = await records.insert(record)
    assert await records.get(record.device) == stored
    longer = replace(record, history=extended(record.history, [entry(LogEvent.DEVICE_DRIFT_FOUND, at=_NOW)]))
    await records.replace(longer, etag=stored.etag)
    page = await records.page(Query(hub=record.device.hub))
    assert page.records == (longer,)
    await _forget(storage, record)


async def test_a_record_is_found_by_the_name_of_its_token(
    storage: StorageServices,
) -> None:
    records = TableRecords(storage)
    one = _record("one", grant=_grant("fp-one"))
    other = _record("other", grant=_grant("fp-other"))
    nameless = _record("nameless")
    for record in (one, other, nameless):
        await records.insert(record)
    found = await records.page(Query(token="fp-one"))  # noqa: S106 - a name
    missing = await records.page(Query(token="fp-none"))  # noqa: S106 - a name
    for record in (one, other, nameless):
        await _forget(storage, record)
    assert found.records == (one,)
    assert missing.records == ()


async def test_the_report_of_a_sweep_is_written_over_the_one_that_was_read(
    storage: StorageServices,
) -> None:
    sweeps = BlobSweeps(storage)
    with suppress(ResourceNotFoundError):
        await storage.blobs.get_blob_client("sweeps", "latest.json").delete_blob()
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
    await storage.blobs.get_blob_client("sweeps", "latest.json").delete_blob()
