"""The hub connection: azure-iot-device behind the agent's own small interface."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from azure.iot.device.aio import IoTHubDeviceClient
from azure.iot.device.exceptions import ConnectionFailedError, CredentialError
from firstpull_agent.deliveries import MalformedDesired, read_deliveries
from firstpull_agent.hub import (
    AzureHub,
    HubSettings,
    HubUnavailable,
    Twin,
    connect_with_certificate,
    connect_with_key,
)
from firstpull_agent.secret import Secret

from .fake_registry import AUTHORITY

KEY = "c2VjcmV0LWtleQ=="
CONNECTION_STRING = Secret(f"HostName=h.example.com;DeviceId=d1;SharedAccessKey={KEY}\n")


class FakeClient:
    """The part of the SDK's client that the agent uses."""

    def __init__(self) -> None:
        self.connected = False
        self.fails: Exception | None = None
        self.patches: list[dict[str, Any]] = []
        self.answering = asyncio.Event()
        self.answering.set()
        self.on_connection_state_change: Callable[[], None] | None = None
        self.on_twin_desired_properties_patch_received: Callable[[object], None] | None = None
        self.shut_down = False
        self.answer: dict[str, Any] = {"desired": {"$version": 3}, "reported": {"a": 1}}

    async def connect(self) -> None:
        if self.fails:
            raise self.fails
        self.connected = True

    async def get_twin(self) -> dict[str, Any]:
        assert self.on_twin_desired_properties_patch_received is not None
        await self.answering.wait()
        return self.answer

    async def patch_twin_reported_properties(self, patch: dict[str, Any]) -> None:
        if self.fails:
            raise self.fails
        self.patches.append(patch)

    async def shutdown(self) -> None:
        self.shut_down = True


@pytest.fixture
async def client() -> FakeClient:
    return FakeClient()


def _hub(
    client: FakeClient, changed: Callable[[], None] = lambda: None, *later: FakeClient
) -> AzureHub:
    clients = iter((client, *later))
    hub = AzureHub(lambda: cast("IoTHubDeviceClient", next(clients)))
    hub.on_change(changed)
    return hub


async def test_the_twin_is_read_after_the_agent_listens_for_changes(client: FakeClient) -> None:
    changes: list[str] = []
    hub = _hub(client, lambda: changes.append("changed"))
    assert await hub.twin() == Twin({"$version": 3}, {"a": 1})

    assert client.on_twin_desired_properties_patch_received is not None
    client.on_twin_desired_properties_patch_received({"$version": 4})
    assert changes == ["changed"]


async def test_an_answer_without_desired_properties_does_not_read_as_a_twin_without_deliveries(
    client: FakeClient,
) -> None:
    client.answer = {}
    twin = await _hub(client).twin()

    with pytest.raises(MalformedDesired):
        read_deliveries(twin.desired)


async def test_a_lost_connection_is_a_reason_to_read_again_and_a_new_one_is_not(
    client: FakeClient,
) -> None:
    changes: list[str] = []
    hub = _hub(client, lambda: changes.append("changed"))
    await hub.twin()
    assert client.on_connection_state_change is not None
    client.on_connection_state_change()
    assert changes == []

    client.connected = False
    client.on_connection_state_change()
    assert changes == ["changed"]
    await hub.twin()
    assert client.connected


@pytest.mark.parametrize("error", [ConnectionFailedError("no route"), CredentialError("no key")])
async def test_errors_of_the_sdk_mean_that_the_hub_is_unavailable(
    client: FakeClient, error: Exception
) -> None:
    client.fails = error
    with pytest.raises(HubUnavailable, match=type(error).__name__):
        await _hub(client).twin()
    with pytest.raises(HubUnavailable, match=type(error).__name__):
        await _hub(client).report({})


async def test_a_hub_that_does_not_answer_is_left_waiting_and_not_cancelled(
    client: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("firstpull_agent.hub._TIMEOUT_SECONDS", 0.05)
    client.answering.clear()
    hub = _hub(client, lambda: None, FakeClient())
    with pytest.raises(HubUnavailable, match="does not answer"):
        await hub.twin()
    calls = set(hub._calls)
    assert calls

    client.answering.set()
    await asyncio.wait(calls)
    assert not any(call.cancelled() for call in calls)
    assert hub._calls == set()


async def test_a_hub_that_has_lost_the_session_is_asked_by_another_client(
    client: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes: list[str] = []
    second = FakeClient()
    hub = _hub(client, lambda: changes.append("changed"), second)
    await hub.twin()
    client.answering.clear()
    with monkeypatch.context() as soon:
        soon.setattr("firstpull_agent.hub._TIMEOUT_SECONDS", 0.05)
        with pytest.raises(HubUnavailable):
            await hub.twin()
    assert await hub.twin() == Twin({"$version": 3}, {"a": 1})
    await asyncio.sleep(0)
    assert client.shut_down
    assert client.on_connection_state_change is None
    assert second.on_twin_desired_properties_patch_received is not None
    second.on_twin_desired_properties_patch_received({"$version": 4})
    assert changes == ["changed"]
    client.answering.set()


async def test_reports_and_the_end_go_to_the_sdk(client: FakeClient) -> None:
    hub = _hub(client)
    await hub.report({"a": 1})
    await hub.close()

    assert client.patches == [{"a": 1}]
    assert client.shut_down
    assert client.on_connection_state_change is None


async def test_the_sdk_takes_a_connection_string_and_a_certificate(tmp_path: Path) -> None:
    settings = HubSettings(gateway="127.0.0.1", ca=AUTHORITY.ca_pem)
    for name, pem in zip(("cert", "key"), AUTHORITY.issue_client("d1"), strict=True):
        (tmp_path / name).write_text(pem)
    hubs = [
        connect_with_key(CONNECTION_STRING, settings),
        connect_with_certificate(
            host="h.example.com",
            device_id="d1",
            certificate=tmp_path / "cert",
            key=tmp_path / "key",
            settings=settings,
        ),
    ]

    for hub in hubs:
        config = cast("Any", hub._client)._mqtt_pipeline.pipeline_configuration
        assert (config.hostname, config.gateway_hostname) == ("h.example.com", "127.0.0.1")
        assert config.server_verification_cert == AUTHORITY.ca_pem
        await hub.close()


async def test_the_command_keeps_trying_and_ends_cleanly_on_sigterm(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "firstpull_agent", "run", "--engine=oci", f"--state-dir={tmp_path}"),
        "--gateway=127.250.250.250",  # nothing listens there
        env={**os.environ, "FIRSTPULL_DEVICE_CONNECTION_STRING": CONNECTION_STRING.reveal()},
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    first = await process.stderr.readline()
    process.send_signal(signal.SIGTERM)
    _, rest = await process.communicate()

    assert b"ConnectionFailedError" in first
    assert process.returncode == 0, rest
    assert KEY.encode() not in first + rest
    assert b"Traceback" not in rest
