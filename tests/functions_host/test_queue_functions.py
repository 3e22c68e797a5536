from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Self, cast

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from azure.core.exceptions import ResourceNotFoundError, ServiceRequestError
from azure.storage.queue.aio import QueueClient, QueueServiceClient

from local_azure.functions_host import queue_listener
from local_azure.functions_host.host_json import QueueOptions
from local_azure.functions_host.invocations import Invoker, RunningTasks
from local_azure.functions_host.protos import TypedData
from local_azure.functions_host.queue_listener import QueueListener
from local_azure.functions_host.queue_messages import messages
from local_azure.functions_host.worker import Failed, Function, Succeeded
from local_azure.kernel import Kernel

from .hosts import RunningHost, Storage, host_running, take

FUNCTION = Function(name="work", id="1", bindings=(), has_retry_policy=False)
QUICK = QueueOptions.model_validate({"maxPollingInterval": timedelta(milliseconds=100)})


@pytest.fixture(scope="module")
async def queues(storage: Storage) -> AsyncIterator[QueueServiceClient]:
    async with storage.queues() as service:
        yield service


@pytest.fixture(scope="module")
async def host(storage: Storage) -> AsyncIterator[RunningHost]:
    settings = {
        "ORDERS_QUEUE": "orders",
        "Orders": storage.endpoints.connection_string,
        "SSL_CERT_FILE": storage.ca_file,
    }
    async with host_running("queues", settings) as running:
        yield running


async def send(queue: QueueClient, text: str) -> None:
    encoded = base64.b64encode(text.encode()).decode()
    for _ in range(200):
        try:
            await queue.send_message(encoded)
        except ResourceNotFoundError:  # the host makes its queues as it starts
            await asyncio.sleep(0.02)
        else:
            return
    pytest.fail(f"{queue.queue_name} was not made")


@pytest.mark.usefixtures("host")
async def test_a_message_runs_its_function_once_and_is_deleted(
    queues: QueueServiceClient,
) -> None:
    orders = queues.get_queue_client("orders")
    await send(orders, "größe 1")
    seen = json.loads(await take(queues.get_queue_client("orders-seen")))
    assert seen["content"] == "größe 1"
    assert seen["attempts"] == 1
    assert seen["hidden_seconds"] == pytest.approx(600, abs=5)
    assert (seen["expires"], seen["receipt"], bool(seen["id"])) == (True, True, True)
    await no_message_left(orders)


@pytest.mark.usefixtures("host")
async def test_a_message_that_fails_three_times_moves_to_the_poison_queue(
    queues: QueueServiceClient,
) -> None:
    orders = queues.get_queue_client("orders")
    await send(orders, "fail please")
    assert await take(queues.get_queue_client("orders-poison")) == "fail please"
    await no_message_left(orders)


@pytest.mark.usefixtures("host")
async def test_a_message_that_is_no_base64_moves_to_the_poison_queue_as_it_is(
    queues: QueueServiceClient,
) -> None:
    await queues.get_queue_client("orders").send_message("{plain text}")
    poison = queues.get_queue_client("orders-poison")
    assert await take(poison, decoded=False) == "{plain text}"


async def test_a_list_set_as_output_becomes_one_message_each_and_a_return_value_one(
    host: RunningHost, queues: QueueServiceClient
) -> None:
    async with (
        aiohttp.ClientSession() as client,
        client.post(host.url("/api/many"), json=["a", "b"]) as response,
    ):
        assert response.status == 202
    seen = queues.get_queue_client("orders-seen")
    assert {await take(seen), await take(seen)} == {"forwarded a", "forwarded b"}


@pytest.mark.parametrize(
    ("value", "texts"),
    [
        (TypedData(string="ä"), ["ä"]),
        (TypedData(bytes=b"a"), ["a"]),
        (TypedData(json='["a", {"b": 1}]'), ["a", '{"b": 1}']),
        (TypedData(json='{"b": 1}'), ['{"b": 1}']),
        (TypedData(json="[]"), []),
        (TypedData(json="null"), []),
    ],
)
def test_what_an_output_value_writes(value: TypedData, texts: list[str]) -> None:
    assert messages(value) == [text.encode() for text in texts]


class ScriptedInvoker:
    """Stands for the app: does what it is told, and remembers the messages."""

    def __init__(self, *results: Succeeded | Failed, seconds: float = 0.0) -> None:
        self._results = list(results)
        self._seconds = seconds
        self.attempts: list[int] = []
        self.most_at_once = 0
        self._at_once = 0

    async def invoke(
        self, _function: Function, _data: TypedData, metadata: Mapping[str, TypedData]
    ) -> Succeeded | Failed:
        self.attempts.append(json.loads(metadata["DequeueCount"].json or ""))
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        await asyncio.sleep(self._seconds)
        self._at_once -= 1
        return self._results.pop(0) if self._results else Succeeded({})


class Listening:
    """A listener at work within the test's own process."""

    def __init__(
        self,
        service: QueueServiceClient,
        name: str,
        invoker: ScriptedInvoker,
        options: QueueOptions = QUICK,
    ) -> None:
        self.queue = service.get_queue_client(name)
        self.running = RunningTasks()
        self._stopping = asyncio.Event()
        self._listener = QueueListener(
            function=FUNCTION,
            queue_name=name,
            service=service,
            options=options,
            invoker=cast("Invoker", invoker),
            running=self.running,
            random=Random(1),  # noqa: S311 - chance, not secrets
        )

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._listener.run(self._stopping))
        return self

    async def __aexit__(self, *_exception: object) -> None:
        self._stopping.set()
        await self._task
        assert await self.running.drain(10)


