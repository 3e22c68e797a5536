"""An identity endpoint that fails: every adapter says that its service did not answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any, Self

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from azure.core.credentials import AccessToken
from azure.identity import CredentialUnavailableError, DefaultAzureCredential
from azure.identity.aio import DefaultAzureCredential as AsyncDefaultAzureCredential

from firstpull.adapters import timeouts
from firstpull.adapters.container_registry import ContainerRegistryAdapter, client_factory
from firstpull.adapters.iot_hub import FixedAudience, IotHubAdapter
from firstpull.adapters.key_vault import KeyVaultAdapter
from firstpull.model.clock import SystemClock
from firstpull.model.device_key import DeviceKey
from firstpull.model.errors import Transient
from firstpull.model.reasons import Reason
from local_azure.kernel.certificates import CertificateAuthority
from tests.firstpull.harness import HUB, REGISTRY, Harness

DEVICE = DeviceKey(hub="127.0.0.1:1", device_id="press-1")
NOWHERE = "https://127.0.0.1:1"

type Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def error_500(_: web.Request) -> web.Response:
    return web.json_response({"statusCode": 500, "message": "broken"}, status=500)


async def error_in_html(_: web.Request) -> web.Response:
    return web.Response(text="<html>bad gateway</html>", content_type="text/html", status=502)


async def no_token(_: web.Request) -> web.Response:
    return web.json_response({})


async def not_json(_: web.Request) -> web.Response:
    return web.Response(text="a token", content_type="application/json")


async def throttled(_: web.Request) -> web.Response:
    return web.json_response({"error": "slow down"}, status=429)


async def refused(_: web.Request) -> web.Response:
    return web.json_response({"statusCode": 400, "message": "No identity found"}, status=400)


async def forbidden(_: web.Request) -> web.Response:
    return web.json_response({"statusCode": 403, "message": "Not now"}, status=403)


async def breaks_off(request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


ANSWERS = (error_500, error_in_html, no_token, not_json, throttled, refused, forbidden, breaks_off)


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(timeouts.IDENTITY, "retry_total", 0)


@pytest.fixture(params=ANSWERS, ids=lambda answer: answer.__name__)
async def _broken_endpoint(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[None]:
    """An App Service's identity endpoint that gives no token."""
    application = web.Application()
    application.router.add_get("/msi", request.param)
    server = TestServer(application, host="127.0.0.1")
    await server.start_server()
    monkeypatch.setenv("IDENTITY_ENDPOINT", str(server.make_url("/msi")))
    monkeypatch.setenv("IDENTITY_HEADER", "a header")
    yield
    await server.close()


@pytest.fixture
async def vault_url(authority: CertificateAuthority) -> AsyncIterator[str]:
    """A vault that asks for a token, as every vault does first."""

    async def challenge(request: web.Request) -> web.Response:
        resource = f"https://{request.host.split('.', 1)[1]}"
        asks = f'Bearer authorization="https://login.test/tenant", resource="{resource}"'
        return web.Response(status=401, headers={"WWW-Authenticate": asks})

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", challenge)
    server = TestServer(application, host="127.0.0.1", scheme="https")
    await server.start_server(ssl=authority.server_context())
    yield str(server.make_url("")).rstrip("/")
    await server.close()


class Unavailable:
    """A credential of a host that has no identity."""

    def get_token(self, *_scopes: str, **_options: Any) -> AccessToken:  # noqa: ANN401 - the SDK's
        raise CredentialUnavailableError(message="There is no identity here.")


class AsyncUnavailable:
    """The same for asynchronous SDKs."""

    async def get_token(self, *_scopes: str, **_options: Any) -> AccessToken:  # noqa: ANN401 - the SDK's
        raise CredentialUnavailableError(message="There is no identity here.")

    async def close(self) -> None:
        """Nothing is open."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return


async def reasons(credential: Any, asynchronous: Any, *, vault_url: str) -> list[Reason]:  # noqa: ANN401 - either kind
    """How a read of the hub, of the vault and of Azure Resource Manager ends."""
    hubs = IotHubAdapter(FixedAudience(credential, "https://iothubs.azure.net"), SystemClock())
    vault = KeyVaultAdapter(vault_url, asynchronous)
    registries = ContainerRegistryAdapter(
        client_factory(asynchronous, endpoint=NOWHERE, audience=NOWHERE)
    )
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: hubs.twin(DEVICE),
        lambda: hubs.list_devices(DEVICE.hub),
        vault.list_secrets,
        lambda: registries.list_tokens(REGISTRY),
    ]
    found = []
    for call in calls:
        with pytest.raises(Transient) as raised:
            await call()
        found.append(raised.value.reason)
    await hubs.close()
    await vault.close()
    await registries.close()
    return found


@pytest.mark.usefixtures("_broken_endpoint")
async def test_an_identity_endpoint_that_gives_no_token_passes_by_itself(vault_url: str) -> None:
    options = {"managed_identity_client_id": "an id", **timeouts.IDENTITY}
    async with AsyncDefaultAzureCredential(**options) as asynchronous:
        found = await reasons(DefaultAzureCredential(**options), asynchronous, vault_url=vault_url)
    assert set(found) <= {Reason.SERVICE_UNAVAILABLE, Reason.THROTTLED}


async def test_a_host_without_an_identity_passes_by_itself(vault_url: str) -> None:
    found = await reasons(Unavailable(), AsyncUnavailable(), vault_url=vault_url)
    assert set(found) == {Reason.SERVICE_UNAVAILABLE}


async def test_a_sweep_notes_a_hub_without_a_token_as_unread() -> None:
    harness = Harness()
    device = await harness.make_ready()
    process = harness.processes[0]
    hubs = IotHubAdapter(Unavailable(), SystemClock())
    sweeper = process.application.sweeper
    reader = replace(sweeper.inventory_reader, hubs=hubs)
    report = await replace(sweeper, inventory_reader=reader).run()
    assert any(HUB in source for source in report.unread), report.unread
    assert report.revoked == 0
    assert harness.cloud.token(REGISTRY, harness.cloud.record(device).grants[0].names.token)
