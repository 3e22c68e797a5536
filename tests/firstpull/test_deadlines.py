"""A dependency that never answers ends no worker: each function ends by itself before that."""

from __future__ import annotations

import asyncio
import importlib
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import azure.functions as func
import pytest

from firstpull import bootstrap
from firstpull.bootstrap import Application, wire
from firstpull.config.policy import Policy
from firstpull.fleet.doctor import Doctor
from firstpull.intake.poison_queue import Front, StoredMessage
from firstpull.model.errors import FirstpullError, Transient
from firstpull.model.reasons import Reason
from firstpull.model.secret import Secret
from functions import deadlines
from functions.deadlines import DEADLINES
from functions.endpoints import ENDPOINTS
from tests.endpoints.documents import allocation, body_of, new_webhook_key, signed
from tests.firstpull.harness import (
    DEPLOYMENT,
    HUB,
    PLANT_ONE,
    REGISTRY,
    Harness,
    _settings,
    make_policy,
)
from tests.world.resource_manager import FakeResourceManager

ROOT = Path(__file__).parents[2]
WEBHOOK_KEY = new_webhook_key()
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
    "reports": ("sweeps.", "revokes."),
    "identity": ("",),
}
"""The calls that get no answer: without a bearer token, none does."""
NEEDED_BY_ALL = ("records", "identity")
_WORKERS = {"reconcile_device", "sweep"}
_FAILS_OPEN = {"allocate_device"}
_OFF = {name for name in DEADLINES if name.startswith("fleet_")}
"""The page for a person, which no setting turns on here."""
NEEDS: Mapping[str, set[str]] = {
    "records": set(DEADLINES)
    - {"approve_sweep", "get_sweep", "get_revokes", "approve_revokes", "openapi", "healthz"}
    - _FAILS_OPEN
    - _OFF
    - {name for name in DEADLINES if "poison" in name},
    "ledgers": {*_WORKERS, "list_sites", "measure"},
    "queues": {
        *("create_device", "create_devices", "put_device", "revoke_device", "revoke_devices"),
        *("receive_webhook", "onboard_from_queue", "handle_events", "handle_event_grid"),
        *("requeue_overdue", "reconcile_device", "list_poison", "resend_poison"),
        *("discard_poison", "discard_all_poison"),
    },
    "Azure Resource Manager": {*_WORKERS, "list_sites", "measure"},
    "hubs": {*_WORKERS, "handle_events", "handle_event_grid"},
    "vault": _WORKERS,
    "reports": {
        *("sweep", "measure", "get_sweep", "approve_sweep"),
        *("get_revokes", "approve_revokes", "revoke_device", "revoke_devices"),
    },
    "identity": set(DEADLINES) - {"openapi", "healthz"} - _FAILS_OPEN - _OFF,
}
"""Functions that cannot do without it."""
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

    async def peek(self, queue: str) -> Front:
        message = StoredMessage(id="m-1", text=queue, inserted_at=datetime.now(UTC))
        return await self._line.call("poison.peek", lambda: Front(messages=(message,)))

    async def resend(self, queue: str, message_id: str, text: str) -> bool:
        return await self._line.call("poison.resend", lambda: bool(queue and message_id and text))

    async def discard(self, queue: str, message_ids: Any) -> int:  # noqa: ANN401 - any collection
        del queue, message_ids
        return await self._line.call("poison.discard", lambda: 0)

    async def clear(self, queue: str) -> int:
        del queue
        return await self._line.call("poison.clear", lambda: 0)


