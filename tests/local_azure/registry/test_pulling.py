from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import aiohttp
import pytest
import requests
from dxf import DXF, DXFBase
from dxf.exceptions import DXFUnauthorizedError

from local_azure.kernel import Kernel
from local_azure.kernel.faults import Fault, FaultKind
from local_azure.registry.authentication import CLOUD_TOKEN_PATH

from .loopback_registry import DEVICE, GATEWAY, HELLO, PASSWORD, MemoryBackend, registry_listening

UNKNOWN_DIGEST = "sha256:" + "0" * 64
A_BLOB = next(iter(HELLO.blobs))


def basic(username: str, password: str) -> dict[str, str]:
    return {"Authorization": aiohttp.encode_basic_auth(username, password)}


LOGIN = basic(DEVICE, PASSWORD)


@pytest.fixture
def backend() -> MemoryBackend:
    return MemoryBackend()


@pytest.fixture
async def host(kernel: Kernel, backend: MemoryBackend) -> AsyncIterator[str]:
    async with registry_listening(kernel, backend) as host:
        yield host


@pytest.fixture
async def http(kernel: Kernel) -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(ssl=kernel.certificates.client_context())
    async with aiohttp.ClientSession(connector=connector) as session:
        yield session


def device_client(host: str, repository: str, kernel_ca: Path) -> DXF:
    def log_in(client: DXFBase, response: requests.Response) -> None:
        client.authenticate(DEVICE, PASSWORD, response=response)

    return DXF(host, repository, log_in, tlsverify=str(kernel_ca))


async def token_for(http: aiohttp.ClientSession, host: str, *scopes: str) -> str:
    """Sends what docker sends at login and pull."""
    query = [("service", host), *(("scope", scope) for scope in scopes)]
    url = f"https://{host}/acr/oauth2/token"
    async with http.get(url, params=query, headers=LOGIN) as response:
        assert response.status == 200
        return str((await response.json())["access_token"])


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def error_of(response: aiohttp.ClientResponse) -> tuple[int, str]:
    (error,) = (await response.json())["errors"]
    assert error.keys() == {"code", "message", "detail"}
    return response.status, error["code"]


async def test_a_client_pulls_by_tag_and_by_digest(host: str, kernel_ca: Path) -> None:
    hello = device_client(host, "hello-world", kernel_ca)
    gateway = device_client(host, "samples/sensors/gateway", kernel_ca)

    manifest, response = await asyncio.to_thread(hello.get_manifest_and_response, "latest")
    assert manifest.encode() == HELLO.manifest
    assert response.headers["Docker-Content-Digest"] == HELLO.digest
    assert response.headers["Content-Type"] == HELLO.media_type
    for digest, blob in HELLO.blobs.items():
        chunks = await asyncio.to_thread(hello.pull_blob, digest)
        assert await asyncio.to_thread(list, chunks) == [blob]  # dxf compares the digest
    digest, _ = await asyncio.to_thread(gateway.head_manifest_and_response, GATEWAY.digest)
    assert digest == GATEWAY.digest


async def test_login_succeeds_and_only_the_pull_is_refused(host: str, kernel_ca: Path) -> None:
    client = device_client(host, "secret", kernel_ca)

    with pytest.raises(DXFUnauthorizedError):
        await asyncio.to_thread(client.get_manifest, "latest")
    assert client.token is not None


@pytest.mark.parametrize("username", [DEVICE, "nobody", ""])
async def test_a_wrong_password_and_an_unknown_token_get_the_same_answer(
    host: str, http: aiohttp.ClientSession, username: str
) -> None:
    headers = basic(username, "sesame-7f3a")

    for path in ("/acr/oauth2/token", "/v2/", "/v2/secret/manifests/latest"):
        async with http.get(f"https://{host}{path}", headers=headers) as response:
            text = json.dumps(dict(response.headers)) + await response.text()
            error = (await response.json())["errors"][0]
        assert (response.status, error["message"]) == (401, "Incorrect Password")
        assert "sesame" not in text


