from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Self, cast

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer
from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError, ServiceRequestError
from azure.storage.queue.aio import QueueClient, QueueServiceClient

from local_azure.functions_host import queue_listener
from local_azure.functions_host.functions import Failed, Function, Succeeded
from local_azure.functions_host.host_json import QueueOptions
from local_azure.functions_host.invocations import Invoker, RunningTasks
from local_azure.functions_host.protos import TypedData
from local_azure.functions_host.queue_listener import PollingInterval, QueueListener
from local_azure.kernel import Kernel

from .hosts import Storage, host_running, until

FUNCTION = Function(name="work", id="1", bindings=())
FAILED = Failed("ValueError: no", "")


def options(**given: object) -> QueueOptions:
    quick = {"maxPollingInterval": timedelta(milliseconds=100), "messageEncoding": "none"}
    return QueueOptions.model_validate(quick | given)


@pytest.fixture(scope="module")
async def queues(storage: Storage) -> AsyncIterator[QueueServiceClient]:
    async with storage.queues() as service:
        yield service


async def send(queue: QueueClient, text: str) -> None:
    """Send to a queue, which is made where it is missing."""
    with suppress(ResourceExistsError):
        await queue.create_queue()
    await queue.send_message(text)


async def is_empty(queue: QueueClient) -> bool:
    return (await queue.get_queue_properties()).approximate_message_count == 0


async def received(queue: QueueClient) -> list[Any]:
    """The texts of the messages that are visible."""
    try:
        return [message.content async for message in queue.receive_messages(max_messages=32)]
    except ResourceNotFoundError:
        return []


async def test_a_message_runs_its_function_once_or_moves_to_the_poison_queue_after_three_failures(
    storage: Storage, queues: QueueServiceClient
) -> None:
    orders = queues.get_queue_client("orders")
    async with host_running("queues", storage.settings) as host:
        await send(orders, "größe 1")
        await until(lambda: host.get("/api/seen"))
        (seen,) = await host.get("/api/seen")
        assert (seen["content"], seen["attempts"]) == ("größe 1", 1)
        assert seen["hidden_seconds"] == pytest.approx(600, abs=5)
        assert (seen["expires"], seen["receipt"], bool(seen["id"])) == (True, True, True)
        await send(orders, "fail please")
        poison = queues.get_queue_client("orders-poison")
        found: list[str] = []
        while not found:
            found = await received(poison)
        assert found == ["fail please"]
        await until(lambda: is_empty(orders))


class ScriptedInvoker:
    """Stands for the app: returns what it is told to, and records the attempts."""

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
        return self._results.pop(0) if self._results else Succeeded()


class Listening:
    """A listener within the test's own process."""

    def __init__(
        self,
        service: QueueServiceClient,
        name: str,
        invoker: ScriptedInvoker,
        **given: object,
    ) -> None:
        self.queue = service.get_queue_client(name)
        self._running = RunningTasks()
        self._stopping = asyncio.Event()
        self._listener = QueueListener(
            function=FUNCTION,
            queue_name=name,
            service=service,
            options=options(**given),
            invoker=cast("Invoker", invoker),
            running=self._running,
            random=Random(1),  # noqa: S311 - chance, not secrets
        )

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._listener.run(self._stopping))
        return self

    async def __aexit__(self, *_exception: object) -> None:
        self._stopping.set()
        await self._task
        assert await self._running.drain(60)

    async def work_off(self, text: str) -> None:
        """Send a message and wait until it is deleted."""
        await send(self.queue, text)
        await until(lambda: is_empty(self.queue))


async def test_a_failed_message_is_retried_after_the_visibility_timeout(
    queues: QueueServiceClient,
) -> None:
    invoker = ScriptedInvoker(FAILED)
    timeout = {"visibilityTimeout": timedelta(seconds=1)}
    async with Listening(queues, "come-back", invoker, **timeout) as listening:
        await listening.work_off("x")
    assert invoker.attempts == [1, 2]


async def test_a_function_that_runs_longer_than_the_invisibility_keeps_its_message(
    queues: QueueServiceClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_listener, "_INVISIBLE", timedelta(seconds=2))
    invoker = ScriptedInvoker(seconds=2.4)
    async with Listening(queues, "long-work", invoker) as listening:
        await listening.work_off("x")
    assert invoker.attempts == [1]


