"""firstpull in Microsoft's worker on storage of its own, and what can be seen of it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import aiohttp
from azure.data.tables.aio import TableServiceClient
from azure.storage.queue.aio import QueueClient, QueueServiceClient
from yarl import URL

from local_azure.azurite import AzuriteEndpoints, run_azurite
from local_azure.commands.function_app import FunctionApp, run_function_app
from local_azure.iot_hub.identities import DeviceSettings
from local_azure.iot_hub.twins import Json, TwinPatch
from local_azure.stack import Stack
from local_azure.stack.options import HUB_NAME
from local_azure.stack.storage_gates import run_storage_gates
from tests.end_to_end.cloud import GIVE_UP_SECONDS, report_login

from .documents import Document, body_of, request, signed

ONBOARDING, EVENTS, WORK = "device-onboarding", "device-events", "device-work"
QUEUES = (ONBOARDING, EVENTS, WORK)
_HOST_SETTINGS = {
    # What waits for a queue does not wait long, and what fails is given up on at once.
    "AzureFunctionsJobHost__extensions__queues__maxPollingInterval": "00:00:00.2",
    "AzureFunctionsJobHost__extensions__queues__visibilityTimeout": "00:00:00",
    # A disabled function can be run all the same: sweeps come when a test wants one.
    "AzureWebJobs__sweep__Disabled": "true",
}


@dataclass(frozen=True)
class Answer:
    """An HTTP answer."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def document(self) -> Document:
        """The JSON object in the body."""
        found = json.loads(self.text)
        assert isinstance(found, dict)
        return found

    @property
    def paths(self) -> list[str]:
        """Where a problem document says that something is wrong."""
        return [error["path"] for error in self.document.get("errors", [])]


