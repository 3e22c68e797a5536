"""A plain script: one device after the other, one call after the other, with default polling."""

from __future__ import annotations

import sys
import time

from azure.identity import DefaultAzureCredential
from azure.iot.hub import IoTHubRegistryManager
from azure.iot.hub.models import Twin, TwinProperties
from azure.keyvault.secrets import SecretClient
from azure.mgmt.containerregistry import ContainerRegistryManagementClient

from benchmarks.peers.azure import HubCredential, Task, expiry, run, twin_patch


def onboard(task: Task) -> float:
    """The seconds until the last device's twin has its credentials."""
    credential = DefaultAzureCredential()
    arm = ContainerRegistryManagementClient(
        credential,
        task.subscription,
        base_url=task.arm_endpoint,
        credential_scopes=["https://management.azure.com/.default"],
    )
    secrets = SecretClient(task.vault_url, credential)
    hub = IoTHubRegistryManager.from_token_credential(task.hub, HubCredential(credential))
    started = time.monotonic()
    for device in task.devices:
        _onboard_one(task, device, arm, secrets, hub)
    return time.monotonic() - started


def _onboard_one(
    task: Task,
    device: str,
    arm: ContainerRegistryManagementClient,
    secrets: SecretClient,
    hub: IoTHubRegistryManager,
) -> None:
    name, there = task.token_name(device), (task.group, task.registry)
    arm.tokens.begin_create(
        *there, name, {"properties": {"scopeMapId": task.scope_map_id, "status": "enabled"}}
    ).result()
    made = arm.registries.begin_generate_credentials(
        *there, {"tokenId": task.token_id(device), "name": "password1", "expiry": expiry()}
    ).result()
    password = next(p.value for p in made.passwords or () if p.name == "password1") or ""
    connected = arm.connected_registries.get(*there, task.connected_registry)
    listed = [*(connected.client_token_ids or ()), task.token_id(device)]
    arm.connected_registries.begin_update(
        *there, task.connected_registry, {"properties": {"clientTokenIds": listed}}
    ).result()
    secrets.set_secret(name, password, expires_on=expiry())
    twin = hub.get_twin(device)
    patch = Twin(properties=TwinProperties(desired=twin_patch(task, device, password)))
    hub.update_twin(device, patch, twin.etag)


if __name__ == "__main__":
    sys.exit(run(onboard, sys.argv[1:]))