async def test_no_more_messages_are_under_way_than_a_batch_and_the_threshold(
    queues: QueueServiceClient,
) -> None:
    invoker = ScriptedInvoker(seconds=0.05)
    limits = {"batchSize": 2, "newBatchThreshold": 1}
    async with Listening(queues, "crowd", invoker, **limits) as listening:
        for _ in range(9):
            await send(listening.queue, "x")
        await until(lambda: is_empty(listening.queue))
    assert len(invoker.attempts) == 9
    assert invoker.most_at_once <= 3


async def test_the_host_waits_for_a_queue_and_does_not_make_it(
    storage: Storage, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[object] = []

    async def asked_twice() -> bool:
        return len(asked) > 1

    invoker = ScriptedInvoker()
    async with (
        QueueServiceClient.from_connection_string(
            storage.endpoints.connection_string,
            connection_verify=storage.ca_file,
            raw_request_hook=asked.append,
        ) as service,
        Listening(service, "missing", invoker) as listening,
    ):
        await until(asked_twice)
        with pytest.raises(ResourceNotFoundError):
            await listening.queue.get_queue_properties()
        await listening.work_off("")
    assert invoker.attempts == [1]
    assert not [record for record in caplog.records if record.name.startswith("functions_host")]


async def test_a_failed_message_of_a_poison_queue_stays_invisible(
    queues: QueueServiceClient,
) -> None:
    invoker = ScriptedInvoker(FAILED)
    async with Listening(queues, "dead-poison", invoker) as listening:
        await send(listening.queue, "x")

        async def tried() -> bool:
            return len(invoker.attempts) == 1

        await until(tried)
    assert await received(listening.queue) == []
    assert not await is_empty(listening.queue)


async def test_a_storage_that_does_not_answer_for_a_while_does_not_stop_the_listener(
    storage: Storage,
) -> None:
    refusals = 3

    def refuse_at_first(_request: object) -> None:
        nonlocal refusals
        if refusals:
            refusals -= 1
            raise ServiceRequestError("away")

    async def over() -> bool:
        return refusals == 0

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
        await until(over)
        await listening.work_off("x")
    assert invoker.attempts == [1]


async def test_an_output_is_sent_when_its_function_succeeds_json_indented_and_lists_one_by_one(
    storage: Storage, queues: QueueServiceClient
) -> None:
    relayed = queues.get_queue_client("relayed")
    with suppress(ResourceNotFoundError):
        await relayed.clear_messages()  # what the recorded exchanges have left
    async with host_running("recorded", storage.settings) as host, ClientSession() as client:
        for kind, status in (("fail", 500), ("text", 200), ("json", 200), ("list", 200)):
            url = host.url(f"/api/relay?kind={kind}")
            async with client.post(url, data="größe") as response:
                assert response.status == status
    assert await received(relayed) == [
        "größe",
        '{\n  "a": "größe"\n}',
        "größe",
        "größe2",
    ]


async def test_storage_may_be_reached_with_a_managed_identity(
    storage: Storage, queues: QueueServiceClient
) -> None:
    tokens = Kernel.create(seed=1, addresses=("127.0.0.1",)).tokens

    async def issue(request: web.Request) -> web.Response:
        resource = request.query["resource"]
        token = tokens.issue(
            issuer="https://sts.windows.net/11111111-2222-3333-4444-555555555555/",
            audience=resource,
            lifetime=timedelta(hours=1),
            claims={},
        )
        expires = int((datetime.now(UTC) + timedelta(hours=1)).timestamp())
        answer = {"access_token": token, "expires_on": str(expires), "token_type": "Bearer"}
        return web.json_response(answer | {"resource": resource})

    identity = web.Application()
    identity.router.add_get("/msi/token", issue)
    async with TestServer(identity) as server:
        settings = {
            "IDENTITY_ENDPOINT": str(server.make_url("/msi/token")),
            "IDENTITY_HEADER": "x",
            "AzureWebJobsStorage__queueServiceUri": storage.endpoints.queue_url,
            "SSL_CERT_FILE": storage.ca_file,
        }
        async with host_running("queues", settings) as host:
            await send(queues.get_queue_client("orders"), "by identity")
            await until(lambda: host.get("/api/seen"))


def test_polling_an_empty_queue_slows_down_to_the_longest_interval() -> None:
    polling = PollingInterval(most=timedelta(seconds=2), random=Random(1))  # noqa: S311 - chance
    pauses = [polling.next_seconds() for _ in range(8)]
    assert 0.08 <= pauses[0] <= 0.12
    assert 0.16 <= pauses[1] <= 0.24
    assert all(1.6 <= pause <= 2 for pause in pauses[6:])
    polling.reset()
    assert polling.next_seconds() <= 0.12
