"""What somebody does in each row of docs/drift.md, and what helps where a device waits for them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from azure.storage.blob.aio import BlobServiceClient

from local_azure.stack.options import REGISTRY_NAME

from .cloud import MEMBERSHIP_CONTAINER, entry_of
from .drift_rows import Subject
from .operators import Operator

Deed = Callable[[Operator, Subject], Awaitable[None]]

DEEDS: dict[str, Deed] = {}
"""By the words of the page."""
REMEDIES: dict[str, Deed] = {}
"""Likewise, for those after which the device waits."""

_READ_OTHER = "repositories/sensor-gateway/content/read"
CAPACITY = 3
"""Clients that the connected registry of these rows takes."""


def _somebody(does: str) -> Callable[[Deed], Deed]:
    def note(deed: Deed) -> Deed:
        DEEDS[does] = deed
        return deed

    return note


def _remedy_for(does: str) -> Callable[[Deed], Deed]:
    def note(deed: Deed) -> Deed:
        REMEDIES[does] = deed
        return deed

    return note


# The container registry


@_somebody("disables the token")
async def _(operator: Operator, device: Subject) -> None:
    await operator.set_token_status(device.token, "disabled")


@_somebody("takes the token off the list")
async def _(operator: Operator, device: Subject) -> None:
    await operator.take_off_the_list(device.plant, device.token)


@_somebody("deletes the token")
async def _(operator: Operator, device: Subject) -> None:
    await operator.take_off_the_list(device.plant, device.token)
    await operator.delete_token(device.token)


@_somebody("fills the list with tokens of their own")
async def _(operator: Operator, device: Subject) -> None:
    names = [f"filler-{number}" for number in range(CAPACITY)]
    for name in names:
        await operator.create_token(name, scope_map=device.scope_map)
    await operator.set_clients(device.plant, [operator.token_id(name) for name in names])


@_remedy_for("fills the list with tokens of their own")
async def _(operator: Operator, device: Subject) -> None:
    await operator.set_clients(device.plant, [])
    for number in range(CAPACITY):
        await operator.delete_token(f"filler-{number}")


@_somebody("changes the scope map")
async def _(operator: Operator, device: Subject) -> None:
    await operator.change_scope_map(device.scope_map, _READ_OTHER)


@_somebody("gives the token another scope map")
async def _(operator: Operator, device: Subject) -> None:
    await operator.create_scope_map("of-the-operator", _READ_OTHER)
    await operator.give_scope_map(device.token, "of-the-operator")


@_somebody("makes a new password1 by hand")
async def _(operator: Operator, device: Subject) -> None:
    await operator.make_password(device.token, "password1")


@_somebody("makes both passwords anew")
async def _(operator: Operator, device: Subject) -> None:
    await operator.make_password(device.token)


@_remedy_for("makes both passwords anew")
async def _(operator: Operator, device: Subject) -> None:
    await operator.keep_passwords(device.token, "password1")


@_somebody("deletes the passwords of the token")
async def _(operator: Operator, device: Subject) -> None:
    await operator.keep_passwords(device.token)


@_somebody("deletes the connected registry")
async def _(operator: Operator, device: Subject) -> None:
    await operator.delete_connected_registry(device.plant)


@_remedy_for("deletes the connected registry")
async def _(operator: Operator, device: Subject) -> None:
    await operator.create_connected_registry(device.plant)


# The vault


@_somebody("disables the secret")
async def _(operator: Operator, device: Subject) -> None:
    await operator.vault.update_secret_properties(device.secret, enabled=False)


@_somebody("deletes the secret")
async def _(operator: Operator, device: Subject) -> None:
    await operator.delete_secret(device.secret)


@_somebody("purges the secret")
async def _(operator: Operator, device: Subject) -> None:
    await operator.delete_secret(device.secret, purge=True)


# The hub


@_somebody("edits the twin's entry")
async def _(operator: Operator, device: Subject) -> None:
    await operator.patch_entry(device.device_id, device.plant, {"address": "example.invalid"})


@_somebody("removes the twin's entry")
async def _(operator: Operator, device: Subject) -> None:
    assert entry_of(operator.stack, device.device_id, device.plant)
    await operator.patch_entry(device.device_id, device.plant, None)


@_somebody("removes all of firstpull from the twin")
async def _(operator: Operator, device: Subject) -> None:
    await operator.patch_desired(device.device_id, {"firstpull": None})


@_somebody("gives the device other keys")
async def _(operator: Operator, device: Subject) -> None:
    await operator.update_device(device.device_id, "enabled")


@_somebody("disables the device")
async def _(operator: Operator, device: Subject) -> None:
    await operator.update_device(device.device_id, "disabled")


@_remedy_for("disables the device")
async def _(operator: Operator, device: Subject) -> None:
    await operator.update_device(device.device_id, "enabled")


@_somebody("deletes the device and registers it again")
async def _(operator: Operator, device: Subject) -> None:
    await operator.delete_device(device.device_id)
    await operator.register(device.device_id)


# The storage account


@_somebody("deletes the ledger")
async def _(operator: Operator, device: Subject) -> None:
    text = operator.stack.storage.connection_string
    async with BlobServiceClient.from_connection_string(text) as blobs:
        name = f"{REGISTRY_NAME}/{device.plant}.json"
        await blobs.get_blob_client(MEMBERSHIP_CONTAINER, name).delete_blob()
