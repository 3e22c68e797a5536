from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
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

from .loopback_registry import DEVICE, GATEWAY, HELLO, PASSWORD, Shelf, listening


def basic(username: str, password: str) -> dict[str, str]:
    return {"Authorization": aiohttp.encode_basic_auth(username, password)}


LOGIN = basic(DEVICE, PASSWORD)


@pytest.fixture(scope="module")
def kernel() -> Kernel:
    return Kernel.create(seed=1, addresses=("127.0.0.1",))


@pytest.fixture(scope="module")
def ca_file(kernel: Kernel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    path.write_text(kernel.certificates.ca_pem)
    return path


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
async def host(kernel: Kernel, shelf: Shelf) -> AsyncIterator[str]:
    kernel.calls.reset()
    async with listening(kernel, shelf) as host:
        yield host


@pytest.fixture
async def http(kernel: Kernel) -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(ssl=kernel.certificates.client_context())
    async with aiohttp.ClientSession(connector=connector) as session:
        yield session


def log_in_as(username: str, password: str) -> Callable[[DXFBase, requests.Response], None]:
    def authenticate(client: DXFBase, response: requests.Response) -> None:
        client.authenticate(username, password, response=response)

    return authenticate


def device_client(host: str, repository: str, ca_file: Path, *, password: str = PASSWORD) -> DXF:
    return DXF(host, repository, log_in_as(DEVICE, password), tlsverify=str(ca_file))


async def token_for(http: aiohttp.ClientSession, host: str, *scopes: str) -> str:
    """What docker sends when it is told to log in and pull."""
    query = [
        ("account", DEVICE),
        ("client_id", "docker"),
        ("offline_token", "true"),
        ("service", host),
        *(("scope", scope) for scope in scopes),
    ]
    url = f"https://{host}/acr/oauth2/token"
    async with http.get(url, params=query, headers=LOGIN) as response:
        assert response.status == 200
        answer: dict[str, Any] = await response.json()
    assert answer["token"] == answer["access_token"]
    assert answer["expires_in"] == 75 * 60
    return str(answer["access_token"])


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def error_of(response: aiohttp.ClientResponse) -> tuple[int, str]:
    body = await response.json()
    (error,) = body["errors"]
    assert error.keys() == {"code", "message", "detail"}
    return response.status, error["code"]


async def test_a_device_pulls_what_its_token_may_read(host: str, ca_file: Path) -> None:
    client = device_client(host, "hello-world", ca_file)

    manifest, response = await asyncio.to_thread(client.get_manifest_and_response, "latest")
    assert manifest.encode() == HELLO.manifest
    assert response.headers["Docker-Content-Digest"] == HELLO.digest
    assert response.headers["Content-Type"] == HELLO.media_type
    for digest, blob in HELLO.blobs.items():
        chunks, size = await asyncio.to_thread(client.pull_blob, digest, size=True)
        assert size == len(blob)
        assert await asyncio.to_thread(list, chunks) == [blob]  # dxf compares the digest


async def test_a_repository_below_a_wildcard_is_pulled_by_digest(host: str, ca_file: Path) -> None:
    client = device_client(host, "samples/sensors/gateway", ca_file)

    digest, response = await asyncio.to_thread(client.head_manifest_and_response, GATEWAY.digest)

    assert digest == GATEWAY.digest
    assert int(response.headers["Content-Length"]) == len(GATEWAY.manifest)
    assert await asyncio.to_thread(client.get_manifest, GATEWAY.digest) is not None


async def test_a_wrong_password_gets_no_token(host: str, ca_file: Path) -> None:
    client = device_client(host, "hello-world", ca_file, password="wrong")  # noqa: S106

    with pytest.raises(DXFUnauthorizedError):
        await asyncio.to_thread(client.get_manifest, "latest")


@pytest.mark.parametrize("username", [DEVICE, "nobody", ""])
async def test_azure_does_not_tell_a_wrong_password_from_an_unknown_token(
    host: str, http: aiohttp.ClientSession, username: str
) -> None:
    wrong = basic(username, "wrong")

    for path in ("/acr/oauth2/token", "/v2/"):
        async with http.get(f"https://{host}{path}", headers=wrong) as response:
            body = await response.json()
        assert response.status == 401
        assert body["errors"][0]["message"] == "Incorrect Password"


async def test_a_repository_that_the_token_may_not_read_is_refused_at_the_pull(
    host: str, ca_file: Path
) -> None:
    client = device_client(host, "secret", ca_file)

    with pytest.raises(DXFUnauthorizedError):
        await asyncio.to_thread(client.get_manifest, "latest")
    assert client.token is not None  # the login itself went well


@pytest.mark.parametrize("repository", ["hello-world", "not-synced"])
async def test_an_unknown_tag_and_an_unknown_repository_are_unknown_manifests(
    host: str, ca_file: Path, repository: str
) -> None:
    client = device_client(host, repository, ca_file)

    with pytest.raises(requests.HTTPError) as refused:
        await asyncio.to_thread(client.get_manifest, "v99")

    assert refused.value.response is not None
    error = refused.value.response.json()["errors"][0]
    assert refused.value.response.status_code == 404
    assert error == {
        "code": "MANIFEST_UNKNOWN",
        "message": 'manifest tagged by "v99" is not found',
        "detail": {"Tag": "v99"},
    }


async def test_tags_are_listed_page_by_page(host: str, ca_file: Path) -> None:
    client = device_client(host, "hello-world", ca_file)

    pages = await asyncio.to_thread(client.list_aliases, batch_size=2)

    assert pages == ["latest", "v1", "v2"]


async def test_reading_content_does_not_include_listing_tags(host: str, ca_file: Path) -> None:
    client = device_client(host, "samples/sensors/gateway", ca_file)

    with pytest.raises(DXFUnauthorizedError):
        await asyncio.to_thread(client.list_aliases)


async def test_the_catalog_of_a_connected_registry_lists_what_a_token_may_list(
    host: str, ca_file: Path
) -> None:
    client = DXFBase(host, log_in_as(DEVICE, PASSWORD), tlsverify=str(ca_file))

    assert await asyncio.to_thread(client.list_repos, batch_size=1) == ["hello-world"]


async def test_the_catalog_of_the_cloud_is_refused_to_who_may_not_list_everything(
    kernel: Kernel, shelf: Shelf, ca_file: Path
) -> None:
    shelf.tokens["admin", PASSWORD] = frozenset({"repositories/*/metadata/read"})

    async with listening(kernel, shelf, token_path=CLOUD_TOKEN_PATH) as host:
        admin = DXFBase(host, log_in_as("admin", PASSWORD), tlsverify=str(ca_file))
        everything = await asyncio.to_thread(admin.list_repos, batch_size=2)
        device = DXFBase(host, log_in_as(DEVICE, PASSWORD), tlsverify=str(ca_file))
        with pytest.raises(DXFUnauthorizedError):
            await asyncio.to_thread(device.list_repos)

    assert everything == ["hello-world", "samples/sensors/gateway", "secret"]


async def test_a_challenge_names_realm_service_and_scope(
    host: str, http: aiohttp.ClientSession
) -> None:
    url = f"https://{host}/v2/hello-world/manifests/latest"
    async with http.get(url) as response:
        assert await error_of(response) == (401, "UNAUTHORIZED")

    assert response.headers["Docker-Distribution-Api-Version"] == "registry/2.0"
    assert response.headers["Www-Authenticate"] == (
        f'Bearer realm="https://{host}/acr/oauth2/token",service="{host}",'
        'scope="repository:hello-world:pull"'
    )


async def test_a_challenge_behind_a_proxy_names_the_address_that_the_client_used(
    host: str, http: aiohttp.ClientSession
) -> None:
    forwarded = {"X-Forwarded-Host": "site.example:8000", "X-Forwarded-Proto": "http"}
    async with http.get(f"https://{host}/v2/", headers=forwarded) as response:
        challenge = response.headers["Www-Authenticate"]

    assert challenge == (
        'Bearer realm="http://site.example:8000/acr/oauth2/token",service="site.example:8000"'
    )


async def test_a_forwarded_host_cannot_add_to_the_challenge(
    host: str, http: aiohttp.ClientSession
) -> None:
    forwarded = {"X-Forwarded-Host": 'a",scope="x', "X-Forwarded-Proto": "gopher"}
    async with http.get(f"https://{host}/v2/", headers=forwarded) as response:
        challenge = response.headers["Www-Authenticate"]

    assert challenge == f'Bearer realm="https://{host}/acr/oauth2/token",service="{host}"'


async def test_a_pull_without_the_scope_says_so_to_clients_that_can_ask_again(
    host: str, http: aiohttp.ClientSession
) -> None:
    token = await token_for(http, host, "repository:secret:pull")

    url = f"https://{host}/v2/secret/manifests/latest"
    async with http.get(url, headers=bearer(token)) as response:
        assert await error_of(response) == (401, "DENIED")

    challenge = response.headers["Www-Authenticate"]
    assert 'scope="repository:secret:pull",error="insufficient_scope"' in challenge
    assert "Insufficient scopes to perform the operation" in challenge


async def test_one_token_is_asked_for_several_scopes_in_either_notation(
    host: str, http: aiohttp.ClientSession
) -> None:
    hello, gateway = "repository:hello-world:pull", "repository:samples/sensors/gateway:pull"

    for scopes in ([hello, gateway], [f"{hello} {gateway}"]):
        token = await token_for(http, host, *scopes)
        for name, tag in (("hello-world", "v1"), ("samples/sensors/gateway", "1.0")):
            url = f"https://{host}/v2/{name}/manifests/{tag}"
            async with http.head(url, headers=bearer(token)) as response:
                assert response.status == 200


async def test_a_token_for_one_repository_does_not_open_another(
    host: str, http: aiohttp.ClientSession
) -> None:
    token = await token_for(http, host, "repository:hello-world:pull")

    url = f"https://{host}/v2/samples/sensors/gateway/manifests/1.0"
    async with http.get(url, headers=bearer(token)) as response:
        assert await error_of(response) == (401, "DENIED")


async def test_a_token_is_issued_to_a_posted_form(host: str, http: aiohttp.ClientSession) -> None:
    form = {
        "grant_type": "password",
        "service": host,
        "client_id": "containerd-client",
        "username": DEVICE,
        "password": PASSWORD,
        "scope": "repository:hello-world:pull",
    }
    async with http.post(f"https://{host}/acr/oauth2/token", data=form) as response:
        token = (await response.json())["access_token"]

    url = f"https://{host}/v2/hello-world/manifests/latest"
    async with http.get(url, headers=bearer(token)) as response:
        assert response.status == 200


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"password": "wrong"}, (401, "UNAUTHORIZED")),
        ({"grant_type": "refresh_token"}, (400, "UNSUPPORTED")),
        ({"scope": "hello-world"}, (400, "UNSUPPORTED")),
    ],
)
async def test_a_posted_form_that_cannot_be_answered_is_refused(
    host: str,
    http: aiohttp.ClientSession,
    change: dict[str, str],
    expected: tuple[int, str],
) -> None:
    form = {"grant_type": "password", "username": DEVICE, "password": PASSWORD, "scope": ""}
    async with http.post(f"https://{host}/acr/oauth2/token", data=form | change) as response:
        assert await error_of(response) == expected


