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
from local_azure.kernel.clock import Clock

from .hub_stack import HubHttp

KEY = base64.b64encode(b"k" * 32).decode()
SHA1, SHA256 = "aB" * 20, "0F" * 32


@pytest.mark.parametrize("device_id", ["a", "A" * 128, "dev-1:.+%_#*?!(),=@$'"])
def test_a_device_id_may_hold_every_character_that_iot_hub_takes(
    model: IotHub, device_id: str
) -> None:
    assert model.create_device(DeviceSettings(device_id)).device_id == device_id


@pytest.mark.parametrize("device_id", ["", "a" * 129, "a b", "a/b", "ä", "a;b", "a\n", "a&b"])
def test_a_device_id_that_iot_hub_does_not_take_is_refused(model: IotHub, device_id: str) -> None:
    with pytest.raises(IotHubError, match="device id") as caught:
        model.create_device(DeviceSettings(device_id))
    assert caught.value.kind.code == "ArgumentInvalid"
    assert model.devices() == []


def test_device_ids_differ_by_case(model: IotHub) -> None:
    one = model.create_device(DeviceSettings("dev"))
    other = model.create_device(DeviceSettings("DEV"))
    assert one.generation_id != other.generation_id
    assert model.device("dev") == one


def test_a_device_without_keys_is_given_two_that_nobody_else_has(model: IotHub) -> None:
    keys = {
        key
        for name in ("a", "b")
        for key in model.create_device(DeviceSettings(name)).settings.authentication.keys
    }
    assert len(keys) == 4
    assert all(len(base64.b64decode(key)) == 32 for key in keys)


@pytest.mark.parametrize(
    ("authentication", "message"),
    [
        (Authentication(primary_key=KEY), "Either no keys or both"),
        (Authentication(secondary_key=KEY), "Either no keys or both"),
        (Authentication(primary_key="not base64", secondary_key=KEY), "not base64"),
        (Authentication(primary_key="ä" * 40, secondary_key=KEY), "not base64"),
        (
            Authentication(primary_key=KEY, secondary_key=base64.b64encode(b"k" * 15).decode()),
            "length",
        ),
        (
            Authentication(primary_key=base64.b64encode(b"k" * 65).decode(), secondary_key=KEY),
            "length",
        ),
        (
            Authentication(AuthenticationType.SELF_SIGNED, primary_thumbprint="ab:" * 20),
            "StringIsNotThumbprint",
        ),
        (
            Authentication(AuthenticationType.SELF_SIGNED, secondary_thumbprint="a" * 41),
            "StringIsNotThumbprint",
        ),
    ],
)
def test_keys_and_thumbprints_that_cannot_be_used_are_refused(
    model: IotHub, authentication: Authentication, message: str
) -> None:
    with pytest.raises(IotHubError, match=message):
        model.create_device(DeviceSettings("d", authentication))


def test_no_refusal_and_no_representation_shows_a_key(model: IotHub) -> None:
    identity = model.create_device(DeviceSettings("d"))
    for key in identity.settings.authentication.keys:
        assert key not in repr(identity)
    with pytest.raises(IotHubError) as caught:
        model.create_device(DeviceSettings("e", Authentication(primary_key="c2VjcmV0")))
    assert "c2VjcmV0" not in str(caught.value)


def test_a_device_that_is_made_again_is_another_device(model: IotHub) -> None:
    first = model.create_device(DeviceSettings("d"))
    model.delete_device("d", etag=None)
    second = model.create_device(DeviceSettings("d"))
    assert second.generation_id != first.generation_id
    assert second.settings.authentication.keys != first.settings.authentication.keys


def test_an_update_that_names_no_keys_makes_new_ones(model: IotHub) -> None:
    first = model.create_device(DeviceSettings("d"))
    second = model.update_device(DeviceSettings("d"), etag=first.etag)
    assert second.generation_id == first.generation_id
    assert second.settings.authentication.keys != first.settings.authentication.keys


def test_every_write_of_an_identity_moves_its_etag_by_one(model: IotHub) -> None:
    first = model.create_device(DeviceSettings("d"))
    second = model.update_device(DeviceSettings("d"), etag=None)
    assert int(base64.b64decode(second.etag)) == int(base64.b64decode(first.etag)) + 1


