"""Starts all services on one address."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from local_azure.azurite import Azurite, AzuriteEndpoints, running_azurite
from local_azure.azurite.gate import StorageUrls
from local_azure.container_registry.backends import CloudRegistryBackend
from local_azure.container_registry.models import CloudSettings, ContainerRegistryCloud
from local_azure.container_registry.resource_ids import RegistryId
from local_azure.container_registry.responses import ContainerRegistryService
from local_azure.event_grid import Dispatcher
from local_azure.event_grid.management_routes import EventGridRoutes
from local_azure.governance import Governance, GovernanceService
from local_azure.identity.responses import PATH as IDENTITY_PATH
from local_azure.identity.responses import create_identity_application
from local_azure.iot_hub.management_routes import IotHubRoutes
from local_azure.iot_hub.models import IotHub
from local_azure.iot_hub.mqtt import MqttEndpoint
from local_azure.iot_hub.responses import create_iot_hub_application
from local_azure.kernel import Kernel
from local_azure.kernel.addresses import DEVICE_PORT, free_loopback_address
from local_azure.kernel.background import in_background
from local_azure.kernel.certificates import CertificateAuthority
from local_azure.key_vault.models import Vault
from local_azure.key_vault.responses import create_key_vault_application
from local_azure.management import Extension, create_management_application
from local_azure.provisioning import AllocationWebhook
from local_azure.provisioning.management_routes import ProvisioningRoutes
from local_azure.registry.authentication import CLOUD_TOKEN_PATH
from local_azure.registry.data_plane import create_registry_application
from local_azure.registry.images import hello_world, sensor_gateway
from local_azure.resource_manager.application import create_arm_application
from local_azure.resource_manager.directory import Directory
from local_azure.resource_manager.links import Links
from local_azure.resource_manager.subscriptions import CloudIdentity, SubscriptionService
from local_azure.resource_manager.throttling import RateLimits, Throttle
from local_azure.roles.management_routes import RoleRoutes
from local_azure.stack.event_services import run_event_grid, run_provisioning
from local_azure.stack.governing import (
    HubSubscriptions,
    VaultGovernance,
    guard_of,
    own_governance,
)
from local_azure.stack.identities import (
    HUB_ID,
    VAULT_ID,
    IdentityHeaders,
    hold_app_to_its_roles,
    hosts_of,
    new_identity_headers,
)
from local_azure.stack.listeners import Listeners
from local_azure.stack.made_resources import MadeResources
from local_azure.stack.management_routes import AzurePolicyRoutes, OperationRoutes, SiteRoutes
from local_azure.stack.options import (
    HUB_NAME,
    PRINCIPAL_ID,
    REGISTRY_NAME,
    RESOURCE_GROUP,
    SUBSCRIPTION_ID,
    TENANT_ID,
    StackOptions,
)
from local_azure.stack.sites import Sites
from local_azure.stack.storage_gates import run_storage_gates
from local_azure.subscriptions.models import ResourceGroups
from local_azure.subscriptions.responses import ResourceGroupService

_PAGE_SIZE = 20
_ARM_AUDIENCES = ("https://management.azure.com", "https://management.core.windows.net")


@dataclass(frozen=True, kw_only=True)
class Stack:
    """A running local Azure. Addresses are `host:port` or URLs without a slash at the end.

    `storage` takes the account key; `storage_urls` check roles. `identity_header` is the app's.
    `operator_identity_header` is the operator's, who may do everything, and gives the app's tokens
    for its client id. `identity_header_of_both` gives tokens of both, only for a client id.
    """

    options: StackOptions
    address: str
    kernel: Kernel
    registry_id: str
    cloud: ContainerRegistryCloud
    resource_groups: ResourceGroups
    governance: Governance
    hub: IotHub
    vault: Vault
    sites: Sites
    events: Dispatcher
    provisioning: AllocationWebhook
    storage: AzuriteEndpoints = field(repr=False)
    azurite: Azurite = field(repr=False)
    storage_urls: StorageUrls
    arm_endpoint: str
    registry_login_server: str
    key_vault_url: str
    iot_hub_host_name: str
    management_url: str
    identity_endpoint: str
    identity_header: str = field(repr=False)
    operator_identity_header: str = field(repr=False)
    identity_header_of_both: str = field(repr=False)

    @property
    def ca_pem(self) -> str:
        """The certificate that clients must trust."""
        return self.kernel.certificates.ca_pem

    def identity_environment(self, *, ca_file: str) -> dict[str, str]:
        """The environment of a process with the app's identity that trusts the stack."""
        return {
            "IDENTITY_ENDPOINT": self.identity_endpoint,
            "IDENTITY_HEADER": self.identity_header,
            "SSL_CERT_FILE": ca_file,
            "REQUESTS_CA_BUNDLE": ca_file,
            "CURL_CA_BUNDLE": ca_file,
        }


