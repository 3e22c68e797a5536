from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from local_azure.iot_hub import IotHub
from local_azure.iot_hub.identities import DeviceSettings, DeviceStatus
from local_azure.iot_hub.models import DeviceCreated, HubEvent
from local_azure.iot_hub.twins import TwinPatch
from local_azure.provisioning import (
    AllocationWebhook,
    Enrollment,
    EnrollmentKind,
    ProvisioningService,
    ReprovisionPolicy,
)
from local_azure.provisioning.exceptions import EnrollmentExists, EnrollmentNotFound
from local_azure.provisioning.models import Registration
from tests.local_azure.webhooks import Received, WebhookServer, no_answer

from .conftest import FIRST, SECOND

pytestmark = pytest.mark.usefixtures("group")
TWIN = {"tags": {"site": "north"}, "properties": {"desired": {"state": "ready"}}}


def answering(document: object, *, status: int = 200) -> Callable[[Received], web.Response]:
    return lambda _: web.json_response(document, status=status)


async def register(
    door: AllocationWebhook,
    registration_id: str = "dev-007",
    *,
    group_id: str | None = "cameras",
    payload: dict[str, Any] | None = None,
) -> Registration:
    applicant = door.service.applicant(registration_id, group_id=group_id, payload=payload)
    return await door.register(applicant)


async def test_the_webhook_is_asked_in_the_words_of_the_service(
    door: AllocationWebhook, webhook: WebhookServer
) -> None:
    await register(door, payload={"model": "x1"})
    (received,) = webhook.received
    etag = received.body["enrollmentGroup"].pop("etag")
    assert (etag[0], etag[-1], len(etag)) == ('"', '"', 38)
    at = "2031-05-06T12:00:00.0000000Z"
    assert (received.method, received.path) == ("POST", "/hook?code=secret")
    assert received.body == {
        "enrollmentGroup": {
            "enrollmentGroupId": "cameras",
            "attestation": {"type": "symmetricKey"},
            "capabilities": {"iotEdge": False},
            "provisioningStatus": "enabled",
            "reprovisionPolicy": {"updateHubAssignment": True, "migrateDeviceData": True},
            "createdDateTimeUtc": at,
            "lastUpdatedDateTimeUtc": at,
            "allocationPolicy": "custom",
            "iotHubs": [FIRST, SECOND],
            "customAllocationDefinition": {
                "webhookUrl": f"{webhook.url}?****",
                "apiVersion": "2021-10-01",
            },
        },
        "deviceRuntimeContext": {
            "registrationId": "dev-007",
            "symmetricKey": {},
            "payload": {"model": "x1"},
        },
        "linkedHubs": [FIRST, SECOND],
    }


async def test_a_new_device_enters_its_hub_with_its_first_twin_and_is_told_the_payload(
    door: AllocationWebhook, webhook: WebhookServer, hubs: dict[str, IotHub], group: Enrollment
) -> None:
    heard: list[HubEvent] = []
    hubs[SECOND].subscribe(heard.append)
    webhook.answer = answering(
        {"iotHubHostName": SECOND, "initialTwin": TWIN, "payload": {"welcome": True}}
    )
    registration = await register(door)
    assert (registration.status, registration.substatus) == ("assigned", "initialAssignment")
    assert (registration.assigned_hub, registration.device_id) == (SECOND, "dev-007")
    assert registration.payload == {"welcome": True}
    identity, twin = hubs[SECOND].device("dev-007"), hubs[SECOND].twin("dev-007")
    assert isinstance(heard[0], DeviceCreated)
    assert (twin.tags, twin.desired.values) == ({"site": "north"}, {"state": "ready"})
    key = hmac.digest(base64.b64decode(group.primary_key), b"dev-007", hashlib.sha256)
    assert identity.settings.authentication.primary_key == base64.b64encode(key).decode()
    assert hubs[FIRST].devices() == []