def test_an_old_etag_neither_updates_nor_deletes(model: IotHub) -> None:
    old = model.create_device(DeviceSettings("d")).etag
    current = model.update_device(DeviceSettings("d"), etag=old)
    with pytest.raises(IotHubError) as updating:
        model.update_device(DeviceSettings("d"), etag=old)
    with pytest.raises(IotHubError) as deleting:
        model.delete_device("d", etag=old)
    assert updating.value.kind.status == deleting.value.kind.status == 412
    assert model.device("d") == current


def test_only_a_change_of_status_moves_its_time(model: IotHub, clock: Clock) -> None:
    model.create_device(DeviceSettings("d"))
    same = model.update_device(DeviceSettings("d"), etag=None)
    assert same.status_updated_at is None
    clock.advance(timedelta(hours=1))
    disabled = DeviceSettings("d", status=DeviceStatus.DISABLED, status_reason="stolen")
    assert model.update_device(disabled, etag=None).status_updated_at == clock.now()


def test_listeners_hear_of_every_device_in_order(model: IotHub) -> None:
    events: list[HubEvent] = []
    model.subscribe(events.append)
    created = model.create_device(DeviceSettings("d"))
    updated = model.update_device(DeviceSettings("d"), etag=None)
    model.delete_device("d", etag=None)
    assert events == [DeviceCreated(created), DeviceUpdated(updated), DeviceDeleted(updated)]


async def test_the_sdk_takes_a_device_through_its_life(http: HubHttp, ca_file: str) -> None:
    manager = http.manager(ca_file)

    def live() -> None:
        created = manager.create_device_with_sas("dev#1%41?x", None, None, "enabled")
        assert created.authentication.symmetric_key.primary_key
        read = manager.get_device(created.device_id)
        assert read == created
        updated = manager.update_device_with_sas(
            created.device_id, created.etag, KEY, KEY, "disabled", status_reason="lent"
        )
        assert updated.generation_id == created.generation_id
        assert (updated.status, updated.status_reason) == ("disabled", "lent")
        with pytest.raises(HttpOperationError) as caught:
            manager.update_device_with_sas(created.device_id, created.etag, KEY, KEY, "enabled")
        assert caught.value.response.status_code == 412
        assert manager.get_twin(created.device_id).device_etag == updated.etag
        assert [device.device_id for device in manager.get_devices()] == [created.device_id]
        manager.delete_device(created.device_id, updated.etag)
        with pytest.raises(HttpOperationError) as caught:
            manager.get_device(created.device_id)
        assert caught.value.response.headers["iothub-errorcode"] == "DeviceNotFound"

    await asyncio.to_thread(live)


async def test_the_sdk_registers_x509_and_ca_and_edge_devices(http: HubHttp, ca_file: str) -> None:
    manager = http.manager(ca_file)

    def register() -> None:
        x509 = manager.create_device_with_x509("x", SHA1, SHA256, "enabled")
        assert x509.authentication.type == "selfSigned"
        assert x509.authentication.x509_thumbprint.primary_thumbprint == SHA1
        assert x509.authentication.symmetric_key.primary_key is None
        ca = manager.create_device_with_certificate_authority("c", "enabled")
        assert ca.authentication.type == "certificateAuthority"
        edge = manager.create_device_with_sas("e", KEY, KEY, "enabled", iot_edge=True)
        assert edge.capabilities.iot_edge
        assert edge.device_scope == f"ms-azure-iot-edge://e-{edge.generation_id}"
        again = manager.update_device_with_sas(
            "e", edge.etag, KEY, KEY, "enabled", iot_edge=True, device_scope=edge.device_scope
        )
        assert again.device_scope == edge.device_scope

    await asyncio.to_thread(register)


async def test_an_id_is_enough_to_create_a_device(http: HubHttp) -> None:
    answer = await http.request("PUT", "/devices/d", json={"deviceId": "d"})
    assert answer.status == 200
    assert answer.body["status"] == "enabled"
    assert answer.body["authentication"]["type"] == "sas"
    assert answer.body["authentication"]["symmetricKey"]["primaryKey"]
    assert answer.headers["ETag"] == f'"{answer.body["etag"]}"'


async def test_a_put_without_if_match_creates_only(http: HubHttp) -> None:
    await http.request("PUT", "/devices/d", json={"deviceId": "d"})
    answer = await http.request("PUT", "/devices/d", json={"deviceId": "d"})
    assert (answer.status, answer.code) == (409, "DeviceAlreadyExists")
    assert answer.body["Message"] == (
        "ErrorCode:DeviceAlreadyExists;A device with ID 'd' is already registered."
    )
    assert answer.body["ExceptionMessage"].startswith("Tracking ID:")