@asynccontextmanager
async def start_stack(
    options: StackOptions,
    *,
    address: str | None = None,
    certificates: CertificateAuthority | None = None,
    management: Sequence[Extension] = (),
) -> AsyncIterator[Stack]:
    """A running stack, which leaves nothing behind on exit. `management` extends its port.

    A process that is a client of its own stack has to trust the authority before it imports its
    HTTP client: it creates `certificates` for `address` first.
    """
    address = address or free_loopback_address()
    kernel = Kernel.create(seed=options.seed, addresses=(address,), certificates=certificates)
    hold_app_to_its_roles(kernel.access, options.app_roles)
    async with AsyncExitStack() as cleanup:
        listeners = Listeners(
            address=address,
            certificates=kernel.certificates,
            clock=kernel.clock,
            wire=options.wire,
        )
        cleanup.push_async_callback(listeners.close)
        azurite = await cleanup.enter_async_context(
            running_azurite(
                host=address,
                certificate_pem=kernel.certificates.server_certificate_pem,
                key_pem=kernel.certificates.server_key_pem,
                clock=kernel.clock,
                keeps=options.storage_on_disk,
            )
        )
        storage = azurite.endpoints
        builder = _Builder(options, kernel, listeners, address)
        storage_urls = await cleanup.enter_async_context(
            run_storage_gates(kernel, storage, address=address, wire=options.wire)
        )
        resource_groups = ResourceGroups(lambda: (RESOURCE_GROUP,))
        governance = own_governance()
        arm_endpoint, cloud, registry_host, governing = await builder.container_registry(
            resource_groups, governance
        )
        cleanup.push_async_callback(resource_groups.close)
        key_vault_url, vault = await builder.key_vault(governance)
        hub_host, hub = await builder.iot_hub(cleanup)
        identity_endpoint, headers = await builder.identity()
        sites = Sites(kernel, cloud.registries()[0], listeners)
        for site in options.connected_registries:
            await sites.deploy(site)
        await cleanup.enter_async_context(in_background(sites.keep_synced()))
        events = await cleanup.enter_async_context(
            run_event_grid(
                options,
                kernel,
                hub=hub,
                vault=vault,
                vault_url=key_vault_url,
                queue_connection_string=storage.connection_string,
            )
        )
        governing.events = HubSubscriptions(events)
        provisioning = await cleanup.enter_async_context(
            run_provisioning(kernel, hub=hub, hub_host_name=hub_host)
        )
        management_url = await builder.management(
            SiteRoutes(sites),
            AzurePolicyRoutes(cloud.settings),
            OperationRoutes(cloud.settings),
            EventGridRoutes(events),
            ProvisioningRoutes(provisioning),
            IotHubRoutes(hub),
            RoleRoutes(kernel.access, principal_id=PRINCIPAL_ID),
            extensions=management,
        )
        yield Stack(
            options=options,
            address=address,
            kernel=kernel,
            registry_id=str(_registry_id()),
            cloud=cloud,
            resource_groups=resource_groups,
            governance=governance,
            hub=hub,
            vault=vault,
            sites=sites,
            events=events,
            provisioning=provisioning,
            storage=storage,
            azurite=azurite,
            storage_urls=storage_urls,
            arm_endpoint=arm_endpoint,
            registry_login_server=registry_host,
            key_vault_url=key_vault_url,
            iot_hub_host_name=hub_host,
            management_url=management_url,
            identity_endpoint=identity_endpoint,
            identity_header=headers.app,
            operator_identity_header=headers.operator,
            identity_header_of_both=headers.both,
        )