async def until(holds: Callable[[], bool]) -> None:
    for _ in range(500):
        if holds():
            return
        await asyncio.sleep(0.02)
    pytest.fail("it did not come about")


async def no_message_left(queue: QueueClient) -> None:
    for _ in range(200):
        properties = await queue.get_queue_properties()
        if properties.approximate_message_count == 0:
            return
        await asyncio.sleep(0.02)
    pytest.fail(f"{queue.queue_name} is not empty")


async def test_a_failed_message_comes_back_after_the_visibility_timeout(
    queues: QueueServiceClient,
) -> None:
    invoker = ScriptedInvoker(Failed("ValueError: no", ""))
    options = QUICK.model_copy(update={"visibility_timeout": timedelta(seconds=1)})
    async with Listening(queues, "come-back", invoker, options) as listening:
        await send(listening.queue, "x")
        await no_message_left(listening.queue)
    assert invoker.attempts == [1, 2]


async def test_a_function_that_runs_longer_than_the_invisibility_keeps_its_message(
    queues: QueueServiceClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_listener, "_INVISIBLE", timedelta(seconds=1))
    invoker = ScriptedInvoker(seconds=1.4)
    async with Listening(queues, "long-work", invoker) as listening:
        await send(listening.queue, "x")
        await no_message_left(listening.queue)
    assert invoker.attempts == [1]


async def test_no_more_messages_are_in_work_than_a_batch_and_the_threshold(
    queues: QueueServiceClient,
) -> None:
    invoker = ScriptedInvoker(seconds=0.05)
    options = QUICK.model_copy(update={"batch_size": 2, "new_batch_threshold": 1})
    async with Listening(queues, "crowd", invoker, options) as listening:
        for _ in range(9):
            await send(listening.queue, "x")
        await no_message_left(listening.queue)
    assert len(invoker.attempts) == 9
    assert invoker.most_at_once <= 3


async def test_a_queue_that_is_deleted_under_the_listener_is_made_again(
    queues: QueueServiceClient,
) -> None:
    invoker = ScriptedInvoker()
    async with Listening(queues, "deleted", invoker) as listening:
        await send(listening.queue, "x")
        await no_message_left(listening.queue)
        await listening.queue.delete_queue()
        await send(listening.queue, "y")
        await no_message_left(listening.queue)
    assert invoker.attempts == [1, 1]


async def test_a_message_without_text_is_a_message(queues: QueueServiceClient) -> None:
    invoker = ScriptedInvoker()
    async with Listening(queues, "silence", invoker) as listening:
        await send(listening.queue, "")
        await no_message_left(listening.queue)
    assert invoker.attempts == [1]


async def test_a_failed_message_of_a_poison_queue_stays_invisible(
    queues: QueueServiceClient,
) -> None:
    invoker = ScriptedInvoker(Failed("ValueError: no", ""))
    async with Listening(queues, "dead-poison", invoker) as listening:
        await send(listening.queue, "x")
        await until(lambda: len(invoker.attempts) == 1)
    assert await listening.queue.receive_message() is None
    properties = await listening.queue.get_queue_properties()
    assert properties.approximate_message_count == 1


async def test_a_storage_that_is_away_for_a_while_does_not_stop_the_listener(
    storage: Storage,
) -> None:
    refusals = 3

    def refuse_at_first(_request: object) -> None:
        nonlocal refusals
        if refusals:
            refusals -= 1
            raise ServiceRequestError("away")

    invoker = ScriptedInvoker()
    async with (
        QueueServiceClient.from_connection_string(
            storage.endpoints.connection_string,
            connection_verify=storage.ca_file,
            raw_request_hook=refuse_at_first,
            retry_total=0,
        ) as service,
        Listening(service, "away", invoker) as listening,
    ):
        await until(lambda: refusals == 0)
        await send(listening.queue, "x")
        await no_message_left(listening.queue)
    assert invoker.attempts == [1]


async def test_a_connection_may_be_a_managed_identity(
    storage: Storage, queues: QueueServiceClient
) -> None:
    tokens = Kernel.create(seed=1, addresses=("127.0.0.1",)).tokens

    async def give_token(request: web.Request) -> web.Response:
        token = tokens.issue(
            issuer="https://sts.windows.net/11111111-2222-3333-4444-555555555555/",
            audience=request.query["resource"],
            lifetime=timedelta(hours=1),
            claims={},
        )
        expires = int((datetime.now(UTC) + timedelta(hours=1)).timestamp())
        answer = {"access_token": token, "expires_on": str(expires), "token_type": "Bearer"}
        return web.json_response(answer | {"resource": request.query["resource"]})

    identity = web.Application()
    identity.router.add_get("/msi/token", give_token)
    async with TestServer(identity) as server:
        settings = {
            "IDENTITY_ENDPOINT": str(server.make_url("/msi/token")),
            "IDENTITY_HEADER": "x",
            "ORDERS_QUEUE": "by-identity",
            "Orders__queueServiceUri": storage.endpoints.queue_url,
            "Orders__credential": "managedidentity",
            "SSL_CERT_FILE": storage.ca_file,
        }
        async with host_running("queues", settings):
            await send(queues.get_queue_client("by-identity"), "fail as well")
            poison = queues.get_queue_client("by-identity-poison")
            assert await take(poison) == "fail as well"
