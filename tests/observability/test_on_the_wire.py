"""What Microsoft's distro sends to Application Insights about one device's first pull."""

from __future__ import annotations

import base64
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import pytest

from firstpull.observability.log_events import LogEvent
from local_azure.iot_hub.identities import DeviceSettings
from local_azure.resource_manager.throttling import RateLimits, Throttle
from local_azure.stack import ConnectedRegistryOptions, Stack
from tests.end_to_end.cloud import entry_of, report_login
from tests.endpoints.endpoints import Endpoints, open_endpoints

from .ingestion import Ingestion, open_ingestion, trace_of

DEVICE, PLANT = "watched-1", "watchone"
TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@dataclass(frozen=True, kw_only=True)
class Sent:
    """A device's first pull, as the app exported it."""

    ingestion: Ingestion
    password: str = field(repr=False)
    function_key: str = field(repr=False)


@pytest.fixture(scope="module")
async def sent(stack: Stack, ca_file: Path) -> AsyncIterator[Sent]:
    await stack.sites.deploy(ConnectedRegistryOptions(name=PLANT, sync_every_seconds=3600.0))
    stack.hub.create_device(DeviceSettings(DEVICE))
    policy = {
        "hubs": [stack.iot_hub_host_name],
        "containerRegistries": [stack.registry_id],
        "connectedRegistries": [{"name": PLANT, "capacity": 7, "repositories": ["hello-world"]}],
    }
    async with AsyncExitStack() as cleanup:
        _throttle(stack, cleanup.enter_context(pytest.MonkeyPatch.context()))
        ingestion = await cleanup.enter_async_context(
            open_ingestion(stack.kernel.certificates, address=stack.address)
        )
        endpoints = await cleanup.enter_async_context(
            open_endpoints(
                stack,
                ca_file=str(ca_file),
                policy=policy,
                system_key=secrets.token_urlsafe(32),
                more_settings={**ingestion.settings, "FIRSTPULL_DEPLOYMENT": "watched"},
            )
        )
        password = await _pull_first(endpoints, stack)
        # The timer itself may have measured while the device was not there.
        await ingestion.until(lambda: _counts_the_device(ingestion.metrics()))
        await ingestion.until(lambda: "firstpull.first_pull.duration" in ingestion.metrics())
        await ingestion.until(lambda: ingestion.messages("device.reconcile.ready {"))
        await ingestion.until(lambda: ingestion.spans("measure"))
        yield Sent(ingestion=ingestion, password=password, function_key=endpoints.app.key)


def _counts_the_device(metrics: dict[str, dict[str, float]]) -> bool:
    """Whether all that is measured of the device is here, each in an item of its own."""
    is_ready = metrics.get("firstpull.devices", {}).get("state=Ready") == 1
    used = [metrics.get(f"firstpull.{name}.used", {}).values() for name in ("clients", "site")]
    free = {"firstpull.clients.free", "firstpull.site.free"}
    oldest = "firstpull.delivery.oldest_unacknowledged"
    return is_ready and all(1 in each for each in used) and metrics.keys() >= {*free, oldest}


def _throttle(stack: Stack, patch: pytest.MonkeyPatch) -> None:
    """Have Azure Resource Manager count, as it does outside of tests."""
    throttle, admit = Throttle(clock=stack.kernel.clock, limits=RateLimits()), Throttle.admit
    patch.setattr(Throttle, "admit", lambda _, **call: admit(throttle, **call))


async def _pull_first(endpoints: Endpoints, stack: Stack) -> str:
    """Onboard the device and have it log in; returns its password."""
    asked = {"deviceId": DEVICE, "connectedRegistry": PLANT, "repositories": ["hello-world"]}
    answer = await endpoints.call(
        "POST",
        "devices",
        asked,
        headers={
            "x-functions-key": endpoints.app.key,
            "traceparent": f"00-{TRACE}-{CALLER}-01",
            "baggage": "who=somebody",
        },
    )
    assert answer.status == 202, answer.text
    await endpoints.until_state(DEVICE, "Delivered")
    password = str(entry_of(stack, DEVICE, PLANT)["password"])
    report_login(stack, DEVICE, PLANT)
    await endpoints.until_state(DEVICE, "Ready")
    await endpoints.run_function("measure")
    return password


