"""A dependency that never answers ends no worker: each function ends by itself before that."""

from __future__ import annotations

import asyncio
import importlib
import json
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import azure.functions as func
import pytest

from firstpull.bootstrap import Application, wire
from firstpull.intake.poison_queue import StoredMessage
from firstpull.model.errors import FirstpullError, Transient
from firstpull.model.reasons import Reason
from functions.deadlines import DEADLINES
from functions.endpoints import ENDPOINTS
from tests.firstpull.harness import DEPLOYMENT, HUB, PLANT_ONE, REGISTRY, Harness, _settings

ROOT = Path(__file__).parents[2]
_DEADLINE = 0.15
_FRONT_END_SECONDS = 230
"""Azure's front end ends an HTTP call after this time."""
SILENT = {
    "records": ("records.",),
    "ledgers": ("ledgers.", "locks.", "lease."),
    "queues": ("queue.", "poison."),
    "Azure Resource Manager": ("registries.",),
    "hubs": ("hubs.",),
    "vault": ("secrets.",),
    "reports": ("sweeps.",),
    "identity": ("",),
}
"""The calls that get no answer: without a bearer token, none does."""
NEEDED_BY_ALL = ("records", "identity")
SETTINGS = {
    "FIRSTPULL_DEPLOYMENT": DEPLOYMENT,
    "FIRSTPULL_POLICY": json.dumps(
        {
            "hubs": [HUB],
            "containerRegistries": [str(REGISTRY)],
            "connectedRegistries": [{"name": PLANT_ONE.name}],
        }
    ),
    "FIRSTPULL_KEY_VAULT_URL": "https://vault.example",
    "AzureWebJobsStorage": "UseDevelopmentStorage=true",
}
ONBOARDING = {
    "deviceId": "press-1",
    "connectedRegistry": PLANT_ONE.name,
    "repositories": ["plant/app"],
}


class PoisonInQueues:
    """Poison queues whose calls are the cloud's."""

    def __init__(self, harness: Harness) -> None:
        self._line = harness.processes[0].line

    async def keep(self, queue: str, text: str) -> None:
        await self._line.call("poison.keep", lambda: (queue, text))

    async def peek(self, queue: str) -> tuple[StoredMessage, ...]:
        message = StoredMessage(id="m-1", text=queue, inserted_at=datetime.now(UTC))
        return await self._line.call("poison.peek", lambda: (message,))

    async def resend(self, queue: str, message_id: str, text: str) -> bool:
        return await self._line.call("poison.resend", lambda: bool(queue and message_id and text))

    async def discard(self, queue: str, message_ids: Any) -> int:  # noqa: ANN401 - any collection
        del queue, message_ids
        return await self._line.call("poison.discard", lambda: 0)


@pytest.fixture(scope="module")
def app() -> Iterator[func.FunctionApp]:
    """The function app, loaded with settings that nothing is connected by."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SETTINGS.items():
            patch.setenv(name, value)
        yield importlib.import_module("function_app").app


@pytest.fixture(scope="module")
def functions(app: func.FunctionApp) -> Mapping[str, Callable[..., Awaitable[Any]]]:
    """What the app runs, by name."""
    return {str(f.get_function_name()): f.get_user_function() for f in app.get_functions()}


def serve(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the app's functions use the fake cloud."""
    ports = replace(harness.processes[0].application.ports, poison=PoisonInQueues(harness))
    application = wire(_settings(), ports)
    runtime = importlib.import_module("functions.runtime").runtime

    async def connected() -> Application:
        return application

    monkeypatch.setattr(runtime, "application", connected)


def test_every_function_has_a_deadline_well_below_the_hosts(
    functions: Mapping[str, Callable[..., Awaitable[Any]]],
) -> None:
    assert set(DEADLINES) == set(functions)
    hours, minutes, seconds = json.loads((ROOT / "host.json").read_text())["functionTimeout"].split(
        ":"
    )
    host = int(hours) * 3600 + int(minutes) * 60 + int(seconds)
    assert max(DEADLINES.values()) <= host * 2 / 3
    assert max(DEADLINES[name] for name in ENDPOINTS) < _FRONT_END_SECONDS