async def test_a_put_with_if_match_updates_only(http: HubHttp) -> None:
    answer = await http.request(
        "PUT", "/devices/d", json={"deviceId": "d"}, headers={"If-Match": '"*"'}
    )
    assert (answer.status, answer.code) == (404, "DeviceNotFound")
    assert answer.body["Message"] == "ErrorCode:DeviceNotFound;d"


@pytest.mark.parametrize("wildcard", ["*", '"*"'])
async def test_deleting_takes_an_etag_or_a_wildcard(http: HubHttp, wildcard: str) -> None:
    await http.request("PUT", "/devices/d", json={"deviceId": "d"})
    without = await http.request("DELETE", "/devices/d")
    assert (without.status, without.code) == (412, "PreconditionFailed")
    assert without.body["Message"] == "ErrorCode:PreconditionFailed;Etag missing"
    stale = await http.request("DELETE", "/devices/d", headers={"If-Match": '"MQ=="'})
    assert stale.status == 412
    gone = await http.request("DELETE", "/devices/d", headers={"If-Match": wildcard})
    assert (gone.status, gone.body) == (204, None)
    again = await http.request("DELETE", "/devices/d", headers={"If-Match": wildcard})
    assert again.status == 404


@pytest.mark.parametrize("quote", ["", '"'])
async def test_the_registry_takes_etags_with_and_without_quotes(http: HubHttp, quote: str) -> None:
    created = await http.request("PUT", "/devices/d", json={"deviceId": "d"})
    etag = f"{quote}{created.body['etag']}{quote}"
    updated = await http.request(
        "PUT", "/devices/d", json={"deviceId": "d"}, headers={"If-Match": etag}
    )
    assert updated.status == 200
    stale = await http.request(
        "PUT", "/devices/d", json={"deviceId": "d"}, headers={"If-Match": etag}
    )
    assert stale.status == 412


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"deviceId": "other"},
        {"deviceId": "d", "colour": "red"},
        {"deviceId": "d", "status": "asleep"},
        {"deviceId": "d", "statusReason": "x" * 129},
        {"deviceId": "d", "authentication": {"type": "none"}},
        {"deviceId": "d", "authentication": {"symmetricKey": {"key": KEY}}},
        {"deviceId": "d", "capabilities": {"iotEdge": "yes"}},
        {"deviceId": "d", "deviceScope": "ms-azure-iot-edge://parent-1"},
        {"deviceId": "d", "parentScopes": ["ms-azure-iot-edge://parent-1"]},
        ["deviceId", "d"],
    ],
)
async def test_a_body_that_iot_hub_would_not_understand_is_refused(
    http: HubHttp, body: object
) -> None:
    answer = await http.request("PUT", "/devices/d", json=body)
    assert answer.status == 400
    assert answer.code in {"ArgumentInvalid", "IotHubFormatError"}
    assert KEY not in answer.body["Message"]
    assert http.hub.devices() == []


async def test_thumbprints_alone_make_an_x509_device(http: HubHttp) -> None:
    body = {
        "deviceId": "d",
        "authentication": {"x509Thumbprint": {"primaryThumbprint": SHA256}},
    }
    answer = await http.request("PUT", "/devices/d", json=body)
    assert answer.body["authentication"]["type"] == "selfSigned"


async def test_what_was_read_can_be_written_back(http: HubHttp) -> None:
    created = await http.request("PUT", "/devices/d", json={"deviceId": "d"})
    body = {**created.body, "status": "disabled"}
    written = await http.request("PUT", "/devices/d", json=body, headers={"If-Match": "*"})
    assert written.status == 200
    assert written.body["authentication"] == created.body["authentication"]
    assert written.body["status"] == "disabled"


@pytest.mark.parametrize(("top", "count"), [("2", 2), ("0", 3), ("1001", 3), ("", 3)])
async def test_listing_devices_stops_at_top(http: HubHttp, top: str, count: int) -> None:
    for name in ("a", "b", "c"):
        http.hub.create_device(DeviceSettings(name))
    answer = await http.request("GET", "/devices", params={"api-version": "2021-04-12", "top": top})
    assert [device["deviceId"] for device in answer.body] == ["a", "b", "c"][:count]


async def test_listing_devices_up_to_no_number_is_refused(http: HubHttp) -> None:
    answer = await http.request(
        "GET", "/devices", params={"api-version": "2021-04-12", "top": "all"}
    )
    assert answer.status == 400