def test_the_endpoint_and_every_pass_are_in_the_trace_of_the_caller(sent: Sent) -> None:
    (endpoint,) = sent.ingestion.spans("create_device")
    assert trace_of(endpoint) == TRACE
    assert endpoint["tags"]["ai.operation.parentId"] == CALLER
    passes = sent.ingestion.spans("reconcile device")
    assert len(passes) > 1
    assert {trace_of(span) for span in passes} == {TRACE}


def test_the_write_to_the_twin_is_in_the_trace(sent: Sent) -> None:
    calls = sent.ingestion.calls(TRACE, f"/twins/{DEVICE}")
    assert "PATCH" in {call["data"]["baseData"]["name"].split()[0] for call in calls}


@pytest.mark.parametrize(
    "event",
    [
        LogEvent.DEVICE_INTENT_RECORDED,
        LogEvent.DEVICE_TOKEN_CREATED,
        LogEvent.DEVICE_CREDENTIAL_DELIVERED,
        LogEvent.DEVICE_CREDENTIAL_ACKNOWLEDGED,
    ],
)
def test_a_log_event_names_the_trace(sent: Sent, event: LogEvent) -> None:
    (logged,) = sent.ingestion.messages(f"{event} {{")
    assert trace_of(logged) == TRACE
    assert f'"device_id":"{DEVICE}"' in logged["data"]["baseData"]["message"]


def test_the_metrics_are_those_of_one_device(sent: Sent) -> None:
    metrics = sent.ingestion.metrics()
    ref = f"connected_registry={PLANT} container_registry={_registry(metrics)}"
    assert metrics["firstpull.devices"]["state=Ready"] == 1
    assert metrics["firstpull.devices"]["state=Blocked"] == 0
    assert metrics["firstpull.clients.used"] == {ref: 1}
    assert metrics["firstpull.clients.free"] == {ref: 6}
    site = f"site={_registry(metrics)}/{PLANT}"
    assert metrics["firstpull.site.used"] == {site: 1}
    assert metrics["firstpull.site.free"] == {site: 6}
    assert metrics["firstpull.delivery.oldest_unacknowledged"] == {"": 0}
    assert metrics["firstpull.first_pull.duration"][""] > 0


def test_the_requests_that_azure_resource_manager_has_left_are_a_metric(
    sent: Sent, stack: Stack
) -> None:
    left = sent.ingestion.metrics()["firstpull.arm.requests_left"]
    of = f"subscription={stack.registry_id.split('/')[2]}"
    assert 0 < left[f"kind=reads {of}"] < RateLimits().reads.capacity
    assert 0 < left[f"kind=writes {of}"] < RateLimits().writes.capacity


def test_no_password_and_no_key_is_sent_in_any_form(sent: Sent) -> None:
    bodies = "".join(sent.ingestion.bodies)
    assert DEVICE in bodies
    for secret in (sent.password, sent.function_key):
        plain = secret.encode()
        forms = {secret, quote(secret, safe=""), base64.b64encode(plain).decode(), plain.hex()}
        assert [form for form in forms if form in bodies] == []


def test_a_callers_baggage_is_not_sent(sent: Sent) -> None:
    assert "somebody" not in "".join(sent.ingestion.bodies)


def test_everything_is_sent_with_a_token_of_the_apps_identity(sent: Sent) -> None:
    assert len(sent.ingestion.authorizations) == 1
    assert all(held.startswith("Bearer ey") for held in sent.ingestion.authorizations)


def _registry(metrics: dict[str, dict[str, float]]) -> str:
    (attributes,) = metrics["firstpull.clients.used"]
    return attributes.rpartition("=")[2]
