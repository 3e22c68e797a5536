"""The provisioning service's webhook gives every device a hub, whatever else goes wrong."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any

import azure.functions as func
import pytest

from firstpull.config.policy import Policy
from firstpull.intake.dps_allocation import Allocation, allocate
from firstpull.intake.event_handler import OPT_IN_TAG
from firstpull.model.device_record import State
from firstpull.model.errors import NotAllowed
from functions import deadlines
from tests.endpoints.documents import Document, allocation, body_of
from tests.firstpull.harness import HUB, PLANT_ONE, Harness, make_policy
from tests.firstpull.test_deadlines import app, functions, serve
from tests.world.calls import Fault

__all__ = ["app", "functions"]  # fixtures

UNLISTED = "unlisted.azure-devices.net"
TARGET = {"connectedRegistry": PLANT_ONE.name, "repositories": ["plant/app"]}
MINUTE = timedelta(minutes=1)
RESET = {"updateHubAssignment": True, "migrateDeviceData": False}


def onboarding_policy(**changes: Any) -> Policy:  # noqa: ANN401 - JSON
    return make_policy(**{"enrollments": {"line": TARGET}, **changes})


def allocated(device_id: str = "press-1", **document: Any) -> Allocation:  # noqa: ANN401 - JSON
    body = allocation(device_id, **{"hubs": [HUB, UNLISTED], **document})
    return allocate(body_of(body), onboarding_policy())


def test_a_device_keeps_its_linked_hub_that_the_policy_does_not_list() -> None:
    kept = allocated(currentIotHubHostName=UNLISTED, currentDeviceId="press-1")
    assert (kept.hub, kept.request) == (UNLISTED, None)


def test_a_device_keeps_its_linked_hub_where_the_policy_lists_none_of_them() -> None:
    assert allocated(hubs=[UNLISTED], currentIoTHubHostName=UNLISTED.upper()).hub == UNLISTED
    with pytest.raises(NotAllowed):
        allocated(hubs=[UNLISTED])


def test_a_device_whose_hub_is_not_linked_gets_a_linked_one_of_the_policy() -> None:
    given = allocated(hubs=[UNLISTED, HUB], currentIotHubHostName="gone.azure-devices.net")
    assert given.hub == HUB
    assert given.request is not None


def test_the_hub_is_spelled_as_the_service_spells_it() -> None:
    given = allocated(hubs=[HUB.upper()], currentIotHubHostName=HUB)
    assert given.hub == HUB.upper()
    assert given.request is not None
    assert given.request.hub == HUB


@pytest.mark.parametrize("device_id", ["..", "a b", "a/b", "", "x" * 129, "ü"])
def test_a_device_whose_id_is_refused_gets_a_hub_and_is_not_onboarded(device_id: str) -> None:
    given = allocated(device_id)
    assert (given.hub, given.request, given.refused) == (HUB, None, True)


@pytest.mark.parametrize(
    ("policy", "may"),
    [
        (None, True),
        ({}, True),
        (RESET, True),
        ({"updateHubAssignment": True, "migrateDeviceData": True}, False),
        ({"updateHubAssignment": False, "migrateDeviceData": False}, False),
        ({"updateHubAssignment": None, "migrateDeviceData": None}, True),
    ],
)
def test_a_registration_may_reset_the_twin_unless_its_policy_says_otherwise(
    policy: object, *, may: bool
) -> None:
    document = allocation("press-1", hubs=[HUB])
    document["enrollmentGroup"]["reprovisionPolicy"] = policy
    assert allocate(body_of(document), onboarding_policy()).may_reset_twin is may


# The endpoint

type Functions = Mapping[str, Callable[..., Awaitable[func.HttpResponse]]]


async def registered(functions: Functions, document: Document, **query: str) -> Document:
    """The answer to the provisioning service, which needs a 200."""
    answer = await functions["allocate_device"](
        func.HttpRequest(
            method="POST",
            url="https://host/api/provisioning",
            params=query,
            body=body_of(document),
        )
    )
    assert answer.status_code == 200, answer.get_body()
    found = json.loads(answer.get_body())
    assert isinstance(found, dict)
    return found


def logged(caplog: pytest.LogCaptureFixture, event: str) -> list[Document]:
    lines = (r.getMessage().partition(" ") for r in caplog.records if r.name == "firstpull")
    return [json.loads(fields) for name, _, fields in lines if name == event]


@pytest.mark.parametrize("fault", [Fault.UNAVAILABLE, Fault.ANSWER_LOST])
@pytest.mark.parametrize("operation", ["records.get", "records.insert", "queue.put"])
async def test_a_device_gets_its_hub_and_its_tag_while_storage_is_down(
    operation: str,
    fault: Fault,
    functions: Functions,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    harness = Harness(policy=onboarding_policy())
    serve(harness, monkeypatch)
    with harness.cloud.failing(operation, fault=fault), caplog.at_level(logging.INFO):
        answer = await registered(functions, allocation("press-1", hubs=[HUB]))
    assert answer["iotHubHostName"] == HUB
    assert answer["initialTwin"]["tags"][OPT_IN_TAG]["repositories"] == ["plant/app"]
    (line,) = logged(caplog, "device.allocation.not_recorded")
    assert (line["hub"], line["reason"]) == (HUB, "ServiceUnavailable")


async def test_a_device_that_could_not_be_recorded_is_onboarded_by_its_tag(
    functions: Functions, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness = Harness(policy=onboarding_policy())
    serve(harness, monkeypatch)
    with harness.cloud.unavailable("records.", "queue."):
        answer = await registered(functions, allocation("press-1", hubs=[HUB]))
    device = harness.register()
    harness.cloud.patch_twin(device, tags=answer["initialTwin"]["tags"])
    await harness.sweep()
    await harness.run_until_quiet()
    assert harness.state(device) is State.READY


async def test_a_device_gets_its_hub_while_storage_does_not_answer(
    functions: Functions, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    harness = Harness(policy=onboarding_policy())
    serve(harness, monkeypatch)
    monkeypatch.setattr(deadlines, "RECORDING_SECONDS", 0.05)
    harness.cloud.silent = ("",)
    with caplog.at_level(logging.INFO):
        answer = await registered(functions, allocation("press-1", hubs=[HUB]))
    assert answer["iotHubHostName"] == HUB
    (line,) = logged(caplog, "device.allocation.not_recorded")
    assert line["reason"] == "DeadlineExceeded"


async def test_the_log_says_that_a_device_with_a_refused_id_is_not_onboarded(
    functions: Functions, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    harness = Harness(policy=onboarding_policy())
    serve(harness, monkeypatch)
    with caplog.at_level(logging.INFO):
        answer = await registered(functions, allocation("press 1", hubs=[HUB]))
    assert answer == {"iotHubHostName": HUB}
    assert harness.cloud.all_records() == []
    (line,) = logged(caplog, "device.allocation.not_recorded")
    assert line == {"hub": HUB, "reason": "InvalidRequest"}


@pytest.mark.parametrize("ready", [True, False])
@pytest.mark.parametrize("replaced_after", [1, 5, 20])
async def test_the_entry_is_back_within_a_minute_of_a_registration_that_reset_the_twin(
    replaced_after: int, functions: Functions, monkeypatch: pytest.MonkeyPatch, *, ready: bool
) -> None:
    harness = Harness(policy=onboarding_policy())
    serve(harness, monkeypatch)
    harness.devices_answer = ready
    device = harness.register()
    await harness.ask()
    await harness.run_for(timedelta(hours=3))
    assert harness.state(device) is (State.READY if ready else State.DELIVERED)

    document = allocation("press-1", hubs=[HUB], currentIotHubHostName=HUB)
    document["enrollmentGroup"]["reprovisionPolicy"] = RESET
    answer = await registered(functions, document)
    await harness.run_for(timedelta(seconds=replaced_after))
    harness.cloud.clear_twin(device)
    harness.cloud.patch_twin(device, tags=answer["initialTwin"]["tags"])
    await harness.run_for(MINUTE)
    assert harness.cloud.entries(device)


async def test_a_registration_that_keeps_the_twin_costs_one_pass(
    functions: Functions, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness = Harness(policy=onboarding_policy())
    serve(harness, monkeypatch)
    device = await harness.make_ready()
    document = allocation("press-1", hubs=[HUB], currentIotHubHostName=HUB)
    document["enrollmentGroup"]["reprovisionPolicy"] = {
        "updateHubAssignment": True,
        "migrateDeviceData": True,
    }
    await registered(functions, document)
    await harness.play_what_is_due()
    assert harness.cloud.record(device).schedule.due_at - harness.clock.now() > timedelta(hours=1)