@pytest.mark.parametrize("header", ["", "Basic !", "Basic bm8tY29sb24=", "Digest abc"])
async def test_nobody_gets_no_token(host: str, http: aiohttp.ClientSession, header: str) -> None:
    headers = {"Authorization": header} if header else {}
    url = f"https://{host}/acr/oauth2/token"
    async with http.get(url, headers=headers) as response:
        assert await error_of(response) == (401, "UNAUTHORIZED")


async def test_basic_credentials_are_taken_without_a_token(
    host: str, http: aiohttp.ClientSession
) -> None:
    async with http.get(f"https://{host}/v2/hello-world/tags/list", headers=LOGIN) as response:
        assert await response.json() == {"name": "hello-world", "tags": ["latest", "v1", "v2"]}
    async with http.get(f"https://{host}/v2/secret/manifests/latest", headers=LOGIN) as response:
        assert await error_of(response) == (401, "DENIED")


async def test_a_token_works_until_it_expires_even_if_the_password_goes(
    host: str, http: aiohttp.ClientSession, kernel: Kernel, shelf: Shelf
) -> None:
    token = await token_for(http, host, "repository:hello-world:pull")
    shelf.tokens.clear()

    url = f"https://{host}/v2/hello-world/manifests/latest"
    kernel.clock.advance(timedelta(minutes=74))
    async with http.get(url, headers=bearer(token)) as response:
        assert response.status == 200
    kernel.clock.advance(timedelta(minutes=2))
    async with http.get(url, headers=bearer(token)) as response:
        assert await error_of(response) == (401, "UNAUTHORIZED")
    assert 'error="invalid_token"' in response.headers["Www-Authenticate"]