async def test_a_device_of_its_own_enrollment_has_the_enrollments_keys_name_and_kind(
    door: AllocationWebhook,
    webhook: WebhookServer,
    service: ProvisioningService,
    hubs: dict[str, IotHub],
) -> None:
    enrollment = Enrollment(
        kind=EnrollmentKind.INDIVIDUAL,
        id="dev-007",
        device_id="camera",
        webhook_url=webhook.url,
        iot_edge=True,
    )
    service.enroll(enrollment)
    registration = await register(door, "DEV-007", group_id=None)
    assert registration.device_id == "camera"
    settings = hubs[FIRST].device("camera").settings
    assert (settings.iot_edge, settings.authentication.keys) == (
        True, (enrollment.primary_key, enrollment.secondary_key),
    )  # fmt: skip
    body = webhook.received[0].body
    assert body["individualEnrollment"]["registrationId"] == "dev-007"
    assert "enrollmentGroup" not in body


async def test_the_webhook_is_asked_each_time_and_hears_of_the_hub_in_either_spelling(
    door: AllocationWebhook, webhook: WebhookServer
) -> None:
    for _ in range(20):
        await register(door)
    first, *others = (received.body["deviceRuntimeContext"] for received in webhook.received)
    assert set(first) == {"registrationId", "symmetricKey"}
    names = {frozenset(context) - {"registrationId", "symmetricKey"} for context in others}
    assert names == {
        frozenset({"currentIotHubHostName", "currentDeviceId"}),
        frozenset({"currentIoTHubHostName", "currentDeviceId"}),
    }
    assert {context["currentDeviceId"] for context in others} == {"dev-007"}


async def test_a_device_that_registers_again_stays_as_it_is_and_hears_the_new_payload(
    door: AllocationWebhook, webhook: WebhookServer, hubs: dict[str, IotHub]
) -> None:
    await register(door)
    before = hubs[FIRST].device("dev-007")
    hubs[FIRST].patch_twin("dev-007", TwinPatch(desired={"state": "at work"}), etag=None)
    webhook.answer = answering(
        {"iotHubHostName": FIRST, "initialTwin": TWIN, "payload": {"again": 1}}
    )
    registration = await register(door)
    assert registration.substatus == "reprovisionedToInitialAssignment"
    assert registration.payload == {"again": 1}
    assert hubs[FIRST].device("dev-007") == before
    twin = hubs[FIRST].twin("dev-007")
    assert (twin.tags, twin.desired.values) == ({}, {"state": "at work"})


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (ReprovisionPolicy.MIGRATE, (SECOND, "deviceDataMigrated", {"old": True}, {"seen": 1})),
        (ReprovisionPolicy.RESET, (SECOND, "deviceDataReset", {"site": "north"}, {})),
        (
            ReprovisionPolicy.NEVER,
            (FIRST, "reprovisionedToInitialAssignment", {"old": True}, {"seen": 1}),
        ),
    ],
)
async def test_another_hub_is_a_matter_of_the_policy(
    door: AllocationWebhook,
    webhook: WebhookServer,
    service: ProvisioningService,
    hubs: dict[str, IotHub],
    group: Enrollment,
    policy: ReprovisionPolicy,
    expected: tuple[str, str, object, object],
) -> None:
    hub, substatus, tags, reported = expected
    service.enroll(replace(group, id="moving", reprovision_policy=policy))
    await register(door, group_id="moving")
    hubs[FIRST].patch_twin("dev-007", TwinPatch(tags={"old": True}), etag=None)
    hubs[FIRST].report("dev-007", {"seen": 1})
    webhook.answer = answering({"iotHubHostName": SECOND, "initialTwin": TWIN})
    registration = await register(door, group_id="moving")
    assert (registration.assigned_hub, registration.substatus) == (hub, substatus)
    twin = hubs[hub].twin("dev-007")
    assert (twin.tags, twin.reported.values) == (tags, reported)
    assert sum(len(each.devices()) for each in hubs.values()) == 1


async def test_a_device_that_was_deleted_by_hand_is_assigned_anew(
    door: AllocationWebhook, webhook: WebhookServer, hubs: dict[str, IotHub]
) -> None:
    await register(door)
    hubs[FIRST].delete_device("dev-007", etag=None)
    webhook.answer = answering({"iotHubHostName": FIRST, "initialTwin": TWIN})
    registration = await register(door)
    assert registration.substatus == "initialAssignment"
    assert hubs[FIRST].twin("dev-007").tags == {"site": "north"}


async def test_a_device_that_was_there_before_keeps_its_twin_and_status(
    door: AllocationWebhook, webhook: WebhookServer, hubs: dict[str, IotHub]
) -> None:
    hubs[FIRST].create_device(DeviceSettings("dev-007", status=DeviceStatus.DISABLED))
    webhook.answer = answering({"iotHubHostName": FIRST, "initialTwin": TWIN})
    registration = await register(door)
    assert registration.status == "assigned"
    assert not hubs[FIRST].device("dev-007").enabled
    assert hubs[FIRST].twin("dev-007").tags == {}


