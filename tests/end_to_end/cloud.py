"""What the tests change and read in the stack, without firstpull."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import aiohttp
from azure.core.exceptions import ResourceNotFoundError
from azure.data.tables.aio import TableServiceClient
from azure.storage.blob.aio import BlobServiceClient
from azure.storage.queue.aio import QueueServiceClient

from local_azure.container_registry.models import Registry
from local_azure.container_registry.resources import Token
from local_azure.edge_agent.rules import deployment
from local_azure.iot_hub.exceptions import IotHubError
from local_azure.iot_hub.identities import DeviceSettings
from local_azure.iot_hub.models import EDGE_AGENT
from local_azure.iot_hub.twins import JsonObject, TwinPatch
from local_azure.key_vault.models import SecretVersion
from local_azure.registry.authentication import CLOUD_TOKEN_PATH, CONNECTED_REGISTRY_TOKEN_PATH
from local_azure.stack import Stack
from local_azure.stack.sites import Site

RECORDS_TABLE = "devices"
WORK_QUEUE = "device-work"
MEMBERSHIP_CONTAINER = "membership"
GIVE_UP_SECONDS = 100.0
"""For states that come within seconds on an idle machine: no test waits for a time."""

Entry = Mapping[str, Any]
"""An entry of a twin: address, username, password, deliveryId and so on."""


def site_of(stack: Stack, plant: str) -> Site:
    """A connected registry of the stack."""
    site = stack.sites.get(plant)
    assert site is not None
    return site


def cloud_registry(stack: Stack) -> Registry:
    """The one container registry."""
    return stack.cloud.registries()[0]


def register(stack: Stack, *device_ids: str) -> None:
    """Register devices as an operator does."""
    for device_id in device_ids:
        stack.hub.create_device(DeviceSettings(device_id))


def register_edge(stack: Stack, device_id: str, images: Mapping[str, str] | None = None) -> None:
    """Register an IoT Edge device, with a deployment of these images by their module's name."""
    stack.hub.create_device(DeviceSettings(device_id, iot_edge=True))
    deploy(stack, device_id, deployment(images or {}))


def deploy(stack: Stack, device_id: str, desired: JsonObject) -> None:
    """Merge into the desired properties of a device's edgeAgent, as an operator does."""
    patch = TwinPatch(desired=desired)
    stack.hub.patch_twin(device_id, patch, etag=None, module_id=EDGE_AGENT)


def entry_of(stack: Stack, device_id: str, plant: str) -> dict[str, Any]:
    """What a device finds in its twin for a connected registry, empty where there is nothing."""
    try:
        found: Any = stack.hub.twin(device_id).desired.values
    except IotHubError:
        return {}
    for name in ("firstpull", "registryCredentials", plant):
        found = found.get(name) if isinstance(found, dict) else None
    return found or {}


def edge_entries(stack: Stack, device_id: str, section: str = "desired") -> dict[str, Any]:
    """The registry credentials in the twin of a device's edgeAgent, by their name."""
    try:
        twin = stack.hub.module_twin(device_id, EDGE_AGENT)
    except IotHubError:
        return {}
    found: Any = getattr(twin, section).values
    for name in ("runtime", "settings", "registryCredentials"):
        found = found.get(name, {})
    return dict(found)


def report_login(stack: Stack, device_id: str, plant: str) -> None:
    """The device says that it has logged in with what its twin holds."""
    answer = {
        "deliveryId": entry_of(stack, device_id, plant)["deliveryId"],
        "state": "LoggedIn",
        "reason": None,
        "at": "2026-11-23T10:00:00Z",
    }
    stack.hub.report(device_id, {"firstpull": {"registryCredentials": {plant: answer}}})


def clients_of(stack: Stack, plant: str) -> list[str]:
    """The names of the tokens in a connected registry's list, as often as they stand there."""
    connected = cloud_registry(stack).connected_registry(plant)
    return [token_id.rsplit("/", 1)[-1] for token_id in connected.settings.client_token_ids]


def tokens_like(stack: Stack, slug: str) -> list[Token]:
    """The tokens whose names contain this readable part of a device id."""
    return [token for token in cloud_registry(stack).tokens() if f"-{slug}-" in token.name]


def secret_versions(stack: Stack, name: str) -> list[SecretVersion]:
    """All versions of a secret."""
    return list(stack.vault.list_versions(name).values())


async def cloud_answers(stack: Stack, username: str, password: str) -> int:
    """The status with which the cloud registry's token service answers a login."""
    url = f"https://{stack.registry_login_server}{CLOUD_TOKEN_PATH}"
    return await _log_in(stack, url, username, password)


async def site_answers(stack: Stack, plant: str, username: str, password: str) -> int:
    """The same of a connected registry."""
    url = f"https://{site_of(stack, plant).endpoint}{CONNECTED_REGISTRY_TOKEN_PATH}"
    return await _log_in(stack, url, username, password)


async def pull_answers(stack: Stack, entry: Entry, repository: str = "hello-world") -> int:
    """The status of a pull with what an entry of a twin says, at the address that it names."""
    url = f"https://{entry['address']}/v2/{repository}/manifests/latest"
    login = aiohttp.encode_basic_auth(entry["username"], entry["password"])
    tls = stack.kernel.certificates.client_context()
    async with (
        aiohttp.ClientSession(headers={"Authorization": login}) as session,
        session.get(url, ssl=tls) as answer,
    ):
        return answer.status


async def _log_in(stack: Stack, url: str, username: str, password: str) -> int:
    headers = {"Authorization": aiohttp.encode_basic_auth(username, password)}
    async with (
        aiohttp.ClientSession() as session,
        session.get(
            url,
            params={"service": "tests", "scope": "repository:hello-world:pull"},
            headers=headers,
            ssl=stack.kernel.certificates.client_context(),
        ) as answer,
    ):
        return answer.status


async def forget_devices(stack: Stack) -> None:
    """Empty firstpull's records and queues, and delete the last sweep's report.

    Tests share the storage account: a record that a failed test leaves is a device of every later
    deployment there, whose host would reconcile it and whose sweep would keep its scope map.
    """
    text = stack.storage.connection_string
    async with TableServiceClient.from_connection_string(text) as tables:
        table = tables.get_table_client(RECORDS_TABLE)
        with suppress(ResourceNotFoundError):  # no app has made it yet
            async for entity in table.list_entities(select=["PartitionKey", "RowKey"]):
                await table.delete_entity(entity)
    async with BlobServiceClient.from_connection_string(text) as blobs:
        with suppress(ResourceNotFoundError):
            await blobs.get_blob_client("sweeps", "latest.json").delete_blob()
    async with QueueServiceClient.from_connection_string(text) as queues:
        async for queue in queues.list_queues():
            await queues.get_queue_client(queue.name).clear_messages()


async def operations_end(stack: Stack) -> None:
    """Wait until no token or scope map is being changed or deleted any more."""

    def have_ended() -> bool:
        registries = stack.cloud.registries()
        operations = [token.provisioning for each in registries for token in each.tokens()]
        operations += [found.provisioning for each in registries for found in each.scope_maps()]
        return all(each.has_succeeded(stack.kernel.clock.now()) for each in operations)

    await eventually(have_ended, "an operation of a container registry does not end")


async def eventually(holds: Callable[[], object], what: str = "it did not come true") -> None:
    """Wait until something holds. Raises AssertionError long before the test is given up."""
    give_up = time.monotonic() + GIVE_UP_SECONDS
    while not holds():
        assert time.monotonic() < give_up, what
        await asyncio.sleep(0.05)
