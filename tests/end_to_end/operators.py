"""Somebody with rights on everything and the Azure SDKs as they are, who knows no firstpull."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from azure.identity.aio import ManagedIdentityCredential
from azure.iot.hub import IoTHubRegistryManager
from azure.iot.hub.models import Twin, TwinProperties
from azure.keyvault.secrets.aio import SecretClient
from azure.mgmt.containerregistry.aio import ContainerRegistryManagementClient
from azure.mgmt.containerregistry.models import (
    ConnectedRegistry,
    ConnectedRegistryProperties,
    ConnectedRegistryUpdateParameters,
    ConnectedRegistryUpdateProperties,
    GenerateCredentialsParameters,
    ParentProperties,
    ScopeMap,
    ScopeMapProperties,
    ScopeMapPropertiesUpdateParameters,
    ScopeMapUpdateParameters,
    SyncProperties,
    Token,
    TokenCredentialsProperties,
    TokenPassword,
    TokenProperties,
    TokenUpdateParameters,
    TokenUpdateProperties,
)

from local_azure.container_registry.resources import LoginServer
from local_azure.stack import Stack
from local_azure.stack.options import (
    OPERATOR_CLIENT_ID,
    REGISTRY_NAME,
    RESOURCE_GROUP,
    SUBSCRIPTION_ID,
)

from .cloud import cloud_registry, site_of

_WHERE = (RESOURCE_GROUP, REGISTRY_NAME)
_QUICKLY: dict[str, Any] = {"polling_interval": 0.05}

Status = Literal["enabled", "disabled"]


@dataclass(frozen=True)
class Operator:
    """What an operator does by hand, one call of an SDK or two each."""

    stack: Stack
    arm: ContainerRegistryManagementClient
    vault: SecretClient
    hub: IoTHubRegistryManager
    thread: ThreadPoolExecutor

    # The container registry

    def token_id(self, name: str) -> str:
        """The ARM id of a token."""
        return f"{self.stack.registry_id}/tokens/{name}"

    async def set_token_status(self, name: str, status: Status) -> None:
        """Enable or disable a token."""
        await self._update_token(name, TokenUpdateProperties(status=status))

    async def give_scope_map(self, token: str, scope_map: str) -> None:
        """Point a token at another scope map."""
        scope_map_id = f"{self.stack.registry_id}/scopeMaps/{scope_map}"
        await self._update_token(token, TokenUpdateProperties(scope_map_id=scope_map_id))

    async def keep_passwords(self, token: str, *names: str) -> None:
        """Delete the passwords of a token but these."""
        kept = TokenCredentialsProperties(passwords=[TokenPassword(name=name) for name in names])
        await self._update_token(token, TokenUpdateProperties(credentials=kept))

    async def _update_token(self, name: str, change: TokenUpdateProperties) -> None:
        body = TokenUpdateParameters(properties=change)
        await (await self.arm.tokens.begin_update(*_WHERE, name, body, **_QUICKLY)).result()

    async def make_password(self, token: str, name: str | None = None) -> None:
        """A new password in this slot, in both where none is named."""
        asked = GenerateCredentialsParameters(token_id=self.token_id(token), name=name)
        making = await self.arm.registries.begin_generate_credentials(*_WHERE, asked, **_QUICKLY)
        await making.result()

    async def create_token(self, name: str, *, scope_map: str) -> None:
        """A token of the operator's own."""
        scope_map_id = f"{self.stack.registry_id}/scopeMaps/{scope_map}"
        token = Token(properties=TokenProperties(scope_map_id=scope_map_id, status="enabled"))
        await (await self.arm.tokens.begin_create(*_WHERE, name, token, **_QUICKLY)).result()

    async def delete_token(self, name: str) -> None:
        """Delete a token, which no list may hold."""
        await (await self.arm.tokens.begin_delete(*_WHERE, name, **_QUICKLY)).result()

    async def create_scope_map(self, name: str, *actions: str) -> None:
        """A scope map of the operator's own."""
        scope_map = ScopeMap(properties=ScopeMapProperties(actions=list(actions)))
        making = await self.arm.scope_maps.begin_create(*_WHERE, name, scope_map, **_QUICKLY)
        await making.result()

    async def change_scope_map(self, name: str, *actions: str) -> None:
        """Replace the actions of a scope map."""
        change = ScopeMapUpdateParameters(
            properties=ScopeMapPropertiesUpdateParameters(actions=list(actions))
        )
        changing = await self.arm.scope_maps.begin_update(*_WHERE, name, change, **_QUICKLY)
        await changing.result()

    async def delete_scope_map(self, name: str) -> None:
        """Delete a scope map, which no token may name."""
        await (await self.arm.scope_maps.begin_delete(*_WHERE, name, **_QUICKLY)).result()

    async def clients(self, plant: str) -> list[str]:
        """The ids in the list of a connected registry."""
        found = await self.arm.connected_registries.get(*_WHERE, plant)
        assert found.properties is not None
        return list(found.properties.client_token_ids or ())

    async def set_clients(self, plant: str, token_ids: list[str]) -> None:
        """Overwrite the list of a connected registry."""
        change = ConnectedRegistryUpdateParameters(
            properties=ConnectedRegistryUpdateProperties(client_token_ids=token_ids)
        )
        changing = await self.arm.connected_registries.begin_update(
            *_WHERE, plant, change, **_QUICKLY
        )
        await changing.result()

    async def take_off_the_list(self, plant: str, token: str) -> None:
        """Remove one client."""
        listed = await self.clients(plant)
        await self.set_clients(plant, [i for i in listed if i != self.token_id(token)])

    async def delete_connected_registry(self, plant: str) -> None:
        """Delete it; its site serves on what it knows."""
        deleting = await self.arm.connected_registries.begin_delete(*_WHERE, plant, **_QUICKLY)
        await deleting.result()

    async def create_connected_registry(self, plant: str) -> None:
        """Make it again with its sync token of before; its site is deployed anew."""
        sync = SyncProperties(
            token_id=self.token_id(plant), message_ttl=timedelta(days=2), schedule="* * * * *"
        )
        wanted = ConnectedRegistry(
            properties=ConnectedRegistryProperties(
                mode="ReadOnly", parent=ParentProperties(sync_properties=sync)
            )
        )
        making = await self.arm.connected_registries.begin_create(
            *_WHERE, plant, wanted, **_QUICKLY
        )
        await making.result()
        endpoint = site_of(self.stack, plant).endpoint
        cloud_registry(self.stack).activate_connected_registry(
            plant, LoginServer(host=endpoint, tls=True)
        )

    # The vault

    async def delete_secret(self, name: str, *, purge: bool = False) -> None:
        """Delete a secret, which can be recovered unless it is purged."""
        deleting = await self.vault.delete_secret(name)
        assert deleting.name == name
        if purge:
            await self.vault.purge_deleted_secret(name)

    # The hub

    async def register(self, device_id: str) -> None:
        """Register a device whose keys the hub makes."""
        await self._in_hub(lambda: self.hub.create_device_with_sas(device_id, "", "", "enabled"))

    async def update_device(self, device_id: str, status: Status) -> None:
        """Enable or disable a device. Its keys are made anew on the way."""
        await self._in_hub(lambda: self.hub.update_device_with_sas(device_id, "*", "", "", status))

    async def delete_device(self, device_id: str) -> None:
        """Remove a device with its twin."""
        await self._in_hub(lambda: self.hub.delete_device(device_id))

    async def patch_desired(self, device_id: str, patch: dict[str, Any]) -> None:
        """Merge into the desired properties of a twin."""
        change = Twin(properties=TwinProperties(desired=patch))
        await self._in_hub(lambda: self.hub.update_twin(device_id, change))

    async def patch_entry(self, device_id: str, plant: str, change: dict[str, Any] | None) -> None:
        """Merge into firstpull's entry of a twin; None removes it."""
        entries = {"registryCredentials": {plant: change}}
        await self.patch_desired(device_id, {"firstpull": entries})

    async def _in_hub(self, call: Callable[[], object]) -> None:
        await asyncio.get_running_loop().run_in_executor(self.thread, call)


@asynccontextmanager
async def operator_of(stack: Stack) -> AsyncIterator[Operator]:
    """An operator of this stack."""
    owner = stack.hub.policies["iothubowner"].connection_string(stack.iot_hub_host_name)
    async with (
        ManagedIdentityCredential(client_id=OPERATOR_CLIENT_ID) as credential,
        ContainerRegistryManagementClient(
            credential,
            SUBSCRIPTION_ID,
            base_url=stack.arm_endpoint,
            credential_scopes=["https://management.azure.com/.default"],
        ) as arm,
        SecretClient(stack.key_vault_url, credential) as vault,
    ):
        thread = ThreadPoolExecutor(1)
        hub = IoTHubRegistryManager.from_connection_string(owner)
        yield Operator(stack, arm, vault, hub, thread)
        # The SDK keeps a session per thread; its sockets close when both are gone.
        await asyncio.to_thread(thread.shutdown)
        del hub
        gc.collect()
