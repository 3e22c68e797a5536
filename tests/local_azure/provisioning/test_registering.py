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

from .conftest import HUB

pytestmark = pytest.mark.usefixtures("group")
TWIN = {"tags": {"site": "north"}, "properties": {"desired": {"state": "ready"}}}


def answering(document: object) -> Callable[[Received], web.Response]:
    return lambda _: web.json_response(document)


async def register(
    client: AllocationWebhook,
    registration_id: str = "dev-007",
    *,
    group_id: str | None = "cameras",
    payload: dict[str, Any] | None = None,
) -> Registration:
    request = client.service.request(registration_id, group_id=group_id, payload=payload)
    return await client.register(request)


async def test_the_webhook_gets_the_request_of_the_service(
    client: AllocationWebhook, webhook: WebhookServer
) -> None:
    await register(client, payload={"model": "x1"})
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
            "iotHubs": [HUB],
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
        "linkedHubs": [HUB],
    }


async def test_a_new_device_gets_its_key_its_initial_twin_and_the_payload(
    client: AllocationWebhook, webhook: WebhookServer, hub: IotHub, group: Enrollment
) -> None:
    webhook.answer = answering(
        {"iotHubHostName": HUB, "initialTwin": TWIN, "payload": {"welcome": True}}
    )
    registration = await register(client)
    assert (registration.status, registration.substatus) == ("assigned", "initialAssignment")
    assert (registration.assigned_hub, registration.device_id) == (HUB, "dev-007")
    assert registration.payload == {"welcome": True}
    identity, twin = hub.device("dev-007"), hub.twin("dev-007")
    assert (twin.tags, twin.desired.values) == ({"site": "north"}, {"state": "ready"})
    key = hmac.digest(base64.b64decode(group.primary_key), b"dev-007", hashlib.sha256)
    assert identity.settings.authentication.primary_key == base64.b64encode(key).decode()


async def test_an_individual_enrollment_gives_its_keys_its_device_id_and_iot_edge(
    client: AllocationWebhook, webhook: WebhookServer, service: ProvisioningService, hub: IotHub
) -> None:
    enrollment = Enrollment(
        kind=EnrollmentKind.INDIVIDUAL,
        id="dev-007",
        device_id="camera",
        webhook_url=webhook.url,
        iot_edge=True,
    )
    service.enroll(enrollment)
    registration = await register(client, "DEV-007", group_id=None)
    assert registration.device_id == "camera"
    settings = hub.device("camera").settings
    keys = (enrollment.primary_key, enrollment.secondary_key)
    assert (settings.iot_edge, settings.authentication.keys) == (True, keys)
    body = webhook.received[0].body
    assert body["individualEnrollment"]["registrationId"] == "dev-007"
    assert "enrollmentGroup" not in body


async def test_a_later_request_names_the_current_hub_in_either_spelling(
    client: AllocationWebhook, webhook: WebhookServer
) -> None:
    for _ in range(20):
        await register(client)
    first, *others = (received.body["deviceRuntimeContext"] for received in webhook.received)
    assert set(first) == {"registrationId", "symmetricKey"}
    names = {frozenset(context) - {"registrationId", "symmetricKey"} for context in others}
    assert names == {
        frozenset({"currentIotHubHostName", "currentDeviceId"}),
        frozenset({"currentIoTHubHostName", "currentDeviceId"}),
    }
    assert {context["currentDeviceId"] for context in others} == {"dev-007"}


async def test_a_device_that_registers_again_keeps_its_twin_and_gets_the_new_payload(
    client: AllocationWebhook, webhook: WebhookServer, hub: IotHub
) -> None:
    await register(client)
    before = hub.device("dev-007")
    hub.patch_twin("dev-007", TwinPatch(desired={"state": "at work"}), etag=None)
    webhook.answer = answering({"iotHubHostName": HUB, "initialTwin": TWIN, "payload": {"a": 1}})
    registration = await register(client)
    assert registration.substatus == "reprovisionedToInitialAssignment"
    assert registration.payload == {"a": 1}
    assert hub.device("dev-007") == before
    twin = hub.twin("dev-007")
    assert (twin.tags, twin.desired.values) == ({}, {"state": "at work"})


async def test_the_policy_reset_replaces_the_twin_of_a_device_that_registers_again(
    client: AllocationWebhook,
    webhook: WebhookServer,
    service: ProvisioningService,
    hub: IotHub,
    group: Enrollment,
) -> None:
    service.enroll(replace(group, id="reset", reprovision_policy=ReprovisionPolicy.RESET))
    webhook.answer = answering({"iotHubHostName": HUB, "initialTwin": TWIN})
    await register(client, group_id="reset")
    before = hub.device("dev-007")
    hub.patch_twin("dev-007", TwinPatch(desired={"state": "at work"}, tags={"a": 1}), etag=None)
    hub.report("dev-007", {"state": "at work"})
    registration = await register(client, group_id="reset")
    assert (registration.status, registration.substatus) == ("assigned", "deviceDataReset")
    twin = hub.twin("dev-007")
    assert (twin.tags, twin.desired.values) == ({"site": "north"}, {"state": "ready"})
    assert twin.reported.values == {}
    assert hub.device("dev-007") == before


