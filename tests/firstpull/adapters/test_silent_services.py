"""Services that take a connection and never answer: real sockets, and the SDKs' own clients."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Awaitable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Self

import pytest
from azure.core.credentials import AccessToken
from azure.identity import DefaultAzureCredential

from firstpull.adapters import timeouts
from firstpull.adapters.container_registry import ContainerRegistryAdapter, client_factory
from firstpull.adapters.iot_hub import FixedAudience, IotHubAdapter
from firstpull.adapters.key_vault import KeyVaultAdapter
from firstpull.adapters.storage import (
    BlobLedgers,
    BlobLocks,
    QueueWork,
    StorageServices,
    TableRecords,
    account,
)
from firstpull.model.clock import ServiceClock, SystemClock
from firstpull.model.device_key import DeviceKey
from firstpull.model.errors import Transient
from firstpull.model.ports import Query
from firstpull.model.reasons import Reason
from tests.firstpull.harness import PLANT_ONE, REGISTRY

_MOST_SECONDS = 60.0
"""For every call together; without timeouts of their own, listings take minutes."""
DEVICE = DeviceKey(hub="hub.example", device_id="press-1")


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a listener that accepts connections, reads nothing and writes nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=200) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture(autouse=True)
def _short_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    for options in (timeouts.SOCKET, timeouts.IDENTITY):
        for name in ("connection_timeout", "read_timeout"):
            monkeypatch.setitem(options, name, 0.1)
    for options in (account._TABLE_RETRY, account._RETRY):
        monkeypatch.setitem(options, "retry_total", 0)


class Token:
    """A credential that has a bearer token."""

    async def get_token(self, *_scopes: str, **_options: Any) -> AccessToken:  # noqa: ANN401 - the SDK's
        return AccessToken("a token", int(time.time()) + 3600)

    async def close(self) -> None:
        """Nothing is open."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return


class SynchronousToken:
    """The same for a synchronous SDK."""

    def get_token(self, *_scopes: str, **_options: Any) -> AccessToken:  # noqa: ANN401 - the SDK's
        return AccessToken("a token", int(time.time()) + 3600)


@pytest.mark.slow
async def test_every_service_that_is_silent_is_given_up_on(silent: str) -> None:
    clock = ServiceClock(SystemClock())
    names = ("Blob", "Queue", "Table")
    endpoints = "".join(f"{name}Endpoint=http://{silent}/a;" for name in names)
    storage = StorageServices.from_connection_string(
        f"DefaultEndpointsProtocol=http;AccountName=a;AccountKey=YWFh;{endpoints}", clock=clock
    )
    url = f"https://{silent}"
    vault = KeyVaultAdapter(url, Token())
    registries = ContainerRegistryAdapter(client_factory(Token(), endpoint=url, audience=url))
    calls: list[Awaitable[object]] = [
        storage.prepare(),
        TableRecords(storage).get(DEVICE),
        TableRecords(storage).page(Query()),
        BlobLedgers(storage).get(PLANT_ONE),
        BlobLocks(storage, clock).acquire(PLANT_ONE),
        QueueWork(storage).put(DEVICE),
        vault.versions("a-secret"),
        vault.list_secrets(),
        registries.get_token(REGISTRY, "a-token"),
        registries.list_tokens(REGISTRY),
        registries.list_connected_registries(REGISTRY),
    ]
    begun = time.monotonic()
    ends = await asyncio.gather(*calls, return_exceptions=True)
    assert time.monotonic() - begun < _MOST_SECONDS
    reasons = [end.reason if isinstance(end, Transient) else end for end in ends]
    assert reasons == [Reason.SERVICE_UNAVAILABLE] * len(calls)
    for client in (storage, vault, registries):
        await client.close()


async def test_no_thread_waits_long_for_an_identity_endpoint_that_is_silent(
    silent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"http://{silent}/msi")
    monkeypatch.setenv("IDENTITY_HEADER", "a header")
    credential = DefaultAzureCredential(managed_identity_client_id="an id", **timeouts.IDENTITY)
    hubs = IotHubAdapter(FixedAudience(credential, "https://iothubs.azure.net"), SystemClock())
    begun = time.monotonic()
    ends = await asyncio.gather(*(hubs.twin(DEVICE) for _ in range(4)), return_exceptions=True)
    assert all(isinstance(end, Transient) for end in ends), ends
    for line in hubs._lines.values():
        await asyncio.to_thread(line.threads.shutdown)  # waits until every thread has ended
    assert time.monotonic() - begun < _MOST_SECONDS


async def test_no_thread_waits_long_for_a_hub_that_is_silent(silent: str) -> None:
    hubs = IotHubAdapter(SynchronousToken(), SystemClock())
    device = DeviceKey(hub=silent, device_id="press-1")
    begun = time.monotonic()
    with pytest.raises(Transient):
        await hubs.patch_desired(device, {}, etag="t1", deadline_seconds=0.2)
    for line in hubs._lines.values():
        await asyncio.to_thread(line.threads.shutdown)
    assert time.monotonic() - begun < _MOST_SECONDS


@contextmanager
def _no_answer_from_dns() -> Iterator[None]:
    """No DNS server answers for a name that ends in `.unresolved`, while the block runs."""
    real, is_over = socket.getaddrinfo, threading.Event()

    def look_up(host: Any, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - of getaddrinfo
        if str(host).endswith(".unresolved"):
            is_over.wait()
            raise socket.gaierror
        return real(host, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", look_up)
        try:
            yield
        finally:
            is_over.set()


@pytest.mark.asyncio(loop_scope="function")  # with threads of its own
async def test_a_deadline_ends_calls_that_wait_for_dns_and_others_have_threads_left() -> None:
    """Names are looked up in threads, of which a loop has five on one processor."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(5))
    vault = KeyVaultAdapter("https://vault.unresolved", Token())
    arm = "https://arm.unresolved"
    registries = ContainerRegistryAdapter(client_factory(Token(), endpoint=arm, audience=arm))
    hubs = IotHubAdapter(SynchronousToken(), SystemClock())
    device = DeviceKey(hub="hub.unresolved", device_id="press-1")

    async def call(name: str) -> None:
        async with asyncio.timeout(0.3):
            match name:
                case "vault":
                    await vault.list_secrets()
                case "registries":
                    await registries.list_tokens(REGISTRY)
                case "hubs":
                    await hubs.twin(device)

    with _no_answer_from_dns():
        async with asyncio.timeout(_MOST_SECONDS):
            calls = asyncio.gather(
                *map(call, 8 * ["vault", "registries", "hubs"]), return_exceptions=True
            )
            assert await asyncio.to_thread(lambda: "a neighbour") == "a neighbour"
            ends = await calls
            assert await asyncio.to_thread(lambda: "a neighbour") == "a neighbour"
    assert all(isinstance(end, TimeoutError | Transient) for end in ends), ends
    for client in (vault, registries, hubs):
        await client.close()
