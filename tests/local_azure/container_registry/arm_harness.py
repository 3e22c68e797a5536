"""The service as it runs, with the real SDK and a plain client in front of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Self

from aiohttp import ClientSession
from azure.core.credentials import AccessToken
from azure.core.exceptions import HttpResponseError
from azure.mgmt.containerregistry.aio import ContainerRegistryManagementClient

from local_azure.container_registry.models import ContainerRegistryCloud, Registry
from local_azure.container_registry.resource_ids import RegistryId
from local_azure.kernel import Kernel
from local_azure.resource_manager.throttling import Throttle

AUDIENCE = "https://management.azure.com"
TENANT_ID = "6a8e3f62-0c86-4f0e-a6a5-6a3f1d1f7f10"
REGISTRY_ID = RegistryId("0b1f6471-1bf0-4dda-aec3-cb9272f09590", "fleet", "contosofleet")
WHERE = (REGISTRY_ID.resource_group, REGISTRY_ID.name)  # as the SDK's methods begin
READ_HELLO = "repositories/hello-world/content/read"


@dataclass(frozen=True)
class LocalCredential:
    """Tokens of the local tenant for one principal."""

    kernel: Kernel
    principal: str = "11111111-1111-1111-1111-111111111111"
    audience: str = AUDIENCE
    lifetime: timedelta = timedelta(days=3650)  # tests move the clock

    async def get_token(self, *_scopes: str, **_options: object) -> AccessToken:
        token = self.kernel.tokens.issue(
            issuer="https://sts.windows.net/local/",
            audience=self.audience,
            lifetime=self.lifetime,
            claims={"oid": self.principal},
        )
        expires = self.kernel.clock.now() + self.lifetime
        return AccessToken(token, int(expires.timestamp()))

    async def close(self) -> None:
        """Nothing is held open."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing is held open."""


@dataclass(frozen=True)
class Arm:
    """`session` sends what the SDK would never send."""

    kernel: Kernel
    cloud: ContainerRegistryCloud
    registry: Registry
    throttle: Throttle
    endpoint: str
    session: ClientSession
    new_client: Callable[..., ContainerRegistryManagementClient]

    def url(self, below_registry: str = "", *, query: str = "api-version=2025-11-01") -> str:
        return f"{self.endpoint}{self.registry.registry_id}{below_registry}?{query}"

    async def headers(self, credential: LocalCredential | None = None) -> dict[str, str]:
        token = await (credential or LocalCredential(self.kernel)).get_token()
        return {"Authorization": f"Bearer {token.token}"}


def code_of(refusal: HttpResponseError) -> str | None:
    """The code in an error body, as a client branches on it."""
    return refusal.error.code if refusal.error else None
