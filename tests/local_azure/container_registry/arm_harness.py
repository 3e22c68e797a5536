"""Azure Resource Manager with one registry, for the SDK and for requests that no SDK sends."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Self

import pytest
from aiohttp import ClientSession
from azure.core.credentials import AccessToken
from azure.core.exceptions import HttpResponseError

from local_azure.container_registry.models import ContainerRegistryCloud, Registry
from local_azure.container_registry.resource_ids import RegistryId
from local_azure.kernel import Kernel
from local_azure.resource_manager.throttling import Throttle

AUDIENCE = "https://management.azure.com"
TENANT_ID = "6a8e3f62-0c86-4f0e-a6a5-6a3f1d1f7f10"
REGISTRY_ID = RegistryId("0b1f6471-1bf0-4dda-aec3-cb9272f09590", "fleet", "contosofleet")
WHERE = (REGISTRY_ID.resource_group, REGISTRY_ID.name)  # the first arguments of SDK methods
READ_HELLO = "repositories/hello-world/content/read"
STABLE, PREVIEW = "2025-11-01", "2026-09-01-preview"


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

    async def close(self) -> None: ...

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None: ...


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: Any

    @property
    def code(self) -> str:
        """The code of an error body."""
        return str(self.body["error"]["code"])


@dataclass(frozen=True)
class Arm:
    kernel: Kernel
    cloud: ContainerRegistryCloud
    registry: Registry
    throttle: Throttle
    endpoint: str
    session: ClientSession

    def url(self, below_registry: str = "", *, query: str = f"api-version={STABLE}") -> str:
        return f"{self.endpoint}{self.registry.registry_id}{below_registry}?{query}"

    async def send(
        self,
        method: str,
        url: str,
        body: Mapping[str, Any] | str | None = None,
        *,
        credential: LocalCredential | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send a request with a bearer token; a text is a body that need not be JSON."""
        token = await (credential or LocalCredential(self.kernel)).get_token()
        sent = {"Authorization": f"Bearer {token.token}", **(headers or {})}
        content: dict[str, Any] = {"json": body}
        if isinstance(body, str):
            content, sent = {"data": body}, {"Content-Type": "application/json", **sent}
        async with self.session.request(method, url, headers=sent, **content) as answer:
            text = await answer.read()
            return Answer(answer.status, answer.headers, await answer.json() if text else None)


async def refusal_of(call: Awaitable[object]) -> tuple[int | None, str | None]:
    """Status and code of a call that the SDK reports as an error."""
    with pytest.raises(HttpResponseError) as refused:
        await call
    error = refused.value.error
    return refused.value.status_code, error.code if error else None