async def test_a_challenge_names_realm_service_and_scope(
    host: str, http: aiohttp.ClientSession
) -> None:
    async with http.get(f"https://{host}/v2/hello-world/manifests/latest") as response:
        assert await error_of(response) == (401, "UNAUTHORIZED")

    assert response.headers["Docker-Distribution-Api-Version"] == "registry/2.0"
    assert response.headers["Www-Authenticate"] == (
        f'Bearer realm="https://{host}/acr/oauth2/token",service="{host}",'
        'scope="repository:hello-world:pull"'
    )


async def test_a_pull_without_the_scope_is_challenged_for_that_scope(
    host: str, http: aiohttp.ClientSession
) -> None:
    headers = bearer(await token_for(http, host, "repository:hello-world:pull"))

    url = f"https://{host}/v2/samples/sensors/gateway/manifests/1.0"
    async with http.get(url, headers=headers) as response:
        assert await error_of(response) == (401, "DENIED")

    scope = 'scope="repository:samples/sensors/gateway:pull",error="insufficient_scope"'
    assert scope in response.headers["Www-Authenticate"]


async def test_one_token_covers_several_scopes_in_either_notation(
    host: str, http: aiohttp.ClientSession
) -> None:
    hello, gateway = "repository:hello-world:pull", "repository:samples/sensors/gateway:pull"

    for scopes in ([hello, gateway], [f"{hello} {gateway}"]):
        headers = bearer(await token_for(http, host, *scopes))
        for path in ("hello-world/manifests/v1", "samples/sensors/gateway/manifests/1.0"):
            async with http.head(f"https://{host}/v2/{path}", headers=headers) as response:
                assert response.status == 200


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, None),
        ({"password": "wrong"}, (401, "UNAUTHORIZED")),
        ({"grant_type": "refresh_token"}, (400, "UNSUPPORTED")),
        ({"scope": "hello-world"}, (400, "UNSUPPORTED")),
    ],
)
async def test_a_token_is_issued_to_a_posted_form(
    host: str,
    http: aiohttp.ClientSession,
    change: dict[str, str],
    expected: tuple[int, str] | None,
) -> None:
    form = {
        "grant_type": "password",
        "username": DEVICE,
        "password": PASSWORD,
        "scope": "repository:hello-world:pull",
    }
    async with http.post(f"https://{host}/acr/oauth2/token", data=form | change) as response:
        if expected:
            assert await error_of(response) == expected
            return
        headers = bearer((await response.json())["access_token"])
    url = f"https://{host}/v2/hello-world/manifests/latest"
    async with http.get(url, headers=headers) as response:
        assert response.status == 200


@pytest.mark.parametrize("header", ["", "Basic !", "Basic bm8tY29sb24=", "Digest abc"])
async def test_a_request_without_credentials_gets_no_token(
    host: str, http: aiohttp.ClientSession, header: str
) -> None:
    headers = {"Authorization": header} if header else {}
    async with http.get(f"https://{host}/acr/oauth2/token", headers=headers) as response:
        assert await error_of(response) == (401, "UNAUTHORIZED")


async def test_a_bearer_token_outlives_its_password_until_it_expires(
    host: str, http: aiohttp.ClientSession, kernel: Kernel, backend: MemoryBackend
) -> None:
    headers = bearer(await token_for(http, host, "repository:hello-world:pull"))
    backend.tokens.clear()

    url = f"https://{host}/v2/hello-world/manifests/latest"
    kernel.clock.advance(timedelta(minutes=74))
    async with http.get(url, headers=headers) as response:
        assert response.status == 200
    kernel.clock.advance(timedelta(minutes=2))
    async with http.get(url, headers=headers) as response:
        assert await error_of(response) == (401, "UNAUTHORIZED")
    assert 'error="invalid_token"' in response.headers["Www-Authenticate"]