@dataclass(frozen=True, kw_only=True)
class Endpoints:
    """A running app. `lines` is all that its host has written."""

    stack: Stack
    app: FunctionApp
    storage: AzuriteEndpoints
    webhook_keys: tuple[str, ...] = field(repr=False)
    system_key: str = field(repr=False)
    lines: list[str] = field(repr=False)
    http: aiohttp.ClientSession
    queues: QueueServiceClient
    tables: TableServiceClient

    # The endpoints and triggers

    async def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        headers: Mapping[str, str] | None = None,
        in_chunks: bool = False,
    ) -> Answer:
        """Any request below `/api/`, with the function key unless `headers` are given."""
        data = None if body is None else body_of(body)
        return await self._send(
            method,
            f"{self.app.url}/api/{path}",
            _chunks(data) if in_chunks and data is not None else data,
            {"x-functions-key": self.app.key} if headers is None else headers,
        )

    async def signed_webhook(
        self,
        body: object,
        *,
        headers: Mapping[str, str] | None = None,
        query: str = "",
    ) -> Answer:
        """The signed endpoint; `headers` replace the signature of now with the first key."""
        text = body_of(body)
        headers = signed(text, key=self.webhook_keys[0]) if headers is None else headers
        return await self.call("POST", f"webhooks/devices{query}", text, headers=headers)

    async def push_event(self, event: object, *, cloud_event: bool = False) -> Answer:
        """Event Grid's push to the trigger."""
        kind = "cloudevents+json" if cloud_event else "json"
        url = f"{self.app.url}/runtime/webhooks/eventgrid?functionName=handle_event_grid"
        headers = {
            "x-functions-key": self.system_key,
            "aeg-event-type": "Notification",
            "content-type": f"application/{kind}",
        }
        return await self._send("POST", url, body_of(event), headers)

    async def run_function(self, name: str) -> None:
        """Have the host run a function now, as an administrator does."""
        url = f"{self.app.url}/admin/functions/{name}"
        headers = {"x-functions-key": self.app.master_key, "content-type": "application/json"}
        answer = await self._send("POST", url, b"{}", headers)
        assert answer.status == 202, answer.text

    async def put_message(
        self, queue: str, body: object, *, visible_after_seconds: int | None = None
    ) -> None:
        """The queue of a trigger."""
        text = body_of(body).decode()
        await self.queue(queue).send_message(text, visibility_timeout=visible_after_seconds)

    def queue(self, name: str) -> QueueClient:
        """A queue of the app's storage."""
        return self.queues.get_queue_client(name)

    # The other side

    def register(self, device_id: str, *, tag: Json = None) -> None:
        """Register a device, with a twin tag where one is given."""
        self.stack.hub.create_device(DeviceSettings(device_id))
        if tag is not None:
            patch = TwinPatch(tags={"firstpull": tag})
            self.stack.hub.patch_twin(device_id, patch, etag=None)

    async def records(self) -> dict[str, Document]:
        """All records, by device id."""
        table = self.tables.get_table_client("devices")
        return {
            entity["deviceId"]: json.loads(entity["record"])
            async for entity in table.list_entities()
        }

    async def record(self, device_id: str) -> Document:
        """One record."""
        return (await self.records())[device_id]

    async def device(self, device_id: str) -> Document:
        """A device as the API shows it."""
        answer = await self.call("GET", f"devices/{device_id}")
        assert answer.status == 200, answer.text
        return answer.document

    async def poison(self, queue: str | None = None) -> list[Document]:
        """The kept messages as the API lists them."""
        answer = await self.call("GET", f"poison?queue={queue}" if queue else "poison")
        assert answer.status == 200, answer.text
        found = answer.document["messages"]
        assert isinstance(found, list)
        return found

    async def discard_all(self) -> None:
        """Throw all kept messages away."""
        for queue in QUEUES:
            await self.queue(f"{queue}-poison").clear_messages()

    async def length(self, queue: str) -> int:
        """How many messages are in a queue, those in work included."""
        return (await self.queue(queue).get_queue_properties()).approximate_message_count or 0

    def writes(self) -> list[str]:
        """Every call that changed something in the cloud, refused ones included."""
        return [
            f"{call.service}.{call.operation} {call.path}"
            for call in self.stack.kernel.calls.latest()
            if call.method not in ("GET", "HEAD") and call.service in ("arm", "keyVault", "iotHub")
        ]

    # Waiting

    async def until(
        self, holds: Callable[[], Awaitable[object]], *, within: float = GIVE_UP_SECONDS
    ) -> None:
        """Wait until something holds."""
        give_up = time.monotonic() + within
        while not await holds():
            assert time.monotonic() < give_up, "it did not come true in time"
            await asyncio.sleep(0.1)

    async def until_taken(self, *queues: str, within: float = GIVE_UP_SECONDS) -> None:
        """Wait until queues are empty: every message was handled, or is kept."""

        async def empty() -> bool:
            return not any([await self.length(queue) for queue in queues])

        await self.until(empty, within=within)

    async def until_looked_at(self, device_id: str) -> None:
        """Wait until a device is due later only, and nobody is at it."""

        async def rests() -> bool:
            record = await self.record(device_id)
            due_at = datetime.fromisoformat(record["due_at"])
            return record["claim"] is None and due_at > datetime.now(UTC)

        await self.until(rests)

    async def until_state(self, device_id: str, *states: str) -> Document:
        """A device once it is in one of these states, as the API shows it."""
        found: list[Document] = []

        async def reached() -> bool:
            answer = await self.call("GET", f"devices/{device_id}")
            if answer.status == 200 and answer.document["state"] in states:
                found.append(answer.document)
            return bool(found)

        await self.until(reached)
        return found[0]

    async def onboarded(self, device_id: str, *, logged_in: bool = False, **wish: Any) -> Document:  # noqa: ANN401 - JSON
        """Register a device and have it delivered to; with `logged_in` it has answered, too."""
        self.register(device_id)
        asked = request(device_id, **wish)
        assert (await self.call("POST", "devices", asked)).status == 202
        view = await self.until_state(device_id, "Delivered")
        if logged_in:
            report_login(self.stack, device_id, view["connectedRegistry"])
            view = await self.until_state(device_id, "Ready")
        return view

    async def until_kept(self, queue: str) -> Document:
        """The one kept message of a queue, once there is one."""
        await self.until_taken(queue)
        (message,) = await self.poison(queue)
        return message

    async def _send(
        self,
        method: str,
        url: str,
        body: bytes | AsyncIterator[bytes] | None,
        headers: Mapping[str, str],
    ) -> Answer:
        async with self.http.request(
            method, URL(url, encoded=True), data=body, headers=headers
        ) as answer:
            return Answer(answer.status, answer.headers, await answer.text())