async def test_a_token_of_one_registry_is_refused_by_another(
    host: str, http: aiohttp.ClientSession, kernel: Kernel, shelf: Shelf
) -> None:
    token = await token_for(http, host, "repository:hello-world:pull")

    async with listening(kernel, shelf) as other:
        url = f"https://{other}/v2/hello-world/manifests/latest"
        async with http.get(url, headers=bearer(token)) as response:
            assert await error_of(response) == (401, "UNAUTHORIZED")


@pytest.mark.parametrize(
    ("wanted", "status", "part", "content_range"),
    [
        ("bytes=0-9", 206, slice(0, 10), "bytes 0-9/{size}"),
        ("bytes=10-", 206, slice(10, None), "bytes 10-{last}/{size}"),
        ("bytes=-4", 206, slice(-4, None), "bytes {tail}-{last}/{size}"),
        ("bytes=999999-", 416, slice(0, 0), "bytes */{size}"),
        ("lines=1-2", 200, slice(None), None),
    ],
)
async def test_a_pull_is_resumed_by_range(
    host: str,
    http: aiohttp.ClientSession,
    wanted: str,
    status: int,
    part: slice,
    content_range: str | None,
) -> None:
    digest, blob = next(iter(HELLO.blobs.items()))
    url = f"https://{host}/v2/hello-world/blobs/{digest}"
    async with http.get(url, headers=LOGIN | {"Range": wanted}) as response:
        body = await response.read()

    size = len(blob)
    expected = content_range and content_range.format(size=size, last=size - 1, tail=size - 4)
    assert (response.status, body) == (status, blob[part])
    assert response.headers.get("Content-Range") == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("hello-world/blobs/sha256:" + "0" * 64, (404, "BLOB_UNKNOWN")),
        ("hello-world/manifests/sha256:" + "0" * 64, (404, "MANIFEST_UNKNOWN")),
        ("not-synced/blobs/" + next(iter(HELLO.blobs)), (404, "NAME_UNKNOWN")),
        ("Hello-World/manifests/latest", (400, "NAME_INVALID")),
        ("hello-world/tags/list?n=many", (400, "PAGINATION_NUMBER_INVALID")),
        ("hello-world/referrers/sha256:" + "0" * 64, (404, "NAME_UNKNOWN")),
    ],
)
async def test_what_is_not_there_is_refused_in_the_words_of_the_protocol(
    host: str, http: aiohttp.ClientSession, path: str, expected: tuple[int, str]
) -> None:
    async with http.get(f"https://{host}/v2/{path}", headers=LOGIN) as response:
        assert await error_of(response) == expected


