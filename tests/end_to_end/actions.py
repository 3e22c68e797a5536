"""What somebody does in each row of docs/drift.md, and what helps a device that waits then."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from azure.storage.blob.aio import BlobServiceClient

from local_azure.container_registry.resources import ConnectedRegistryChanges, LoginServer
from local_azure.iot_hub.identities import DeviceSettings, DeviceStatus
from local_azure.iot_hub.twins import Json, TwinPatch
from local_azure.key_vault.models import Properties
from local_azure.stack import Stack
from local_azure.stack.options import REGISTRY_NAME

from .cloud import MEMBERSHIP_CONTAINER, cloud_registry, site_of
from .deployments import Subject

Action = Callable[[Stack, Subject], Awaitable[None]]

ACTIONS: dict[str, Action] = {}
"""By the words of the page."""
REMEDIES: dict[str, Action] = {}
"""By the same words, where the device waits for a person afterwards."""
CAPACITY = 3
"""Clients that the connected registry of these rows takes."""

_READ_OTHER = "repositories/sensor-gateway/content/read"
_FILLERS = [f"filler-{number}" for number in range(CAPACITY)]


def _somebody(does: str) -> Callable[[Action], Action]:
    def note(action: Action) -> Action:
        ACTIONS[does] = action
        return action

    return note


def _remedy_for(does: str) -> Callable[[Action], Action]:
    def note(action: Action) -> Action:
        REMEDIES[does] = action
        return action

    return note


def put_foreign_token(stack: Stack, name: str) -> str:
    """Create a token of somebody else; returns its id."""
    registry = cloud_registry(stack)
    pull = registry.registry_id.child("scopeMaps", "_repositories_pull")
    registry.put_token(name, scope_map_id=pull)
    return registry.registry_id.child("tokens", name)


def write_clients(stack: Stack, plant: str, token_ids: list[str]) -> None:
    """Overwrite the list of a connected registry."""
    changes = ConnectedRegistryChanges(client_token_ids=tuple(token_ids))
    cloud_registry(stack).update_connected_registry(plant, changes)


def take_off_the_list(stack: Stack, plant: str, token: str) -> None:
    """Remove one client from the list of a connected registry."""
    listed = cloud_registry(stack).connected_registry(plant).settings.client_token_ids
    write_clients(stack, plant, [each for each in listed if not each.endswith(f"/{token}")])


def patch_desired(stack: Stack, device_id: str, patch: dict[str, Json]) -> None:
    """Merge into the desired properties of a twin."""
    stack.hub.patch_twin(device_id, TwinPatch(desired=patch), etag=None)


def patch_entry(stack: Stack, device: Subject, change: Json) -> None:
    """Merge into firstpull's entry of a twin; None removes it."""
    entries: dict[str, Json] = {device.plant: change}
    patch_desired(stack, device.device_id, {"firstpull": {"registryCredentials": entries}})


# The container registry


@_somebody("disables the token")
async def _(stack: Stack, device: Subject) -> None:
    cloud_registry(stack).update_token(device.token, status="disabled")


@_somebody("takes the token off the list")
async def _(stack: Stack, device: Subject) -> None:
    take_off_the_list(stack, device.plant, device.token)


@_somebody("deletes the token")
async def _(stack: Stack, device: Subject) -> None:
    take_off_the_list(stack, device.plant, device.token)
    cloud_registry(stack).delete_token(device.token)


@_somebody("fills the list with tokens of their own")
async def _(stack: Stack, device: Subject) -> None:
    write_clients(stack, device.plant, [put_foreign_token(stack, name) for name in _FILLERS])


@_remedy_for("fills the list with tokens of their own")
async def _(stack: Stack, device: Subject) -> None:
    write_clients(stack, device.plant, [])
    for name in _FILLERS:
        cloud_registry(stack).delete_token(name)


@_somebody("changes the scope map")
async def _(stack: Stack, device: Subject) -> None:
    cloud_registry(stack).update_scope_map(device.scope_map, actions=[_READ_OTHER])