class _Builder:
    """Starts the services one by one."""

    def __init__(
        self, options: StackOptions, kernel: Kernel, listeners: Listeners, address: str
    ) -> None:
        self._options = options
        self._kernel = kernel
        self._listeners = listeners
        self._address = address

    async def container_registry(
        self, groups: ResourceGroups, governance: Governance
    ) -> tuple[str, ContainerRegistryCloud, str, GovernanceService]:
        """Start Azure Resource Manager and the cloud registry's data plane."""
        cloud = ContainerRegistryCloud(
            clock=self._kernel.clock,
            random=self._kernel.random,
            settings=CloudSettings(operation_lengths=self._options.operation_lengths),
        )
        arm, data = self._listeners.bind(), self._listeners.bind()
        registry = cloud.create_registry(_registry_id(), login_server=data.host)
        registry.images["hello-world"] = {"latest": hello_world()}
        registry.images["sensor-gateway"] = {"latest": sensor_gateway()}
        endpoint = f"https://{arm.host}"
        links = Links(endpoint=endpoint, page_size=_PAGE_SIZE)
        governing = GovernanceService(governance, self._kernel.access, links, hub_id=HUB_ID)
        await self._listeners.serve(arm, self._arm(cloud, groups, endpoint, governing, governance))
        await self._listeners.serve(
            data,
            create_registry_application(
                self._kernel,
                CloudRegistryBackend(registry),
                service="registry",
                host=data.host,
                scheme="https",
                token_path=CLOUD_TOKEN_PATH,
            ),
        )
        return endpoint, cloud, data.host, governing

    def _arm(
        self,
        cloud: ContainerRegistryCloud,
        groups: ResourceGroups,
        endpoint: str,
        governing: GovernanceService,
        governance: Governance,
    ) -> web.Application:
        identity = CloudIdentity(
            name="LocalAzure",
            endpoint=endpoint,
            tenant_id=TENANT_ID,
            audiences=(endpoint, *_ARM_AUDIENCES),
        )
        directory = Directory(
            cloud.resources, lambda: ((group.subscription_id, group.name) for group in groups.all())
        )
        links = Links(endpoint=endpoint, page_size=_PAGE_SIZE, oddities=self._kernel.oddities)
        makers = MadeResources(self._kernel, self._listeners, cloud, address=self._address)
        services = (
            SubscriptionService(identity, directory, links),
            ContainerRegistryService(self._kernel, cloud, links),
            governing,
            ResourceGroupService(groups, makers.kinds(), links, governance=governance),
        )
        return create_arm_application(
            self._kernel,
            routes=[route for service in services for route in service.routes()],
            directory=directory,
            audiences=identity.audiences,
            throttle=Throttle(
                clock=self._kernel.clock,
                limits=RateLimits() if self._options.throttled else None,
            ),
            guard=guard_of(governance),
        )

    async def key_vault(self, governance: Governance) -> tuple[str, Vault]:
        """Start the vault."""
        port = self._listeners.bind()
        url = f"https://{port.host}"
        vault = Vault(clock=self._kernel.clock, random=self._kernel.random)
        application = create_key_vault_application(
            self._kernel,
            vault,
            vault_url=url,
            authority=f"https://login.microsoftonline.com/{TENANT_ID}",
            # Clients verify that the vault's host ends with "." and this host.
            resource=f"https://{port.host.split('.', 1)[1]}",
            vault_id=VAULT_ID,
            rules=VaultGovernance(governance),
        )
        await self._listeners.serve(port, application)
        return url, vault

    async def iot_hub(self, cleanup: AsyncExitStack) -> tuple[str, IotHub]:
        """Start the hub: HTTPS for services, MQTT for devices."""
        port = self._listeners.bind()
        hub = IotHub(
            name=HUB_NAME,
            clock=self._kernel.clock,
            random=self._kernel.random,
            throttle_limits=None if self._options.throttled else {},
        )
        application = create_iot_hub_application(
            self._kernel, hub, host_name=port.host, hub_id=HUB_ID
        )
        await self._listeners.serve(port, application)
        mqtt = MqttEndpoint(self._kernel, hub, host_name=port.host)
        await mqtt.start(self._address, DEVICE_PORT)
        cleanup.push_async_callback(mqtt.close)
        return port.host, hub

    async def identity(self) -> tuple[str, IdentityHeaders]:
        """Start the endpoint of managed identities, which is plain HTTP as in Azure."""
        port = self._listeners.bind()
        headers = new_identity_headers()
        application = create_identity_application(self._kernel, hosts=hosts_of(headers))
        await self._listeners.serve(port, application, tls=False)
        return f"http://{port.host}{IDENTITY_PATH}", headers

    async def management(
        self,
        *routes: SiteRoutes
        | AzurePolicyRoutes
        | OperationRoutes
        | EventGridRoutes
        | ProvisioningRoutes
        | IotHubRoutes
        | RoleRoutes,
        extensions: Sequence[Extension],
    ) -> str:
        """Start the management port."""
        port = self._listeners.bind()
        application = create_management_application(
            self._kernel,
            seed=self._options.seed,
            routes=[route for service in routes for route in service.table()],
            extensions=extensions,
        )
        await self._listeners.serve(port, application, tls=False)
        return f"http://{port.host}"


def _registry_id() -> RegistryId:
    return RegistryId(SUBSCRIPTION_ID, RESOURCE_GROUP, REGISTRY_NAME)
