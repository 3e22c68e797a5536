from __future__ import annotations

import asyncio
import base64
from datetime import timedelta

import pytest
from msrest.exceptions import HttpOperationError

from local_azure.iot_hub import IotHub
from local_azure.iot_hub.exceptions import IotHubError
from local_azure.iot_hub.identities import (
    Authentication,
    AuthenticationType,
    DeviceSettings,
    DeviceStatus,
)
from local_azure.iot_hub.models import DeviceCreated, DeviceDeleted, DeviceUpdated, HubEvent
from local_azure.iot_hub.twins import TwinPatch
from local_azure.kernel.clock import Clock

from .hub_stack import HubHttp

KEY = base64.b64encode(b"k" * 32).decode()
SHA1, SHA256 = "aB" * 20, "0F" * 32
D = {"deviceId": "d"}


def test_a_device_id_has_the_characters_and_the_length_of_iot_hub_and_a_case(
    model: IotHub,
) -> None:
    for device_id in ("A" * 128, "dev-1:.+%_#*?!(),=@$'"):
        assert model.create_device(DeviceSettings(device_id)).device_id == device_id
    one, other = (model.create_device(DeviceSettings(name)) for name in ("dev", "DEV"))
    assert one.generation_id != other.generation_id
    assert model.device("dev") == one
    for device_id in ("", "a" * 129, "a b", "a/b", "ä", "a\n"):
        with pytest.raises(IotHubError, match="device id") as caught:
            model.create_device(DeviceSettings(device_id))
        assert caught.value.kind.code == "ArgumentInvalid"


@pytest.mark.parametrize(
    ("authentication", "message"),
    [
        (Authentication(primary_key=KEY), "Either no keys or both"),
        (Authentication(primary_key="ä" * 40, secondary_key=KEY), "not base64"),
        (Authentication(primary_key=KEY, secondary_key="c2hvcnQ="), "length"),
        (
            Authentication(AuthenticationType.SELF_SIGNED, secondary_thumbprint="a" * 41),
            "StringIsNotThumbprint",
        ),
    ],
)
def test_invalid_keys_and_thumbprints_are_refused(
    model: IotHub, authentication: Authentication, message: str
) -> None:
    with pytest.raises(IotHubError, match=message) as caught:
        model.create_device(DeviceSettings("d", authentication))
    assert KEY not in str(caught.value)


def test_a_device_without_keys_gets_two_new_ones_that_are_not_shown(model: IotHub) -> None:
    identities = [model.create_device(DeviceSettings(name)) for name in ("a", "b")]
    keys = {key for each in identities for key in each.settings.authentication.keys}
    assert len(keys) == 4
    assert not any(key in repr(identities) for key in keys)


def test_a_device_that_is_created_again_is_another_device_with_an_empty_twin(
    model: IotHub,
) -> None:
    events: list[HubEvent] = []
    model.subscribe(events.append)
    first = model.create_device(DeviceSettings("d"))
    model.patch_twin("d", TwinPatch(tags={"a": 1}), etag=None)
    model.delete_device("d", etag=first.etag)
    second = model.create_device(DeviceSettings("d"))
    assert events == [DeviceCreated(first), DeviceDeleted(first), DeviceCreated(second)]
    assert int(second.generation_id) > int(first.generation_id)
    assert second.settings.authentication.keys != first.settings.authentication.keys
    assert (model.twin("d").tags, model.twin("d").writes) == ({}, 1)


def test_an_update_keeps_the_generation_and_increases_the_etag(model: IotHub, clock: Clock) -> None:
    first = model.create_device(DeviceSettings("d"))
    events: list[HubEvent] = []
    model.subscribe(events.append)
    second = model.update_device(DeviceSettings("d"), etag=first.etag)
    assert second.generation_id == first.generation_id
    assert int(base64.b64decode(second.etag)) == int(base64.b64decode(first.etag)) + 1
    assert second.settings.authentication.keys != first.settings.authentication.keys
    assert events == [DeviceUpdated(second)]
    assert second.status_updated_at is None
    clock.advance(timedelta(hours=1))
    disabled = DeviceSettings("d", status=DeviceStatus.DISABLED, status_reason="stolen")
    assert model.update_device(disabled, etag=None).status_updated_at == clock.now()


def test_an_old_etag_neither_updates_nor_deletes(model: IotHub) -> None:
    old = model.create_device(DeviceSettings("d")).etag
    current = model.update_device(DeviceSettings("d"), etag=old)
    for write in (
        lambda: model.update_device(DeviceSettings("d"), etag=old),
        lambda: model.delete_device("d", etag=old),
    ):
        with pytest.raises(IotHubError) as caught:
            write()
        assert caught.value.kind.status == 412
    assert model.device("d") == current


