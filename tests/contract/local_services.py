"""The local Azure's services with the timings that the contract has, on a clock that moves."""

from __future__ import annotations

import socket
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Self

from aiohttp import ClientSession, TCPConnector, web
from azure.core.credentials import AccessToken

from contract.runner import Target
from firstpull.adapters.container_registry import ContainerRegistryAdapter, client_factory
from firstpull.model.azure_resources import RegistryId
from local_azure.container_registry.backends import CloudRegistryBackend
from local_azure.container_registry.models import ContainerRegistryCloud, Registry
from local_azure.container_registry.resource_ids import RegistryId as ResourceId
from local_azure.container_registry.responses import ContainerRegistryService
from local_azure.iot_hub import IotHub, create_iot_hub_application
from local_azure.iot_hub.identities import DeviceSettings
from local_azure.kernel import Kernel
from local_azure.key_vault.models import Vault
from local_azure.key_vault.responses import create_key_vault_application
from local_azure.registry.authentication import CLOUD_TOKEN_PATH
from local_azure.registry.data_plane import create_registry_application
from local_azure.resource_manager.application import create_arm_application
from local_azure.resource_manager.directory import Directory
from local_azure.resource_manager.links import Links

ARM = "https://management.azure.com"
HUB = "https://iothubs.azure.net"
REGISTRY = ResourceId("0b1f6471-1bf0-4dda-aec3-cb9272f09590", "fleet", "contosofleet")
REGISTRY_ID = RegistryId(str(REGISTRY))
PRINCIPAL = "11111111-1111-1111-1111-111111111111"
_LIFETIME = timedelta(days=3650)


@dataclass(frozen=True)
class Credential:
    """Bearer tokens of one principal."""

    kernel: Kernel
    audience: str = ARM

    async def get_token(self, *_scopes: str, **_options: object) -> AccessToken:
        token = self.kernel.tokens.issue(
            issuer="https://sts.windows.net/local/",
            audience=self.audience,
            lifetime=_LIFETIME,
            claims={"oid": PRINCIPAL},
        )
        return AccessToken(token, int((self.kernel.clock.now() + _LIFETIME).timestamp()))

    async def bearer(self) -> str:
        """The header `Authorization`."""
        return f"Bearer {(await self.get_token()).token}"

    async def close(self) -> None: ...

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None: ...


def vault_resource(url: str) -> str:
    """The audience of tokens for a vault, whose host has to end with it."""
    return f"https://{url.removeprefix('https://').split('.', 1)[1]}"


class PassingTime:
    """Sleeping moves the clock of the services, and counts."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self.slept = 0.0

    async def sleep(self, seconds: float) -> None:
        """Let `seconds` pass at once."""
        self.slept += seconds
        self._kernel.clock.advance(timedelta(seconds=seconds))


@dataclass(frozen=True)
class LocalServices:
    """Azure Resource Manager with one container registry, a vault, a hub, and the registry."""

    kernel: Kernel
    time: PassingTime
    cloud: ContainerRegistryCloud
    registry: Registry
    vault: Vault
    hub: IotHub
    endpoints: Mapping[str, str]
    session: ClientSession

    @classmethod
    @asynccontextmanager
    async def start(cls, kernel: Kernel) -> AsyncIterator[LocalServices]:
        """Serve all of it until exit."""
        names = ("arm", "vault", "hub", "registry")
        listeners = {name: socket.create_server(("127.0.0.1", 0)) for name in names}
        hosts = {name: f"127.0.0.1:{each.getsockname()[1]}" for name, each in listeners.items()}
        cloud = ContainerRegistryCloud(clock=kernel.clock, random=kernel.random)
        registry = cloud.create_registry(REGISTRY, login_server=hosts["registry"])
        vault = Vault(clock=kernel.clock, random=kernel.random)
        hub = IotHub(name="hub", clock=kernel.clock, random=kernel.random)
        hub.create_device(DeviceSettings("press-1"))
        endpoints = {name: f"https://{host}" for name, host in hosts.items()}
        applications: dict[str, web.Application] = {
            "arm": create_arm_application(
                kernel,
                routes=ContainerRegistryService(
                    kernel, cloud, Links(endpoint=endpoints["arm"], page_size=20)
                ).routes(),
                directory=Directory(cloud.resources),
                audiences=(ARM,),
            ),
            "vault": create_key_vault_application(
                kernel,
                vault,
                vault_url=endpoints["vault"],
                authority=ARM,
                resource=vault_resource(endpoints["vault"]),
            ),
            "hub": create_iot_hub_application(kernel, hub, host_name=hosts["hub"], hub_id="/hub"),
            "registry": create_registry_application(
                kernel,
                CloudRegistryBackend(registry),
                service="registry",
                host=hosts["registry"],
                scheme="https",
                token_path=CLOUD_TOKEN_PATH,
            ),
        }
        async with AsyncExitStack() as cleanup:
            for name, application in applications.items():
                runner = web.AppRunner(application, access_log=None)
                await runner.setup()
                cleanup.push_async_callback(runner.cleanup)
                context = kernel.certificates.server_context()
                await web.SockSite(runner, listeners[name], ssl_context=context).start()
            connector = TCPConnector(ssl=kernel.certificates.client_context())
            session = await cleanup.enter_async_context(ClientSession(connector=connector))
            time = PassingTime(kernel)
            yield cls(kernel, time, cloud, registry, vault, hub, endpoints, session)

    def target(self, service: str) -> Target:
        """What the contract's runner needs to ask one of the contract's services."""
        endpoint, audience, variables = {
            "containerRegistry": ("arm", ARM, self._arm_variables()),
            "keyVault": (
                "vault",
                vault_resource(self.endpoints["vault"]),
                {"secret": "contract"},
            ),
            "iotHub": ("hub", HUB, {"device": "press-1"}),
            "registry": ("registry", ARM, self._registry_variables()),
            "provisioning": ("arm", ARM, {}),
            "storageAndEvents": ("arm", ARM, {}),
        }[service]
        return Target(
            endpoint=self.endpoints[endpoint],
            session=self.session,
            authorization=Credential(self.kernel, audience).bearer,
            variables=variables,
            sleep=self.time.sleep,
        )

    def adapter(self) -> ContainerRegistryAdapter:
        """firstpull's, whose waits move the clock."""
        credential = Credential(self.kernel)
        create = client_factory(credential, endpoint=self.endpoints["arm"], audience=ARM)
        return ContainerRegistryAdapter(create, sleep=self.time.sleep)

    def _arm_variables(self) -> dict[str, str]:
        return {
            "subscription": REGISTRY.subscription_id,
            "registry": str(REGISTRY),
            "registryName": REGISTRY.name,
            "scopeMap": "contract-readers",
            "token": "contract-token",
            "client": "contract-client",
            "connected": "contractplant",
        }

    def _registry_variables(self) -> dict[str, str]:
        """A token that may pull one repository."""
        registry = self.registry
        if not registry.tokens():
            registry.put_scope_map("hello", actions=["repositories/hello-world/content/read"])
            registry.put_token("puller", scope_map_id=REGISTRY.child("scopeMaps", "hello"))
            self.kernel.clock.advance(timedelta(seconds=1))
        made = registry.generate_credentials(REGISTRY.child("tokens", "puller"), name="password1")
        login = f"puller:{made.value_of('password1')}"
        return {
            "host": self.endpoints["registry"].removeprefix("https://"),
            "credential": f"Basic {b64encode(login.encode()).decode()}",
            "repository": "hello-world",
            "outOfScope": "secret",
        }