@pytest.fixture(scope="session")
def app() -> func.FunctionApp:
    """The function app, loaded with settings that nothing is connected by."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SETTINGS.items():
            patch.setenv(name, value)
        loaded: func.FunctionApp = importlib.import_module("function_app").app
        return loaded


@pytest.fixture(scope="session")
def functions(app: func.FunctionApp) -> Mapping[str, Callable[..., Awaitable[Any]]]:
    """What the app runs, by name. An app lists its functions once."""
    app.functions_bindings = {}
    return {str(f.get_function_name()): f.get_user_function() for f in app.get_functions()}


def serve(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the app's functions use the fake cloud."""
    ports = replace(harness.processes[0].application.ports, poison=PoisonInQueues(harness))
    settings = _settings().model_copy(
        update={"policy": harness.policy, "webhook_keys": (Secret(WEBHOOK_KEY),)}
    )
    application = wire(settings, ports)
    runtime = importlib.import_module("functions.runtime").runtime

    async def connected() -> Application:
        return application

    async def policy() -> Policy:
        return harness.policy

    async def doctor() -> Doctor:
        manager = FakeResourceManager()
        return bootstrap.doctor_on(ports, manager, settings, policy=harness.policy)

    monkeypatch.setattr(runtime, "application", connected)
    monkeypatch.setattr(runtime, "doctor", doctor)
    monkeypatch.setattr(runtime, "policy", policy)


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
    policy = make_policy(
        defaultOnboarding={"connectedRegistry": PLANT_ONE.name, "repositories": ["plant/app"]}
    )
    harness = Harness(policy=policy)
    for device_id in ("press-1", *DEADLINES):
        harness.register(device_id)
    for device_id in ("press-1", "reconcile_device"):
        await harness.ask(device_id)
    harness.clock.advance(timedelta(minutes=1))  # no worker has begun: the device is overdue
    serve(harness, monkeypatch)
    neighbours = (
        {"openapi", "healthz"}
        if dependency in NEEDED_BY_ALL
        else {"openapi", "healthz", "readyz", "get_device"}
    )
    for name in set(DEADLINES) - neighbours - _FAILS_OPEN:
        monkeypatch.setitem(DEADLINES, name, _DEADLINE)
    monkeypatch.setattr(deadlines, "RECORDING_SECONDS", _DEADLINE)
    harness.cloud.silent = SILENT[dependency]
    at = harness.clock.now()
    ends = await asyncio.gather(
        *(functions[name](_argument(name, at=at)) for name in DEADLINES), return_exceptions=True
    )
    late = {name for name, end in zip(DEADLINES, ends, strict=True) if _is_late(name, end)}
    assert late >= NEEDS[dependency]
    assert not (neighbours | _FAILS_OPEN) & late


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


def _argument(name: str, *, at: datetime) -> object:
    if name in ENDPOINTS:
        return _request(name, at=at)
    if name == "handle_event_grid":
        return func.EventGridEvent(
            id="e-1",
            data={**_EVENT["data"], "deviceId": name},
            topic="t",
            subject="s",
            event_type=_EVENT["eventType"],
            event_time=_EVENT["eventTime"],  # as the worker passes it on
            data_version="1",
        )
    texts = {
        "onboard_from_queue": {**ONBOARDING, "deviceId": "onboard_from_queue"},
        "handle_events": _EVENT,
        "reconcile_device": {"hub": HUB, "deviceId": "reconcile_device"},
    }
    return func.QueueMessage(id="q-1", body=json.dumps(texts.get(name, {})).encode())


_EVENT: dict[str, Any] = {
    "eventType": "Microsoft.Devices.DeviceCreated",
    "eventTime": "2026-03-01T09:00:00Z",
    "data": {"hubName": HUB.split(".", 1)[0], "deviceId": "handle_events"},
}
_BODIES: dict[str, object] = {
    "create_devices": {"devices": [ONBOARDING]},
    "revoke_devices": {"devices": [{"deviceId": "press-1"}]},
    "rotate_devices": {"devices": [{"deviceId": "press-1"}]},
    "approve_sweep": {"sweep": "s-1"},
    "approve_revokes": {"revokes": 1},
    "create_device": ONBOARDING,
    "receive_webhook": {**ONBOARDING, "deviceId": "receive_webhook"},
    "allocate_device": allocation("allocate_device", hubs=[HUB]),
}


def _request(name: str, *, at: datetime) -> func.HttpRequest:
    endpoint = ENDPOINTS[name]
    query = "&".join(f"{known.name}=press-1" for known in endpoint.query if known.required)
    method, _ = endpoint.route.split()
    body = _BODIES.get(name)
    if name.startswith("put_device"):
        body = {k: v for k, v in ONBOARDING.items() if k != "deviceId"}
    text = body_of(body) if body is not None else b""
    return func.HttpRequest(
        method=method,
        headers=signed(text, key=WEBHOOK_KEY, at=at) if name == "receive_webhook" else {},
        url=f"https://host/api/x?{query}",
        route_params={
            "deviceId": "press-1",
            "generation": "1",
            "queue": "device-work",
            "messageId": "m-1",
        },
        body=text,
    )


async def test_calls_that_come_while_storage_is_silent_wait_for_one_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    may_answer, connections = asyncio.Event(), list[None]()

    async def connect(*_: object) -> object:
        connections.append(None)
        await may_answer.wait()
        raise Transient(Reason.SERVICE_UNAVAILABLE, "Storage did not answer.")

    monkeypatch.setattr(bootstrap, "connect", connect)
    runtime = bootstrap.Runtime(_settings())
    calls = [asyncio.create_task(runtime.application()) for _ in range(8)]
    await asyncio.sleep(0)
    impatient, *patient = calls
    impatient.cancel()
    may_answer.set()
    ends = await asyncio.gather(*patient, return_exceptions=True)
    assert all(isinstance(end, Transient) for end in ends)
    assert len(connections) == 1
    with pytest.raises(Transient):
        await runtime.application()
    assert len(connections) == 2