@pytest.mark.parametrize("dependency", SILENT)
async def test_no_function_waits_for_what_never_answers(
    dependency: str,
    functions: Mapping[str, Callable[..., Awaitable[Any]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    harness = Harness()
    await harness.make_ready()
    serve(harness, monkeypatch)
    for name in DEADLINES:
        monkeypatch.setitem(DEADLINES, name, _DEADLINE)
    harness.cloud.silent = SILENT[dependency]
    begun = time.monotonic()
    ends = await asyncio.gather(
        *(_end(functions[name], name) for name in DEADLINES), return_exceptions=True
    )
    assert time.monotonic() - begun < 20 * _DEADLINE
    late = {name for name, end in zip(DEADLINES, ends, strict=True) if _is_late(name, end)}
    assert late, "no function needs it"
    neighbours = (
        {"openapi"} if dependency in NEEDED_BY_ALL else {"openapi", "get_device", "healthz"}
    )
    assert not neighbours & late


async def _end(function: Callable[..., Awaitable[Any]], name: str) -> object:
    return await function(_argument(name))


def _is_late(name: str, end: object) -> bool:
    """Whether its deadline ended a function, in the way that its caller can tell."""
    if name not in ENDPOINTS:
        assert end is None or isinstance(end, FirstpullError), (name, end)
        return isinstance(end, Transient) and end.reason is Reason.DEADLINE_EXCEEDED
    assert isinstance(end, func.HttpResponse), (name, end)
    document = json.loads(end.get_body() or b"{}")
    if document.get("reason") != Reason.DEADLINE_EXCEEDED:
        return False
    assert (end.status_code, end.mimetype) == (503, "application/problem+json")
    assert int(end.headers["Retry-After"]) > 0
    assert "again" in document["detail"]
    return True


def _argument(name: str) -> object:
    if name in ENDPOINTS:
        return _request(name)
    if name == "handle_event_grid":
        return func.EventGridEvent(
            id="e-1",
            data=_EVENT["data"],
            topic="t",
            subject="s",
            event_type=_EVENT["eventType"],
            event_time=datetime.now(UTC),
            data_version="1",
        )
    texts = {
        "onboard_from_queue": ONBOARDING,
        "handle_events": _EVENT,
        "reconcile_device": {"hub": HUB, "deviceId": "press-1"},
    }
    return func.QueueMessage(id="q-1", body=json.dumps(texts.get(name, {})).encode())


_EVENT: dict[str, Any] = {
    "eventType": "Microsoft.Devices.DeviceDeleted",
    "eventTime": "2026-03-01T09:00:00Z",
    "data": {"hubName": HUB.split(".", 1)[0], "deviceId": "press-1"},
}
_BODIES: dict[str, object] = {
    "create_devices": {"devices": [ONBOARDING]},
    "approve_sweep": {"sweep": "s-1"},
    "create_device": ONBOARDING,
    "receive_webhook": ONBOARDING,
}


def _request(name: str) -> func.HttpRequest:
    endpoint = ENDPOINTS[name]
    query = "&".join(f"{known.name}=press-1" for known in endpoint.query if known.required)
    method, _ = endpoint.route.split()
    body = _BODIES.get(name)
    if name.startswith("put_device"):
        body = {k: v for k, v in ONBOARDING.items() if k != "deviceId"}
    return func.HttpRequest(
        method=method,
        url=f"https://host/api/x?{query}",
        route_params={
            "deviceId": "press-1",
            "generation": "1",
            "queue": "device-work",
            "messageId": "m-1",
        },
        body=json.dumps(body).encode() if body is not None else b"",
    )