async def test_the_sdk_creates_reads_updates_and_deletes_devices(
    http: HubHttp, ca_file: str
) -> None:
    manager = http.manager(ca_file)

    def work() -> None:
        created = manager.create_device_with_sas("dev#1%41?x", None, None, "enabled")
        assert created.authentication.symmetric_key.primary_key
        assert manager.get_device(created.device_id) == created
        updated = manager.update_device_with_sas(
            created.device_id, created.etag, KEY, KEY, "disabled", status_reason="lent"
        )
        assert (updated.status, updated.status_reason) == ("disabled", "lent")
        with pytest.raises(HttpOperationError) as caught:
            manager.update_device_with_sas(created.device_id, created.etag, KEY, KEY, "enabled")
        assert caught.value.response.status_code == 412
        assert manager.get_twin(created.device_id).device_etag == updated.etag
        manager.delete_device(created.device_id, updated.etag)
        with pytest.raises(HttpOperationError) as caught:
            manager.get_device(created.device_id)
        assert caught.value.response.headers["iothub-errorcode"] == "DeviceNotFound"

        x509 = manager.create_device_with_x509("x", SHA1, SHA256, "enabled")
        assert x509.authentication.type == "selfSigned"
        assert x509.authentication.x509_thumbprint.primary_thumbprint == SHA1
        assert x509.authentication.symmetric_key.primary_key is None
        edge = manager.create_device_with_sas("e", KEY, KEY, "enabled", iot_edge=True)
        assert edge.device_scope == f"ms-azure-iot-edge://e-{edge.generation_id}"
        again = manager.update_device_with_sas(
            "e", edge.etag, KEY, KEY, "enabled", iot_edge=True, device_scope=edge.device_scope
        )
        assert again.device_scope == edge.device_scope

    await asyncio.to_thread(work)


async def test_an_id_is_enough_to_create_a_device_and_its_document_can_be_written_back(
    http: HubHttp,
) -> None:
    created = await http.request("PUT", "/devices/d", json=D)
    assert created.status == 200
    assert created.body["status"] == "enabled"
    assert created.body["authentication"]["symmetricKey"]["primaryKey"]
    assert created.headers["ETag"] == f'"{created.body["etag"]}"'
    body = {**created.body, "status": "disabled"}
    written = await http.request("PUT", "/devices/d", json=body, headers={"If-Match": "*"})
    assert written.status == 200
    assert written.body["authentication"] == created.body["authentication"]
    assert written.body["status"] == "disabled"


async def test_a_put_creates_without_if_match_and_updates_with_it(http: HubHttp) -> None:
    missing = await http.request("PUT", "/devices/d", json=D, headers={"If-Match": '"*"'})
    assert (missing.status, missing.code) == (404, "DeviceNotFound")
    assert missing.body["Message"] == "ErrorCode:DeviceNotFound;d"
    created = await http.request("PUT", "/devices/d", json=D)
    again = await http.request("PUT", "/devices/d", json=D)
    assert (again.status, again.code) == (409, "DeviceAlreadyExists")
    assert again.body["ExceptionMessage"].startswith("Tracking ID:")
    for etag, status in ((created.body["etag"], 200), (f'"{created.body["etag"]}"', 412)):
        headers = {"If-Match": etag}
        assert (await http.request("PUT", "/devices/d", json=D, headers=headers)).status == status


@pytest.mark.parametrize("wildcard", ["*", '"*"'])
async def test_a_deletion_needs_an_etag_or_a_wildcard(http: HubHttp, wildcard: str) -> None:
    await http.request("PUT", "/devices/d", json=D)
    for headers, status in (
        ({}, 412),
        ({"If-Match": '"MQ=="'}, 412),
        ({"If-Match": wildcard}, 204),
        ({"If-Match": wildcard}, 404),
    ):
        assert (await http.request("DELETE", "/devices/d", headers=headers)).status == status


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"deviceId": "other"},
        {**D, "colour": "red"},
        {**D, "status": "asleep"},
        {**D, "statusReason": "x" * 129},
        {**D, "authentication": {"type": "none"}},
        {**D, "authentication": {"symmetricKey": {"key": KEY}}},
        {**D, "capabilities": {"iotEdge": "yes"}},
        {**D, "deviceScope": "ms-azure-iot-edge://parent-1"},
        {**D, "parentScopes": ["ms-azure-iot-edge://parent-1"]},
        ["deviceId", "d"],
    ],
)
async def test_unknown_and_wrong_fields_are_refused(http: HubHttp, body: object) -> None:
    answer = await http.request("PUT", "/devices/d", json=body)
    assert answer.status == 400
    assert answer.code in {"ArgumentInvalid", "IotHubFormatError"}
    assert KEY not in answer.body["Message"]
    assert http.hub.devices() == []
