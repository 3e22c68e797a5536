"""A tuned script: all devices side by side, quick looks at the tokens, the list written once.

Its steps stand in the quickstart's order: the tokens, their passwords, the list, the twins.
"""

from __future__ import annotations

import asyncio
import sys
import time

from azure.identity import DefaultAzureCredential
from azure.identity.aio import DefaultAzureCredential as AsyncCredential
from azure.iot.hub import IoTHubRegistryManager
from azure.iot.hub.models import Twin, TwinProperties
from azure.keyvault.secrets.aio import SecretClient
from azure.mgmt.containerregistry.aio import ContainerRegistryManagementClient

from benchmarks.peers.azure import HubCredential, Task, expiry, run, twin_patch

_LOOK_SECONDS = 0.2


def onboard(task: Task) -> float:
    """The seconds until the last device's twin has its credentials."""
    return asyncio.run(_onboard(task))


async def _onboard(task: Task) -> float:
    hub = IoTHubRegistryManager.from_token_credential(
        task.hub, HubCredential(DefaultAzureCredential())
    )
    async with (
        AsyncCredential() as credential,
        ContainerRegistryManagementClient(
            credential,
            task.subscription,
            base_url=task.arm_endpoint,
            credential_scopes=["https://management.azure.com/.default"],
        ) as arm,
        SecretClient(task.vault_url, credential) as secrets,
    ):
        started = time.monotonic()
        await asyncio.gather(*(_make_token(task, arm, device) for device in task.devices))
        passwords = await asyncio.gather(
            *(_make_password(task, arm, secrets, device) for device in task.devices)
        )
        await _join(task, arm)
        await asyncio.gather(
            *(
                asyncio.to_thread(_deliver, task, hub, device, password)
                for device, password in zip(task.devices, passwords, strict=True)
            )
        )
        return time.monotonic() - started


async def _make_token(task: Task, arm: ContainerRegistryManagementClient, device: str) -> None:
    there = (task.group, task.registry, task.token_name(device))
    properties = {"scopeMapId": task.scope_map_id, "status": "enabled"}
    await arm.tokens.begin_create(*there, {"properties": properties}, polling=False)
    while (await arm.tokens.get(*there)).provisioning_state != "Succeeded":  # noqa: ASYNC110 - ARM's
        await asyncio.sleep(_LOOK_SECONDS)


async def _make_password(
    task: Task, arm: ContainerRegistryManagementClient, secrets: SecretClient, device: str
) -> str:
    poller = await arm.registries.begin_generate_credentials(
        task.group,
        task.registry,
        {"tokenId": task.token_id(device), "name": "password1", "expiry": expiry()},
    )
    made = await poller.result()
    password = next(p.value for p in made.passwords or () if p.name == "password1") or ""
    await secrets.set_secret(task.token_name(device), password, expires_on=expiry())
    return password


async def _join(task: Task, arm: ContainerRegistryManagementClient) -> None:
    there = (task.group, task.registry, task.connected_registry)
    connected = await arm.connected_registries.get(*there)
    listed = [*(connected.client_token_ids or ()), *map(task.token_id, task.devices)]
    poller = await arm.connected_registries.begin_update(
        *there, {"properties": {"clientTokenIds": listed}}
    )
    await poller.result()


def _deliver(task: Task, hub: IoTHubRegistryManager, device: str, password: str) -> None:
    twin = hub.get_twin(device)
    patch = Twin(properties=TwinProperties(desired=twin_patch(task, device, password)))
    hub.update_twin(device, patch, twin.etag)


if __name__ == "__main__":
    sys.exit(run(onboard, sys.argv[1:]))