async def test_a_blob_of_another_repository_is_not_served(
    host: str, http: aiohttp.ClientSession, shelf: Shelf
) -> None:
    shelf.images["hello-world"] = {"latest": HELLO}
    foreign = next(iter(GATEWAY.blobs))

    url = f"https://{host}/v2/hello-world/blobs/{foreign}"
    async with http.get(url, headers=LOGIN) as response:
        assert await error_of(response) == (404, "BLOB_UNKNOWN")


PUSHES = [
    ("POST", "blobs/uploads/"),
    ("PATCH", "blobs/uploads/1"),
    ("PUT", "manifests/latest"),
    ("DELETE", "manifests/latest"),
]


@pytest.mark.parametrize(("method", "path"), PUSHES)
async def test_a_read_only_registry_refuses_every_push(
    host: str, http: aiohttp.ClientSession, method: str, path: str
) -> None:
    url = f"https://{host}/v2/hello-world/{path}"
    async with http.request(method, url, headers=LOGIN, data=b"x") as response:
        body = await response.json()

    assert response.status == 403
    assert body["errors"][0]["code"] == "DENIED"
    assert body["errors"][0]["message"] == "This operation is not allowed on this registry."


@pytest.mark.parametrize(("method", "path"), PUSHES)
async def test_a_push_to_the_cloud_is_not_offered_and_denied_to_who_may_not(
    http: aiohttp.ClientSession, kernel: Kernel, shelf: Shelf, method: str, path: str
) -> None:
    shelf.read_only = False
    writer = frozenset({"repositories/*/content/write", "repositories/*/content/delete"})
    shelf.tokens["writer", PASSWORD] = writer

    async with listening(kernel, shelf, token_path=CLOUD_TOKEN_PATH) as host:
        url = f"https://{host}/v2/hello-world/{path}"
        async with http.request(method, url, data=b"x") as response:
            assert await error_of(response) == (401, "UNAUTHORIZED")
        async with http.request(method, url, headers=LOGIN, data=b"x") as response:
            assert await error_of(response) == (401, "DENIED")
        login = basic("writer", PASSWORD)
        async with http.request(method, url, headers=login, data=b"x") as response:
            assert await error_of(response) == (405, "UNSUPPORTED")


