"""Devices that appear: those that opt in are onboarded, with what the hub itself says of them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from pydantic import SecretStr

from local_azure.iot_hub.twins import Json
from local_azure.key_vault.models import Properties
from tests.end_to_end.cloud import entry_of

from .documents import ROLES, Document, as_cloud_event, changed, device_event, secret_event
from .endpoints import EVENTS, Endpoints
from .ways_in import TARGET

pytestmark = pytest.mark.xdist_group("endpoints of other apps")

_DELETED = "Microsoft.Devices.DeviceDeleted"


def _reads_of(endpoints: Endpoints, device_id: str) -> int:
    """How often the hub was asked for a twin since the calls were counted anew."""
    calls = endpoints.stack.kernel.calls.latest()
    return len([c for c in calls if c.service == "iotHub" and f"/twins/{device_id}?" in c.path])


async def _onboarded(endpoints: Endpoints, device_id: str) -> Document:
    endpoints.register(device_id)
    await endpoints.call("PUT", f"devices/{device_id}", TARGET)
    await endpoints.until_state(device_id, "Delivered")
    await endpoints.until_looked_at(device_id)
    endpoints.stack.kernel.calls.reset()
    return await endpoints.record(device_id)


_TIMES = {
    "none": ...,
    "null": None,
    "no-zone": "2026-01-02T03:04:05",
    "offset": "2026-01-02T05:04:05+02:00",
    "seven-digits-offset": "2026-01-02T05:04:05.1234567+02:00",
    "west": "2026-01-02T01:34:05.5-01:30",
}


@pytest.mark.parametrize(
    "is_cloud_event", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["cloud", "grid"]
)
@pytest.mark.parametrize("is_pushed", [True, False], ids=["pushed", "queued"])
async def test_an_event_may_have_any_time_of_iso_8601_or_none(
    endpoints: Endpoints, *, is_pushed: bool, is_cloud_event: bool
) -> None:
    devices = {f"{name}-{is_pushed:d}{is_cloud_event:d}": at for name, at in _TIMES.items()}
    for device_id, at in devices.items():
        endpoints.register(device_id, tag={**TARGET, "connectedRegistry": "doorapart"})
        event = device_event(device_id)
        if is_cloud_event:
            event = as_cloud_event(event)
        event = changed(event, changes={"time" if is_cloud_event else "eventTime": at})
        if is_pushed:
            sent = event if is_cloud_event else [event]
            answer = await endpoints.push_event(sent, cloud_event=is_cloud_event)
            assert answer.status == 202
        else:
            await endpoints.put_message(EVENTS, event)
    for device_id in devices:
        await endpoints.until_state(device_id, "Delivered")


async def test_a_device_with_a_tag_gets_what_the_tag_says(endpoints: Endpoints) -> None:
    tag: Json = {"site": "works", "repositories": ["line/tagged"], "actions": ["metadata/read"]}
    endpoints.register("tagged", tag=tag)
    await endpoints.put_message(EVENTS, device_event("tagged"))
    wants = (await endpoints.until_state("tagged", "Delivered"))["wants"]
    assert (wants["target"], wants["repositories"], wants["actions"]) == (
        "site works",
        ["line/tagged"],
        ["metadata/read"],
    )


async def test_a_device_without_a_tag_gets_the_default_and_never_what_its_event_says(
    endpoints: Endpoints,
) -> None:
    endpoints.register("untagged")
    event = device_event("untagged")
    assert event["data"]["twin"]["tags"]["firstpull"]["connectedRegistry"] == "doorsmall"
    await endpoints.put_message(EVENTS, event)
    view = await endpoints.until_state("untagged", "Delivered")
    assert view["wants"]["target"] == view["connectedRegistry"] == "doortwo"
    assert view["wants"]["repositories"] == ["line/default"]


async def test_where_there_is_no_default_a_device_without_a_tag_is_left_alone(
    reserved_doors: Endpoints,
) -> None:
    await reserved_doors.discard_all()
    reserved_doors.register("left-alone")
    reserved_doors.register("opted-in", tag=TARGET)
    assert (await reserved_doors.push_event([device_event("left-alone")])).status == 202
    assert (await reserved_doors.push_event([device_event("opted-in")])).status == 202
    await reserved_doors.until_state("opted-in", "Delivered")
    assert "left-alone" not in await reserved_doors.records()
    assert reserved_doors.stack.hub.twin("left-alone").desired.values == {}
    assert await reserved_doors.poison() == []


async def test_an_event_of_a_device_that_has_gone_again_does_nothing(endpoints: Endpoints) -> None:
    await endpoints.discard_all()
    for kind in ("Microsoft.Devices.DeviceCreated", _DELETED):
        assert (await endpoints.push_event([device_event("gone-again", kind=kind)])).status == 202
    assert "gone-again" not in await endpoints.records()
    assert await endpoints.poison() == []


@pytest.mark.parametrize(
    ("tag", "reason", "paths"),
    [
        ("yes", "InvalidRequest", ["/tags/firstpull"]),
        (True, "InvalidRequest", ["/tags/firstpull"]),
        ([TARGET], "InvalidRequest", ["/tags/firstpull"]),
        ({"repositories": ["line/a"]}, "InvalidRequest", ["/tags/firstpull"]),
        (
            {"connectedRegistry": "doorone"},
            "InvalidRequest",
            ["/tags/firstpull/repositories"],
        ),
        (
            {**TARGET, "repositories": ["line/a", "Line"], "extra": 1},
            "InvalidRequest",
            ["/tags/firstpull/extra", "/tags/firstpull/repositories/1"],
        ),
        (
            {**TARGET, "deviceId": "another"},
            "InvalidRequest",
            ["/tags/firstpull/deviceId"],
        ),
        ({**TARGET, "connectedRegistry": "stranger"}, "NotAllowed", ["/connectedRegistry"]),
        ({**TARGET, "repositories": ["stranger"]}, "NotAllowed", ["/repositories/0"]),
    ],
    ids=str,
)
async def test_a_wrong_tag_is_kept_with_its_paths_and_the_default_does_not_step_in(
    endpoints: Endpoints,
    tag: Json,
    reason: str,
    paths: list[str],
) -> None:
    await endpoints.discard_all()
    device_id = f"wrong-tag-{len(endpoints.stack.hub.devices())}"
    endpoints.register(device_id, tag=tag)
    await endpoints.put_message(EVENTS, device_event(device_id))
    message = await endpoints.until_kept(EVENTS)
    assert message["reason"] == reason
    assert sorted(error["path"] for error in message["errors"]) == sorted(paths)
    assert device_id not in await endpoints.records()


async def test_a_wrong_tag_does_not_keep_the_other_devices_of_its_array_waiting(
    endpoints: Endpoints,
) -> None:
    await endpoints.discard_all()
    endpoints.register("array-wrong", tag="yes")
    endpoints.register("array-right", tag=TARGET)
    events = [device_event("array-wrong"), device_event("array-right")]
    await endpoints.put_message(EVENTS, events)
    await endpoints.until_kept(EVENTS)
    assert "array-right" in await endpoints.records()


async def test_a_device_that_waits_is_woken_when_it_is_created_even_without_a_tag(
    endpoints: Endpoints,
) -> None:
    await endpoints.call("PUT", "devices/awaited", TARGET)
    waiting = await endpoints.until_state("awaited", "Waiting")
    assert waiting["condition"]["reason"] == "DeviceNotRegistered"
    endpoints.register("awaited")
    await endpoints.put_message(EVENTS, device_event("awaited"))
    view = await endpoints.until_state("awaited", "Delivered")
    assert (view["wants"]["repositories"], view["generation"]) == (ROLES["repositories"], 1)


async def test_a_device_that_has_gone_is_revoked_when_the_hub_says_so(endpoints: Endpoints) -> None:
    await _onboarded(endpoints, "leaves")
    endpoints.stack.hub.delete_device("leaves", etag=None)
    await endpoints.put_message(EVENTS, device_event("leaves", kind=_DELETED))
    view = await endpoints.until_state("leaves", "Revoked")
    assert view["revoked"]["requestedBy"] == "device deleted"


async def test_a_device_that_comes_back_by_its_name_is_another_one(endpoints: Endpoints) -> None:
    before = await _onboarded(endpoints, "comes-back")
    secret = entry_of(endpoints.stack, "comes-back", "doorone")["password"]
    endpoints.stack.hub.delete_device("comes-back", etag=None)
    await endpoints.push_event([device_event("comes-back", kind=_DELETED)])
    await endpoints.until_state("comes-back", "Revoked")
    endpoints.register("comes-back", tag=TARGET)
    await endpoints.push_event([device_event("comes-back", at=datetime.now(UTC))])
    view = await endpoints.until_state("comes-back", "Delivered")
    assert (view["generation"], "revoked" in view) == (before["generation"] + 2, False)
    assert entry_of(endpoints.stack, "comes-back", "doorone")["password"] != secret


async def test_a_device_that_was_revoked_and_stayed_is_not_brought_back_by_its_tag(
    endpoints: Endpoints,
) -> None:
    await endpoints.discard_all()
    endpoints.register("stays-out", tag=TARGET)
    await endpoints.put_message(EVENTS, device_event("stays-out"))
    await endpoints.until_state("stays-out", "Delivered")
    await endpoints.call("DELETE", "devices/stays-out")
    await endpoints.until_state("stays-out", "Revoked")
    await endpoints.push_event([device_event("stays-out", at=datetime.now(UTC))])
    await endpoints.until_looked_at("stays-out")
    view = await endpoints.device("stays-out")
    assert (view["state"], view["generation"]) == ("Revoked", 2)
    assert await endpoints.poison() == []


async def test_a_device_that_only_seems_to_have_gone_keeps_what_it_has(
    endpoints: Endpoints,
) -> None:
    before = await _onboarded(endpoints, "stays")
    await endpoints.push_event([device_event("stays", kind=_DELETED)])
    await endpoints.until_looked_at("stays")
    after = await endpoints.record("stays")
    assert _reads_of(endpoints, "stays") > 0
    assert (after["delivery"], after["condition"]) == (before["delivery"], before["condition"])
    assert endpoints.writes() == []


async def test_our_own_new_version_of_a_secret_wakes_nobody(endpoints: Endpoints) -> None:
    record = await _onboarded(endpoints, "own-version")
    url, name = endpoints.stack.key_vault_url, record["names"]["secret"]
    version = record["delivery"]["secret_version"]
    await endpoints.put_message(EVENTS, secret_event(url, name, version))
    await endpoints.push_event([secret_event(url, name, version)])
    await endpoints.until_taken(EVENTS)
    assert await endpoints.record("own-version") == record
    assert _reads_of(endpoints, "own-version") == 0


async def test_a_version_of_somebody_else_has_the_device_reconciled(endpoints: Endpoints) -> None:
    record = await _onboarded(endpoints, "foreign-version")
    url, name = endpoints.stack.key_vault_url, record["names"]["secret"]
    foreign = endpoints.stack.vault.set(name, SecretStr("not a password of ours"), Properties())
    endpoints.stack.kernel.calls.reset()
    await endpoints.push_event([secret_event(url, name, foreign.version)])
    await endpoints.until_looked_at("foreign-version")
    assert _reads_of(endpoints, "foreign-version") > 0
    assert (await endpoints.record("foreign-version"))["delivery"] == record["delivery"]


@pytest.mark.parametrize("kind", ["SecretNearExpiry", "SecretExpired"])
async def test_a_secret_that_expires_has_the_device_reconciled(
    endpoints: Endpoints, kind: str
) -> None:
    device_id = f"expires-{kind}"
    record = await _onboarded(endpoints, device_id)
    url, name = endpoints.stack.key_vault_url, record["names"]["secret"]
    event = secret_event(url, name, record["delivery"]["secret_version"], kind=kind)
    await endpoints.put_message(EVENTS, event)
    await endpoints.until_taken(EVENTS)
    await endpoints.until_looked_at(device_id)
    assert _reads_of(endpoints, device_id) > 0
    assert endpoints.writes() == []
