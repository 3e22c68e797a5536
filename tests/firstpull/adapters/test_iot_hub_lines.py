"""A hub that does not answer keeps nobody from another hub."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from azure.core.credentials import TokenCredential
from azure.iot.hub import IoTHubRegistryManager

from firstpull.adapters.iot_hub import IotHubAdapter
from firstpull.model.clock import SystemClock
from firstpull.model.device_key import DeviceKey
from firstpull.model.errors import Transient

SILENT, HEALTHY = "silent.example", "healthy.example"


class Manager:
    """A hub's manager, whose calls wait while the hub is silent."""

    def __init__(self, hub: str, may_answer: threading.Event, reached: threading.Semaphore) -> None:
        self._reached = reached
        config = SimpleNamespace(
            retry_policy=SimpleNamespace(retries=3), connection=SimpleNamespace(timeout=0)
        )
        self.protocol = SimpleNamespace(config=config)
        self._waits = may_answer.wait if hub == SILENT else None
        self.calls = 0

    def get_device(self, device_id: str) -> Any:  # noqa: ANN401 - as the SDK has it
        self.calls += 1
        if self._waits is not None:
            self._reached.release()
            self._waits()
        return SimpleNamespace(generation_id=f"g-{device_id}")

    def update_twin(self, device_id: str, _change: object, _etag: str) -> Any:  # noqa: ANN401 - as the SDK has it
        return self.get_device(device_id)


@pytest.fixture
def may_answer() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def reached() -> threading.Semaphore:
    """Released by each call that waits."""
    return threading.Semaphore(0)


@pytest.fixture
def managers(
    may_answer: threading.Event, reached: threading.Semaphore, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Manager]:
    made: dict[str, Manager] = {}

    def make(hub: str, _: object) -> Manager:
        return made.setdefault(hub, Manager(hub, may_answer, reached))

    monkeypatch.setattr(IoTHubRegistryManager, "from_token_credential", make)
    return made


class Credential:
    """Never asked."""

    def get_token(self, *_scopes: str, **_options: Any) -> Any:  # noqa: ANN401 - the SDK's
        raise AssertionError


def adapter() -> IotHubAdapter:
    credential: TokenCredential = Credential()
    return IotHubAdapter(credential, SystemClock())


async def test_a_healthy_hub_answers_while_any_number_of_calls_wait_for_a_silent_one(
    managers: dict[str, Manager], may_answer: threading.Event, reached: threading.Semaphore
) -> None:
    hubs = adapter()
    waiting = [
        asyncio.create_task(hubs.generation_id(DeviceKey(hub=SILENT, device_id=f"{n}")))
        for n in range(24)
    ]
    await asyncio.to_thread(reached.acquire)
    assert 1 <= managers[SILENT].calls <= 24
    for number in range(30):
        device = DeviceKey(hub=HEALTHY, device_id=f"{number}")
        assert await hubs.generation_id(device) == f"g-{number}"
    assert not any(task.done() for task in waiting)
    may_answer.set()
    await asyncio.gather(*waiting)
    await hubs.close()


async def test_a_hub_is_called_by_its_name_for_services_where_the_policy_lists_that(
    managers: dict[str, Manager],
) -> None:
    names = {HEALTHY: "healthy.service.example"}
    hubs = IotHubAdapter(Credential(), SystemClock(), service_host=names.__getitem__)
    await hubs.generation_id(DeviceKey(hub=HEALTHY, device_id="press-1"))
    assert list(managers) == ["healthy.service.example"]
    await hubs.close()


async def test_of_a_hub_that_did_not_answer_one_call_at_a_time_waits(
    managers: dict[str, Manager], may_answer: threading.Event
) -> None:
    hubs, device = adapter(), DeviceKey(hub=SILENT, device_id="press-1")
    with pytest.raises(Transient):
        await hubs.patch_desired(device, {}, etag="t1", deadline_seconds=0.01)
    probe = asyncio.create_task(hubs.generation_id(device))
    await asyncio.sleep(0)
    for _ in range(24):
        with pytest.raises(Transient):
            await hubs.generation_id(device)
    may_answer.set()
    assert await probe == "g-press-1"
    assert managers[SILENT].calls <= 2
    assert await hubs.generation_id(device) == "g-press-1"
    await hubs.close()