async def test_calls_are_counted_by_operation(
    host: str, http: aiohttp.ClientSession, kernel: Kernel
) -> None:
    digest = next(iter(HELLO.blobs))
    await token_for(http, host)
    for path in (
        "/v2",
        "/v2/",
        "/v2/_catalog",
        "/v2/hello-world/tags/list",
        "/v2/hello-world/manifests/latest",
        f"/v2/hello-world/blobs/{digest}",
    ):
        async with http.get(f"https://{host}{path}", headers=LOGIN) as response:
            assert response.status == 200
    async with http.put(f"https://{host}/v2/hello-world/manifests/v3", headers=LOGIN) as response:
        assert response.status == 403

    assert kernel.calls.counts() == {
        "connectedRegistry.base": 2,
        "connectedRegistry.blobs.get": 1,
        "connectedRegistry.catalog": 1,
        "connectedRegistry.manifests.get": 1,
        "connectedRegistry.push": 1,
        "connectedRegistry.tags.list": 1,
        "connectedRegistry.token": 1,
    }


async def test_a_fault_rule_refuses_in_the_words_of_the_protocol(
    host: str, http: aiohttp.ClientSession, kernel: Kernel
) -> None:
    kernel.faults.add(
        Fault(
            "connectedRegistry.manifests.get",
            FaultKind.STATUS,
            status=429,
            retry_after="1",
        )
    )
    url = f"https://{host}/v2/hello-world/manifests/latest"
    async with http.get(url, headers=LOGIN) as response:
        assert await error_of(response) == (429, "TOOMANYREQUESTS")
    kernel.faults.clear()

    assert response.headers["Retry-After"] == "1"


async def test_no_refusal_repeats_a_password(host: str, http: aiohttp.ClientSession) -> None:
    wrong = basic(DEVICE, "sesame-7f3a")

    for path in ("/acr/oauth2/token", "/v2/", "/v2/secret/manifests/latest"):
        async with http.get(f"https://{host}{path}", headers=wrong) as response:
            answer = json.dumps(dict(response.headers)) + await response.text()
        assert response.status == 401
        assert "sesame" not in answer