async def test_a_bearer_token_of_one_registry_is_refused_by_another(
    host: str, http: aiohttp.ClientSession, kernel: Kernel, backend: MemoryBackend
) -> None:
    headers = bearer(await token_for(http, host, "repository:hello-world:pull"))

    async with registry_listening(kernel, backend) as other:
        url = f"https://{other}/v2/hello-world/manifests/latest"
        async with http.get(url, headers=headers) as response:
            assert await error_of(response) == (401, "UNAUTHORIZED")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("secret/manifests/latest", (401, "DENIED")),
        ("hello-world/manifests/v99", (404, "MANIFEST_UNKNOWN")),
        ("not-synced/manifests/latest", (404, "MANIFEST_UNKNOWN")),
        (f"hello-world/manifests/{UNKNOWN_DIGEST}", (404, "MANIFEST_UNKNOWN")),
        (f"hello-world/blobs/{UNKNOWN_DIGEST}", (404, "BLOB_UNKNOWN")),
        (f"hello-world/blobs/{next(iter(GATEWAY.blobs))}", (404, "BLOB_UNKNOWN")),
        (f"not-synced/blobs/{A_BLOB}", (404, "NAME_UNKNOWN")),
        ("Hello-World/manifests/latest", (400, "NAME_INVALID")),
        (f"hello-world/referrers/{UNKNOWN_DIGEST}", (404, "NAME_UNKNOWN")),
    ],
)
async def test_a_pull_is_refused_with_the_code_of_the_protocol(
    host: str, http: aiohttp.ClientSession, path: str, expected: tuple[int, str]
) -> None:
    async with http.get(f"https://{host}/v2/{path}", headers=LOGIN) as response:
        assert await error_of(response) == expected


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "blobs/uploads/"),
        ("PATCH", "blobs/uploads/1"),
        ("PUT", "manifests/latest"),
        ("DELETE", "manifests/latest"),
    ],
)
async def test_a_push_is_refused_at_a_connected_registry_and_not_offered_by_the_cloud(
    host: str,
    http: aiohttp.ClientSession,
    kernel: Kernel,
    backend: MemoryBackend,
    method: str,
    path: str,
) -> None:
    url = f"https://{host}/v2/hello-world/{path}"
    async with http.request(method, url, data=b"x") as response:
        assert await error_of(response) == (401, "UNAUTHORIZED")
    async with http.request(method, url, headers=LOGIN, data=b"x") as response:
        assert await error_of(response) == (403, "DENIED")

    async with registry_listening(kernel, backend, token_path=CLOUD_TOKEN_PATH) as cloud:
        url = f"https://{cloud}/v2/hello-world/{path}"
        async with http.request(method, url, headers=LOGIN, data=b"x") as response:
            assert response.status in {404, 405}


async def test_calls_are_counted_and_faults_injected_by_operation(
    host: str, http: aiohttp.ClientSession, kernel: Kernel
) -> None:
    await token_for(http, host)
    manifest = f"https://{host}/v2/hello-world/manifests/latest"
    for url in (f"https://{host}/v2", f"https://{host}/v2/hello-world/blobs/{A_BLOB}", manifest):
        async with http.get(url, headers=LOGIN) as response:
            assert response.status == 200
    async with http.put(manifest, headers=LOGIN):
        pass
    operations = ("token", "base", "blobs.get", "manifests.get", "push")
    assert kernel.calls.counts() == {f"connectedRegistry.{name}": 1 for name in operations}

    fault = Fault("connectedRegistry.manifests.get", FaultKind.STATUS, status=429, retry_after="1")
    kernel.faults.add(fault)
    async with http.get(manifest, headers=LOGIN) as response:
        assert await error_of(response) == (429, "TOOMANYREQUESTS")
    kernel.faults.clear()
    assert response.headers["Retry-After"] == "1"