async def test_a_deleted_device_is_assigned_for_the_first_time_again(
    client: AllocationWebhook, webhook: WebhookServer, hub: IotHub
) -> None:
    await register(client)
    hub.delete_device("dev-007", etag=None)
    webhook.answer = answering({"iotHubHostName": HUB, "initialTwin": TWIN})
    registration = await register(client)
    assert registration.substatus == "initialAssignment"
    assert hub.twin("dev-007").tags == {"site": "north"}


async def test_a_device_that_existed_before_keeps_its_twin_and_status(
    client: AllocationWebhook, webhook: WebhookServer, hub: IotHub
) -> None:
    hub.create_device(DeviceSettings("dev-007", status=DeviceStatus.DISABLED))
    webhook.answer = answering({"iotHubHostName": HUB, "initialTwin": TWIN})
    registration = await register(client)
    assert registration.status == "assigned"
    assert not hub.device("dev-007").enabled
    assert hub.twin("dev-007").tags == {}


@pytest.mark.parametrize("status", [201, 204, 302, 401, 500])
async def test_a_status_other_than_200_fails_the_registration(
    client: AllocationWebhook, webhook: WebhookServer, hub: IotHub, status: int
) -> None:
    webhook.answer = lambda _: web.Response(status=status)
    registration = await register(client)
    assert (registration.status, registration.error_code) == ("failed", 400207)
    message = f"Custom allocation failed with status code: {status}"
    assert registration.error_message == message
    assert hub.devices() == []


@pytest.mark.parametrize(
    "document",
    [
        {},
        [],
        {"iotHubHostName": "c.azure-devices.net"},
        {"iotHubHostName": 7},
        {"iotHubHostName": HUB, "colour": "hunter2"},
        {"iotHubHostName": HUB, "payload": "hunter2"},
        {"iotHubHostName": HUB, "initialTwin": {"properties": {"reported": {"a": "hunter2"}}}},
        {"iotHubHostName": HUB, "initialTwin": {"desired": {"a": "hunter2"}}},
        {"iotHubHostName": HUB, "initialTwin": {"tags": {"a.b": "hunter2"}}},
        {"iotHubHostName": HUB, "initialTwin": {"properties": {"desired": {"$version": 1}}}},
        {"iotHubHostName": HUB, "initialTwin": {"tags": {"a": "x" * 5000}}},
    ],
)
async def test_an_invalid_answer_fails_the_registration(
    client: AllocationWebhook, webhook: WebhookServer, hub: IotHub, document: object
) -> None:
    webhook.answer = answering(document)
    registration = await register(client)
    assert (registration.status, registration.error_code) == ("failed", 400207)
    assert "hunter2" not in (registration.error_message or "")
    assert hub.devices() == []


async def test_a_slow_or_unreachable_webhook_fails_the_registration(
    client: AllocationWebhook,
    webhook: WebhookServer,
    service: ProvisioningService,
    group: Enrollment,
) -> None:
    await register(client)
    webhook.answer = no_answer
    client.timeout_seconds = 0.05
    slow = await register(client)
    assert (slow.status, slow.assigned_hub) == ("failed", HUB)
    service.enroll(replace(group, id="nobody", webhook_url="http://127.0.0.1:1/hook?code=secret"))
    unreachable = await register(client, "dev-008", group_id="nobody")
    assert (unreachable.status, unreachable.assigned_hub) == ("failed", None)
    assert "secret" not in (unreachable.error_message or "")


async def test_a_disabled_enrollment_does_not_call_the_webhook(
    client: AllocationWebhook,
    webhook: WebhookServer,
    service: ProvisioningService,
    group: Enrollment,
) -> None:
    service.enroll(replace(group, id="off", enabled=False))
    registration = await register(client, group_id="off")
    assert (registration.status, webhook.received) == ("disabled", [])


def test_an_enrollment_is_found_in_any_case(
    service: ProvisioningService, group: Enrollment
) -> None:
    with pytest.raises(EnrollmentExists):
        service.enroll(replace(group, id="CAMERAS"))
    with pytest.raises(EnrollmentNotFound):
        service.request("dev-007", group_id=None)
    service.delete(EnrollmentKind.GROUP, "Cameras")
    with pytest.raises(EnrollmentNotFound):
        service.request("dev-007", group_id="cameras")


def test_keys_and_the_code_of_the_webhook_are_not_shown(group: Enrollment) -> None:
    assert group.primary_key not in repr(group)
    assert "secret" not in repr(group) + group.shown_url