@_somebody("gives the token another scope map")
async def _(stack: Stack, device: Subject) -> None:
    registry = cloud_registry(stack)
    other = registry.put_scope_map("of-the-operator", actions=[_READ_OTHER])
    other_id = registry.registry_id.child("scopeMaps", other.name)
    registry.update_token(device.token, scope_map_id=other_id)


@_somebody("gives the token another scope map and deletes its own")
async def _(stack: Stack, device: Subject) -> None:
    await ACTIONS["gives the token another scope map"](stack, device)
    cloud_registry(stack).delete_scope_map(device.scope_map)


@_somebody("makes a new password1 by hand")
async def _(stack: Stack, device: Subject) -> None:
    registry = cloud_registry(stack)
    token_id = registry.registry_id.child("tokens", device.token)
    registry.generate_credentials(token_id, name="password1")


@_somebody("makes both passwords anew")
async def _(stack: Stack, device: Subject) -> None:
    registry = cloud_registry(stack)
    registry.generate_credentials(registry.registry_id.child("tokens", device.token))


@_remedy_for("makes both passwords anew")
async def _(stack: Stack, device: Subject) -> None:
    cloud_registry(stack).update_token(device.token, keep_passwords=["password1"])


@_somebody("deletes the passwords of the token")
async def _(stack: Stack, device: Subject) -> None:
    cloud_registry(stack).update_token(device.token, keep_passwords=[])


@_somebody("deletes the connected registry")
async def _(stack: Stack, device: Subject) -> None:
    cloud_registry(stack).delete_connected_registry(device.plant)


@_remedy_for("deletes the connected registry")
async def _(stack: Stack, device: Subject) -> None:
    registry = cloud_registry(stack)
    sync_token_id = registry.registry_id.child("tokens", device.plant)
    registry.put_connected_registry(device.plant, sync_token_id=sync_token_id)
    login_server = LoginServer(host=site_of(stack, device.plant).endpoint, tls=True)
    registry.activate_connected_registry(device.plant, login_server)


# The vault


@_somebody("disables the secret")
async def _(stack: Stack, device: Subject) -> None:
    stack.vault.update(device.secret, None, Properties(enabled=False))


@_somebody("deletes the secret")
async def _(stack: Stack, device: Subject) -> None:
    stack.vault.delete(device.secret)


@_somebody("purges the secret")
async def _(stack: Stack, device: Subject) -> None:
    stack.vault.delete(device.secret)
    stack.vault.purge(device.secret)


# The hub


@_somebody("edits the twin's entry")
async def _(stack: Stack, device: Subject) -> None:
    patch_entry(stack, device, {"address": "example.invalid"})


@_somebody("removes the twin's entry")
async def _(stack: Stack, device: Subject) -> None:
    patch_entry(stack, device, None)


@_somebody("removes all of firstpull from the twin")
async def _(stack: Stack, device: Subject) -> None:
    patch_desired(stack, device.device_id, {"firstpull": None})


@_somebody("gives the device other keys")
async def _(stack: Stack, device: Subject) -> None:
    stack.hub.update_device(DeviceSettings(device.device_id), etag=None)


@_somebody("disables the device")
async def _(stack: Stack, device: Subject) -> None:
    disabled = DeviceSettings(device.device_id, status=DeviceStatus.DISABLED)
    stack.hub.update_device(disabled, etag=None)


@_remedy_for("disables the device")
async def _(stack: Stack, device: Subject) -> None:
    stack.hub.update_device(DeviceSettings(device.device_id), etag=None)


# The storage account


@_somebody("deletes the ledger")
async def _(stack: Stack, device: Subject) -> None:
    text = stack.storage.connection_string
    async with BlobServiceClient.from_connection_string(text) as blobs:
        name = f"{REGISTRY_NAME}/{device.plant}.json"
        await blobs.get_blob_client(MEMBERSHIP_CONTAINER, name).delete_blob()
