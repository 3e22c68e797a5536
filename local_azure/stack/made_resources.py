"""The kinds of resources that a caller of a stack can make in a resource group of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from local_azure.azurite import run_azurite
from local_azure.container_registry.backends import CloudRegistryBackend
from local_azure.container_registry.models import ContainerRegistryCloud
from local_azure.container_registry.resource_ids import RegistryId
from local_azure.container_registry.versions import STABLE
from local_azure.iot_hub.models import IotHub
from local_azure.iot_hub.responses import create_iot_hub_application
from local_azure.kernel import Kernel
from local_azure.key_vault.models import Vault
from local_azure.key_vault.responses import create_key_vault_application
from local_azure.registry.authentication import CLOUD_TOKEN_PATH
from local_azure.registry.data_plane import create_registry_application
from local_azure.stack.listeners import Listeners
from local_azure.stack.options import TENANT_ID
from local_azure.stack.storage_gates import run_storage_gates
from local_azure.subscriptions.models import Kind, ResourceId
from local_azure.subscriptions.responses import VAULT_API_VERSION

Properties = Mapping[str, object]


class MadeResources:
    """Serves container registries, vaults, hubs without devices' MQTT, and storage accounts."""

    def __init__(
        self, kernel: Kernel, listeners: Listeners, cloud: ContainerRegistryCloud, *, address: str
    ) -> None:
        self._kernel = kernel
        self._listeners = listeners
        self._cloud = cloud
        self._address = address

    def kinds(self) -> Sequence[Kind]:
        """All kinds, in the api-versions of infra/."""
        return (
            Kind(
                type="Microsoft.ContainerRegistry/registries",
                api_version=STABLE,
                serve=self.registry,
            ),
            Kind(type="Microsoft.KeyVault/vaults", api_version=VAULT_API_VERSION, serve=self.vault),
            Kind(
                type="Microsoft.Devices/IotHubs",
                api_version="2023-06-30",
                also_served=("2023-06-30-preview",),  # azure-cli's
                serve=self.hub,
            ),
            Kind(
                type="Microsoft.Storage/storageAccounts",
                api_version="2026-06-01",
                also_served=("2025-08-01",),  # azure-cli's
                serve=self.storage_account,
            ),
        )

    @asynccontextmanager
    async def registry(self, made: ResourceId) -> AsyncIterator[Properties]:
        """A container registry, also in Azure Resource Manager, without images."""
        registry_id = RegistryId(made.subscription_id, made.group, made.name)
        port = self._listeners.bind()
        registry = self._cloud.create_registry(registry_id, login_server=port.host)
        application = create_registry_application(
            self._kernel,
            CloudRegistryBackend(registry),
            service="registry",
            host=port.host,
            scheme="https",
            token_path=CLOUD_TOKEN_PATH,
        )
        try:
            async with self._listeners.serving(port, application):
                yield {"loginServer": port.host}
        finally:
            self._cloud.delete_registry(registry_id)

    @asynccontextmanager
    async def vault(self, made: ResourceId) -> AsyncIterator[Properties]:
        """A vault without secrets."""
        port = self._listeners.bind()
        url = f"https://{port.host}"
        application = create_key_vault_application(
            self._kernel,
            Vault(clock=self._kernel.clock, random=self._kernel.random),
            vault_url=url,
            authority=f"https://login.microsoftonline.com/{TENANT_ID}",
            # Clients verify that the vault's host ends with "." and this host.
            resource=f"https://{port.host.split('.', 1)[1]}",
            vault_id=str(made),
        )
        async with self._listeners.serving(port, application):
            yield {"vaultUri": f"{url}/"}

    @asynccontextmanager
    async def hub(self, made: ResourceId) -> AsyncIterator[Properties]:
        """A hub without devices, with the throttles of an S1 unit, over HTTPS only."""
        port = self._listeners.bind()
        hub = IotHub(name=made.name, clock=self._kernel.clock, random=self._kernel.random)
        application = create_iot_hub_application(
            self._kernel, hub, host_name=port.host, hub_id=str(made)
        )
        async with self._listeners.serving(port, application):
            yield {"hostName": port.host, "state": "Active"}

    @asynccontextmanager
    async def storage_account(self, made: ResourceId) -> AsyncIterator[Properties]:
        """A storage account of its own: another Azurite."""
        certificates = self._kernel.certificates
        async with (
            run_azurite(
                host=self._address,
                certificate_pem=certificates.server_certificate_pem,
                key_pem=certificates.server_key_pem,
                account_name=made.name,
                clock=self._kernel.clock,
            ) as azurite,
            run_storage_gates(
                self._kernel, azurite, address=self._address, account_id=str(made)
            ) as urls,
        ):
            endpoints = {"blob": urls.blob_url, "queue": urls.queue_url, "table": urls.table_url}
            yield {"primaryEndpoints": {name: f"{url}/" for name, url in endpoints.items()}}