@pytest.mark.parametrize("status", [201, 202, 204, 302, 400, 401, 404, 500, 503])
async def test_any_status_but_200_fails_and_leaves_nothing(
    door: AllocationWebhook, webhook: WebhookServer, hubs: dict[str, IotHub], status: int
) -> None:
    webhook.answer = lambda _: web.Response(status=status)
    registration = await register(door)
    assert (registration.status, registration.error_code, registration.error_message) == (
        "failed", 400207, f"Custom allocation failed with status code: {status}",
    )  # fmt: skip
    assert hubs[FIRST].devices() == []


@pytest.mark.parametrize(
    "document",
    [
        {},
        [],
        {"iotHubHostName": "c.azure-devices.net"},
        {"iotHubHostName": 7},
        {"iotHubHostName": FIRST, "colour": "hunter2"},
        {"iotHubHostName": FIRST, "payload": "hunter2"},
        {"iotHubHostName": FIRST, "initialTwin": {"properties": {"reported": {"a": "hunter2"}}}},
        {"iotHubHostName": FIRST, "initialTwin": {"desired": {"a": "hunter2"}}},
        {"iotHubHostName": FIRST, "initialTwin": {"tags": {"a.b": "hunter2"}}},
        {"iotHubHostName": FIRST, "initialTwin": {"properties": {"desired": {"$version": 1}}}},
        {"iotHubHostName": FIRST, "initialTwin": {"tags": {"a": "x" * 5000}}},
    ],
)
async def test_an_answer_that_decides_nothing_fails_and_leaves_nothing(
    door: AllocationWebhook, webhook: WebhookServer, hubs: dict[str, IotHub], document: object
) -> None:
    webhook.answer = answering(document)
    registration = await register(door)
    assert (registration.status, registration.error_code) == ("failed", 400207)
    assert "hunter2" not in (registration.error_message or "")
    assert hubs[FIRST].devices() == []


async def test_a_webhook_that_is_late_or_away_has_failed_and_the_device_stays_where_it_was(
    door: AllocationWebhook, webhook: WebhookServer, service: ProvisioningService, group: Enrollment
) -> None:
    await register(door)
    webhook.answer = no_answer
    door.timeout_seconds = 0.05
    late = await register(door)
    assert (late.status, late.assigned_hub) == ("failed", FIRST)
    assert "in time" in (late.error_message or "")
    nobody = replace(group, id="nobody", webhook_url="http://127.0.0.1:1/hook?code=secret")
    service.enroll(nobody)
    away = await register(door, "dev-008", group_id="nobody")
    assert (away.status, away.assigned_hub) == ("failed", None)
    assert "secret" not in (away.error_message or "")


async def test_a_disabled_enrollment_asks_nobody(
    door: AllocationWebhook, webhook: WebhookServer, service: ProvisioningService, group: Enrollment
) -> None:
    service.enroll(replace(group, id="off", enabled=False))
    registration = await register(door, group_id="off")
    assert (registration.status, webhook.received) == ("disabled", [])


def test_enrollments_are_unique_in_any_case_and_unknown_ones_refused(
    service: ProvisioningService, group: Enrollment
) -> None:
    with pytest.raises(EnrollmentExists):
        service.enroll(replace(group, id="CAMERAS"))
    with pytest.raises(EnrollmentNotFound):
        service.applicant("dev-007", group_id=None)
    service.withdraw(EnrollmentKind.GROUP, "Cameras")
    with pytest.raises(EnrollmentNotFound):
        service.applicant("dev-007", group_id="cameras")


@pytest.mark.parametrize("wrong", ["", "-a", "a.", "a b", "a/b", "x" * 129])
def test_an_id_that_the_service_would_refuse_is_refused(
    service: ProvisioningService, wrong: str
) -> None:
    with pytest.raises(ValueError, match="an id is"):
        service.applicant(wrong, group_id="cameras")


def test_keys_and_the_webhooks_code_are_not_shown(group: Enrollment) -> None:
    assert group.primary_key not in repr(group)
    assert "secret" not in repr(group) + group.shown_url