async def _chunks(body: bytes) -> AsyncIterator[bytes]:
    yield body


@asynccontextmanager
async def open_endpoints(
    stack: Stack,
    *,
    ca_file: str,
    policy: Mapping[str, object],
    webhook_keys: tuple[str, ...] = (),
    system_key: str,
    more_settings: Mapping[str, str] | None = None,
) -> AsyncIterator[Endpoints]:
    """The app with this policy, on storage that nobody else uses."""
    lines: list[str] = []
    certificates = stack.kernel.certificates
    async with AsyncExitStack() as cleanup:
        storage = await cleanup.enter_async_context(
            run_azurite(
                host=stack.address,
                certificate_pem=certificates.server_certificate_pem,
                key_pem=certificates.server_key_pem,
                clock=stack.kernel.clock,
            )
        )
        urls = await cleanup.enter_async_context(
            run_storage_gates(stack.kernel, storage, address=stack.address)
        )
        settings = {
            "FIRSTPULL_POLICY": json.dumps(policy),
            "FIRSTPULL_WEBHOOK_KEYS": ",".join(webhook_keys),
            "LOCAL_FUNCTIONS_SYSTEM_KEY": system_key,
            "AzureWebJobsStorage__blobServiceUri": urls.blob_url,
            "AzureWebJobsStorage__queueServiceUri": urls.queue_url,
            "AzureWebJobsStorage__tableServiceUri": urls.table_url,
            **_HOST_SETTINGS,
            **(more_settings or {}),
        }
        app = await cleanup.enter_async_context(
            run_function_app(stack, ca_file=ca_file, on_line=lines.append, more_settings=settings)
        )
        queues = QueueServiceClient.from_connection_string(storage.connection_string)
        tables = TableServiceClient.from_connection_string(storage.connection_string)
        endpoints = Endpoints(
            stack=stack,
            app=app,
            storage=storage,
            webhook_keys=webhook_keys,
            system_key=system_key,
            lines=lines,
            http=await cleanup.enter_async_context(aiohttp.ClientSession()),
            queues=await cleanup.enter_async_context(queues),
            tables=await cleanup.enter_async_context(tables),
        )
        # The app makes its table and queues at its first call.
        assert (await endpoints.call("GET", "devices")).status == 200
        yield endpoints


def policy_for(stack: Stack, **changes: Any) -> dict[str, object]:  # noqa: ANN401 - JSON
    """Two sites, the second of which is small, and what is in none, or not in Azure either."""

    def connected(name: str, **more: object) -> dict[str, object]:
        return {
            "name": name,
            "repositories": ["hello-world", "line/*"],
            "actions": ["content/read", "metadata/read"],
            "ca": stack.ca_pem,
            **more,
        }

    return {
        "hubs": [{"host": stack.iot_hub_host_name, "name": HUB_NAME}],
        "containerRegistries": [stack.registry_id],
        "connectedRegistries": [
            connected("doorone"),
            connected("doortwo"),
            connected("doorsmall", capacity=1),
            connected("doorgone"),
            connected("doorapart"),
            connected("atticone", capacity=1),
            connected("attictwo", capacity=1),
            {"name": "doorsynced"},
        ],
        "sites": [
            {"name": "works", "connectedRegistries": ["doorone", "doortwo"]},
            {"name": "attic", "connectedRegistries": ["atticone", "attictwo"]},
        ],
        "adoptableTokens": ["legacy-*"],
        **changes,
    }
