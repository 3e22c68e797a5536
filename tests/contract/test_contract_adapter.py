"""firstpull's adapter to Azure Resource Manager, slow and refused operations included."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from contract.answers import answer
from firstpull.adapters.container_registry import ContainerRegistryAdapter, client_factory
from firstpull.adapters.key_vault import KeyVaultAdapter
from firstpull.model.azure_resources import Slot
from firstpull.model.errors import Blocked, Conflict, FirstpullError, InProgress, Transient
from firstpull.model.reasons import Reason
from firstpull.model.secret import Secret
from local_azure.container_registry.models import OperationLengths
from local_azure.kernel.access import Assignment, Permission, RoleDefinition
from local_azure.kernel.faults import Fault, FaultKind

from .local_services import (
    ARM,
    PRINCIPAL,
    REGISTRY,
    REGISTRY_ID,
    Credential,
    LocalServices,
    vault_resource,
)

TOKEN, SCOPE_MAP = "device", "readers"
ACTIONS = frozenset({"repositories/hello-world/content/read"})
DEADLINE = 10.0

type Write = Callable[[ContainerRegistryAdapter], Awaitable[object]]


def put_scope_map(adapter: ContainerRegistryAdapter) -> Awaitable[object]:
    return adapter.put_scope_map(REGISTRY_ID, SCOPE_MAP, actions=ACTIONS, deadline_seconds=DEADLINE)


def create_token(adapter: ContainerRegistryAdapter) -> Awaitable[object]:
    scope_map = REGISTRY_ID.scope_map(SCOPE_MAP)
    return adapter.create_token(REGISTRY_ID, TOKEN, scope_map=scope_map, deadline_seconds=DEADLINE)


def update_token(adapter: ContainerRegistryAdapter) -> Awaitable[object]:
    scope_map = REGISTRY_ID.scope_map(SCOPE_MAP)
    return adapter.update_token(REGISTRY_ID, TOKEN, scope_map=scope_map, deadline_seconds=DEADLINE)


def keep_passwords(adapter: ContainerRegistryAdapter) -> Awaitable[object]:
    return adapter.keep_passwords(REGISTRY_ID, TOKEN, slots=[Slot.ONE], deadline_seconds=DEADLINE)


def disable_token(adapter: ContainerRegistryAdapter) -> Awaitable[object]:
    return adapter.disable_token(REGISTRY_ID, TOKEN, deadline_seconds=DEADLINE)


def delete_token(adapter: ContainerRegistryAdapter) -> Awaitable[object]:
    return adapter.delete_token(REGISTRY_ID, TOKEN, deadline_seconds=DEADLINE)


def delete_scope_map(adapter: ContainerRegistryAdapter) -> Awaitable[object]:
    return adapter.delete_scope_map(REGISTRY_ID, SCOPE_MAP, deadline_seconds=DEADLINE)


CHANGES = [put_scope_map, create_token, update_token, keep_passwords, disable_token, delete_token]
each_change = pytest.mark.parametrize("change", CHANGES)


async def prepare(azure: LocalServices, change: Write, lengths: OperationLengths) -> None:
    """Everything that a change needs is there; then operations take as long as given."""
    registry = azure.registry
    registry.put_scope_map(SCOPE_MAP, actions=["repositories/other/content/read"])
    if change is not create_token:
        registry.put_token(TOKEN, scope_map_id=REGISTRY.child("scopeMaps", SCOPE_MAP))
        await azure.time.sleep(1)
        registry.generate_credentials(REGISTRY.child("tokens", TOKEN))
    azure.time.slept = 0.0
    azure.cloud.settings.operation_lengths = lengths
    azure.kernel.calls.reset()


def reads(azure: LocalServices) -> int:
    """The requests that read tokens and scope maps."""
    counts = azure.kernel.calls.counts()
    return counts.get("arm.tokens.get", 0) + counts.get("arm.scopeMaps.get", 0)


@each_change
async def test_a_change_that_takes_0_7_seconds_is_waited_for_as_long(
    azure: LocalServices, adapter: ContainerRegistryAdapter, change: Write
) -> None:
    await prepare(azure, change, OperationLengths(change=(0.7, 0.7), deletion=(0.7, 0.7)))
    await change(adapter)
    assert azure.time.slept <= 0.75
    assert reads(azure) <= 3


@each_change
async def test_an_effect_that_is_there_at_once_is_seen_soon(
    azure: LocalServices, adapter: ContainerRegistryAdapter, change: Write
) -> None:
    await prepare(azure, change, OperationLengths(change=(0, 0), deletion=(0, 0)))
    await change(adapter)
    assert azure.time.slept <= 0.4
    assert reads(azure) == 1


@each_change
async def test_a_change_that_takes_eleven_seconds_is_in_progress_and_no_failure(
    azure: LocalServices, adapter: ContainerRegistryAdapter, change: Write
) -> None:
    await prepare(azure, change, OperationLengths(change=(11, 11), deletion=(11, 11)))
    with pytest.raises(InProgress) as slow:
        await change(adapter)
    assert slow.value.retry_after is not None
    assert azure.time.slept < 5, "no call waits ten seconds because a header says so"
    await azure.time.sleep(11)
    token = await adapter.get_token(REGISTRY_ID, TOKEN)
    scope_map = await adapter.get_scope_map(REGISTRY_ID, SCOPE_MAP)
    assert scope_map is not None
    assert scope_map.active
    assert token is None if change is delete_token else token is not None and token.active
    await change(adapter) if change is delete_token else None


async def test_a_password_that_is_made_by_an_operation_is_not_waited_for_as_a_header_says(
    azure: LocalServices, adapter: ContainerRegistryAdapter
) -> None:
    """The specification allows it, and only the operation shows the password."""
    await prepare(azure, update_token, OperationLengths(change=(0.7, 0.7)))
    azure.cloud.settings.generate_credentials_asynchronously = True
    expires_at = azure.kernel.clock.now() + timedelta(days=90)
    made = await adapter.generate_password(
        REGISTRY_ID, TOKEN, slot=Slot.TWO, expires_at=expires_at, deadline_seconds=DEADLINE
    )
    assert made.slot is Slot.TWO


async def test_a_new_scope_map_is_not_waited_for(
    azure: LocalServices, adapter: ContainerRegistryAdapter
) -> None:
    await put_scope_map(adapter)
    assert (azure.time.slept, reads(azure)) == (0.0, 0)


async def test_a_scope_map_that_is_being_deleted_is_none_to_rely_on(
    azure: LocalServices, adapter: ContainerRegistryAdapter
) -> None:
    await put_scope_map(adapter)
    await delete_scope_map(adapter)
    assert azure.time.slept == 0.0
    assert await adapter.get_scope_map(REGISTRY_ID, SCOPE_MAP) is None
    with pytest.raises(Conflict):
        await put_scope_map(adapter)
    await azure.time.sleep(8)
    await put_scope_map(adapter)


async def test_a_deletion_of_nothing_is_not_waited_for(
    azure: LocalServices, adapter: ContainerRegistryAdapter
) -> None:
    await delete_token(adapter)
    await delete_scope_map(adapter)
    assert (azure.time.slept, reads(azure)) == (0.0, 0)


async def test_no_permission_outside_the_registry_is_needed(
    azure: LocalServices, adapter: ContainerRegistryAdapter
) -> None:
    role = RoleDefinition("registry", (Permission(actions=("Microsoft.ContainerRegistry/*",)),))
    azure.kernel.access.define(role)
    azure.kernel.access.assign(PRINCIPAL, [Assignment("registry", str(REGISTRY))])
    azure.cloud.settings.operation_lengths = OperationLengths(deletion=(2, 2))
    await put_scope_map(adapter)
    for change in (create_token, update_token, disable_token, delete_token, delete_scope_map):
        await change(adapter)
    polls = [name for name in azure.kernel.calls.counts() if "operation" in name]
    assert polls == []
    assert [d for d in azure.kernel.access.decisions if not d.allowed] == []


@each_change
async def test_the_deadline_is_for_the_submission_and_not_for_the_reads(
    azure: LocalServices, adapter: ContainerRegistryAdapter, change: Write
) -> None:
    """A read that has no answer does not turn an accepted write into a refused one."""
    await prepare(azure, change, OperationLengths(change=(0.7, 0.7), deletion=(0.7, 0.7)))
    fault = Fault(r"arm\.(tokens|scopeMaps)\.get", FaultKind.STATUS, status=503)
    azure.kernel.faults.add(fault)
    with pytest.raises(Transient):
        await change(adapter)
    await azure.time.sleep(1)
    if change is delete_token:
        assert await adapter.get_token(REGISTRY_ID, TOKEN) is None


# Refusals and answers that the local Azure cannot be brought to give


@pytest.fixture
async def refusing(azure: LocalServices) -> AsyncIterator[Callable[[str], Awaitable[str]]]:
    """Starts a service that refuses everything as an answer of the contract does."""
    servers: list[TestServer] = []

    async def start(refused: str) -> str:
        refusal = answer(refused).refusal
        assert refusal is not None

        async def refuse(request: web.Request) -> web.Response:
            if "Authorization" not in request.headers:
                audience = vault_resource(str(request.url.origin()))
                challenge = f'Bearer authorization="{ARM}/tenant", resource="{audience}"'
                return web.Response(status=401, headers={"WWW-Authenticate": challenge})
            await request.read()
            return web.json_response(refusal.body, status=refusal.status, headers=refusal.headers)

        application = web.Application()
        application.router.add_route("*", "/{path:.*}", refuse)
        servers.append(TestServer(application, host="127.0.0.1", scheme="https"))
        await servers[-1].start_server(ssl=azure.kernel.certificates.server_context())
        return str(servers[-1].make_url("")).rstrip("/")

    yield start
    for server in servers:
        await server.close()


@pytest.mark.parametrize(
    ("refused", "kind", "reason"),
    [
        ("refusals.policy", Blocked, Reason.REFUSED_BY_POLICY),
        ("refusals.policyModify", Blocked, Reason.REFUSED_BY_POLICY),
        ("refusals.lock", Blocked, Reason.RESOURCE_LOCKED),
        ("refusals.subscription", Blocked, Reason.SUBSCRIPTION_DISABLED),
        ("refusals.tokenNotActive", Transient, Reason.TOKEN_NOT_ACTIVE),
    ],
)
async def test_a_refused_write_has_its_reason(
    azure: LocalServices,
    refusing: Callable[[str], Awaitable[str]],
    refused: str,
    kind: type[FirstpullError],
    reason: Reason,
) -> None:
    endpoint = await refusing(refused)
    factory = client_factory(Credential(azure.kernel), endpoint=endpoint, audience=ARM)
    adapter = ContainerRegistryAdapter(factory, sleep=azure.time.sleep)
    with pytest.raises(kind) as raised:
        await create_token(adapter)
    assert raised.value.reason is reason
    assert azure.time.slept == 0.0
    await adapter.close()


@pytest.mark.parametrize(
    ("refused", "kind", "reason"),
    [
        ("secrets.refusals.policy", Blocked, Reason.REFUSED_BY_POLICY),
        ("secrets.refusals.firewall", Blocked, Reason.ACCESS_DENIED),
        ("secrets.refusals.recovering", Transient, Reason.SERVICE_UNAVAILABLE),
        ("secrets.refusals.deleting", Transient, Reason.SERVICE_UNAVAILABLE),
    ],
)
async def test_a_refused_change_of_a_secret_has_its_reason(
    azure: LocalServices,
    refusing: Callable[[str], Awaitable[str]],
    refused: str,
    kind: type[FirstpullError],
    reason: Reason,
) -> None:
    vault = KeyVaultAdapter(await refusing(refused), Credential(azure.kernel))
    with pytest.raises(kind) as raised:
        await vault.disable("device", "1" * 32)
    assert raised.value.reason is reason
    await vault.close()


async def test_a_secret_that_was_deleted_is_recovered_and_its_password_stored(
    azure: LocalServices,
) -> None:
    """A password that is not stored is lost, and takes a slot until it expires."""
    url = azure.endpoints["vault"]
    credential = Credential(azure.kernel, vault_resource(url))
    vault = KeyVaultAdapter(url, credential, sleep=azure.time.sleep)

    async def put(value: str) -> None:
        await vault.put("device", Secret(value), expires_at=None, tags={})

    await put("one")
    azure.vault.delete("device")
    await put("two")
    assert azure.vault.get("device").value.get_secret_value() == "two"
    azure.vault.delete("device")
    azure.kernel.clock.advance(timedelta(seconds=5))
    azure.vault.recover("device")
    await put("three")
    assert azure.vault.get("device").value.get_secret_value() == "three"
    assert len(azure.vault.list_versions("device")) == 3
    await vault.close()
