"""Azure CLI sees one password of a token after each rotation that its device has acknowledged."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from local_azure.commands.function_app import FunctionApp
from local_azure.container_registry.backends import SyncOverride
from local_azure.iot_hub.identities import DeviceSettings
from local_azure.stack import Stack
from local_azure.stack.options import REGISTRY_NAME
from tests.world.device import entries_below

from .azure_cli import WITH_GROUP, AzureCli, clients_of, log_in_at, site_of

PLANT, DEVICE = "planttwo", "rotated-seen-by-az"
ROTATIONS = 3
_GIVE_UP_SECONDS = 100.0


@pytest.fixture
async def device(cloud: Stack) -> AsyncIterator[str]:
    """A device at a connected registry that syncs each second."""
    backend = site_of(cloud, PLANT).backend
    on_request, backend.override = backend.override, SyncOverride(every_seconds=1)
    cloud.hub.create_device(DeviceSettings(DEVICE))
    yield DEVICE
    backend.override = on_request


async def _call(app: FunctionApp, method: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    headers = {"x-functions-key": app.key}
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, f"{app.url}/api/{path}", json=body, headers=headers) as answer,
    ):
        assert answer.status < 300, await answer.text()
        found: dict[str, Any] = await answer.json()
        return found


async def _until_ready(cloud: Stack, app: FunctionApp, *, but: str | None) -> str:
    """Let the device log in with each delivery, until it is ready with another than `but`."""
    give_up = time.monotonic() + _GIVE_UP_SECONDS
    while True:
        entry = entries_below(cloud.hub.twin(DEVICE).desired.values).get(PLANT, {})
        password = str(entry.get("password"))
        if entry:
            status = await log_in_at(cloud, PLANT, username=entry["username"], password=password)
            if status == 200:
                report = {"deliveryId": entry["deliveryId"], "state": "LoggedIn"}
                cloud.hub.report(DEVICE, {"firstpull": {"registryCredentials": {PLANT: report}}})
            elif but is not None and password == but:
                raise AssertionError("the password in use is refused")
        found = await _call(app, "GET", f"devices/{DEVICE}", {})
        if found["state"] == "Ready" and entry and password != but:
            return password
        assert time.monotonic() < give_up, found
        await asyncio.sleep(0.5)


async def test_az_shows_one_password_after_each_acknowledged_rotation(
    az: AzureCli, app: FunctionApp, cloud: Stack, device: str
) -> None:
    before = clients_of(cloud, PLANT)
    wanted = {"deviceId": device, "connectedRegistry": PLANT, "repositories": ["hello-world"]}
    await _call(app, "POST", "devices", wanted)
    password = await _until_ready(cloud, app, but=None)
    (token,) = clients_of(cloud, PLANT) - before
    show = ("acr", "token", "show", "--name", token, "--registry", REGISTRY_NAME, *WITH_GROUP)
    slots = []
    for _ in range(ROTATIONS):
        await _call(app, "POST", f"devices/{device}/rotate", {})
        password = await _until_ready(cloud, app, but=password)
        (shown,) = (await az(*show))["credentials"]["passwords"]
        slots.append(shown["name"])
    assert slots == ["password2", "password1", "password2"]
