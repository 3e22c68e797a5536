from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

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
MANIFEST = "/v2/hello-world/manifests/v1"


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


@dataclass(frozen=True)
class Registry:
    """A client of one registry, whose requests have Basic credentials unless told otherwise."""

    host: str
    session: aiohttp.ClientSession

    async def send(
        self,
        path: str,
        method: str = "GET",
        *,
        headers: Mapping[str, str] = LOGIN,
        host: str | None = None,
        form: Mapping[str, str] | None = None,
        query: Sequence[tuple[str, str]] = (),
    ) -> Answer:
        async with self.session.request(
            method, f"https://{host or self.host}{path}", headers=headers, data=form, params=query
        ) as answer:
            is_json = answer.content_type == "application/json"
            body = await answer.json() if is_json else None
            return Answer(answer.status, answer.headers, body)

    async def log_in(self, *scopes: str) -> dict[str, str]:
        """Sends what docker sends at login and pull, and returns the headers of a bearer token."""
        query = [("service", self.host), *(("scope", scope) for scope in scopes)]
        answer = await self.send("/acr/oauth2/token", query=query)
        assert answer.status == 200
        return bearer(answer.body["access_token"])


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: Any

    @property
    def error(self) -> tuple[int, str]:
        """Status and code of an error body."""
        (error,) = self.body["errors"]
        assert error.keys() == {"code", "message", "detail"}
        return self.status, error["code"]


@pytest.fixture
async def registry(kernel: Kernel, host: str) -> AsyncIterator[Registry]:
    connector = aiohttp.TCPConnector(ssl=kernel.certificates.client_context())
    async with aiohttp.ClientSession(connector=connector) as session:
        yield Registry(host, session)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def device_client(host: str, repository: str, ca: Path) -> DXF:
    def log_in(client: DXFBase, response: requests.Response) -> None:
        client.authenticate(DEVICE, PASSWORD, response=response)

    return DXF(host, repository, log_in, tlsverify=str(ca))


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
    registry: Registry, username: str
) -> None:
    for path in ("/acr/oauth2/token", "/v2/", "/v2/secret/manifests/latest"):
        answer = await registry.send(path, headers=basic(username, "sesame-7f3a"))
        error = answer.body["errors"][0]
        assert (answer.status, error["message"]) == (401, "Incorrect Password")
        assert "sesame" not in f"{answer.headers} {answer.body}"


async def test_a_challenge_names_realm_service_and_scope(registry: Registry) -> None:
    answer = await registry.send(MANIFEST, headers={})
    assert answer.error == (401, "UNAUTHORIZED")
    assert answer.headers["Docker-Distribution-Api-Version"] == "registry/2.0"
    assert answer.headers["Www-Authenticate"] == (
        f'Bearer realm="https://{registry.host}/acr/oauth2/token",service="{registry.host}",'
        'scope="repository:hello-world:pull"'
    )


async def test_a_pull_without_the_scope_is_challenged_for_that_scope(registry: Registry) -> None:
    headers = await registry.log_in("repository:hello-world:pull")
    answer = await registry.send("/v2/samples/sensors/gateway/manifests/1.0", headers=headers)
    assert answer.error == (401, "DENIED")
    scope = 'scope="repository:samples/sensors/gateway:pull",error="insufficient_scope"'
    assert scope in answer.headers["Www-Authenticate"]


async def test_one_token_covers_several_scopes_in_either_notation(registry: Registry) -> None:
    hello, gateway = "repository:hello-world:pull", "repository:samples/sensors/gateway:pull"
    for scopes in ([hello, gateway], [f"{hello} {gateway}"]):
        headers = await registry.log_in(*scopes)
        for path in (MANIFEST, "/v2/samples/sensors/gateway/manifests/1.0"):
            assert (await registry.send(path, "HEAD", headers=headers)).status == 200


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
    registry: Registry, change: dict[str, str], expected: tuple[int, str] | None
) -> None:
    form = {
        "grant_type": "password",
        "username": DEVICE,
        "password": PASSWORD,
        "scope": "repository:hello-world:pull",
    }
    answer = await registry.send("/acr/oauth2/token", "POST", headers={}, form=form | change)
    if expected:
        assert answer.error == expected
    else:
        headers = bearer(answer.body["access_token"])
        assert (await registry.send(MANIFEST, headers=headers)).status == 200


@pytest.mark.parametrize("header", ["", "Basic !", "Basic bm8tY29sb24=", "Digest abc"])
async def test_a_request_without_credentials_gets_no_token(registry: Registry, header: str) -> None:
    headers = {"Authorization": header} if header else {}
    answer = await registry.send("/acr/oauth2/token", headers=headers)
    assert answer.error == (401, "UNAUTHORIZED")


async def test_a_bearer_token_outlives_its_password_until_it_expires(
    registry: Registry, kernel: Kernel, backend: MemoryBackend
) -> None:
    headers = await registry.log_in("repository:hello-world:pull")
    backend.tokens.clear()
    kernel.clock.advance(timedelta(minutes=74))
    assert (await registry.send(MANIFEST, headers=headers)).status == 200
    kernel.clock.advance(timedelta(minutes=2))
    answer = await registry.send(MANIFEST, headers=headers)
    assert answer.error == (401, "UNAUTHORIZED")
    assert 'error="invalid_token"' in answer.headers["Www-Authenticate"]


async def test_a_bearer_token_of_one_registry_is_refused_by_another(
    registry: Registry, kernel: Kernel, backend: MemoryBackend
) -> None:
    headers = await registry.log_in("repository:hello-world:pull")
    async with registry_listening(kernel, backend) as other:
        answer = await registry.send(MANIFEST, headers=headers, host=other)
    assert answer.error == (401, "UNAUTHORIZED")


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
    registry: Registry, path: str, expected: tuple[int, str]
) -> None:
    assert (await registry.send(f"/v2/{path}")).error == expected


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
    registry: Registry, kernel: Kernel, backend: MemoryBackend, method: str, path: str
) -> None:
    path = f"/v2/hello-world/{path}"
    assert (await registry.send(path, method, headers={})).error == (401, "UNAUTHORIZED")
    assert (await registry.send(path, method)).error == (403, "DENIED")
    async with registry_listening(kernel, backend, token_path=CLOUD_TOKEN_PATH) as cloud:
        assert (await registry.send(path, method, host=cloud)).status in {404, 405}


async def test_calls_are_counted_and_faults_injected_by_operation(
    registry: Registry, kernel: Kernel
) -> None:
    await registry.log_in()
    for path in ("/v2", f"/v2/hello-world/blobs/{A_BLOB}", MANIFEST):
        assert (await registry.send(path)).status == 200
    await registry.send(MANIFEST, "PUT")
    operations = ("token", "base", "blobs.get", "manifests.get", "push")
    assert kernel.calls.counts() == {f"connectedRegistry.{name}": 1 for name in operations}

    operation = "connectedRegistry.manifests.get"
    kernel.faults.add(Fault(operation, FaultKind.STATUS, status=429, retry_after="1"))
    answer = await registry.send(MANIFEST)
    assert answer.error == (429, "TOOMANYREQUESTS")
    assert answer.headers["Retry-After"] == "1"
