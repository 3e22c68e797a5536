"""A request ends the same by whichever endpoint or trigger it comes, and none restores the past."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from firstpull.model.azure_resources import RegistryId
from firstpull.model.device_key import DeviceKey
from firstpull.model.naming import names_for
from tests.end_to_end.cloud import clients_of, cloud_registry, entry_of, secret_versions

from .documents import (
    Document,
    allocation,
    as_cloud_event,
    body_of,
    changed,
    device_event,
    request,
    signed,
)
from .endpoints import EVENTS, ONBOARDING, Endpoints
from .ways_in import TARGET, WAYS, device_of

_OF_THE_DEVICE = {"deviceId", "token", "secret", "nextLookAt", "history"}
_OF_THE_DELIVERY = {"id", "secretVersion", "expiresOn", "deliveredAt"}
_OF_THE_WISH = {"requestedBy", "requestedAt"}


def _without(document: Document, names: set[str]) -> Document:
    return changed(document, changes=dict.fromkeys(names, ...))


def _comparable(view: Document) -> Document:
    """A device's view but for its names, its times and who asked."""
    return {
        **_without(view, _OF_THE_DEVICE),
        "wants": _without(view["wants"], _OF_THE_WISH),
        "delivery": _without(view["delivery"], _OF_THE_DELIVERY),
        "condition": _without(view["condition"], {"since"}),
        "warnings": [_without(warning, {"since"}) for warning in view["warnings"]],
    }


def _resources(endpoints: Endpoints, view: Document) -> Document:
    """What there is in Azure for a device, but for names, times and the password."""
    stack = endpoints.stack
    token = cloud_registry(stack).token(view["token"])
    entry = entry_of(stack, view["deviceId"], "doorone")
    (version,) = secret_versions(stack, view["secret"])
    assert entry["username"] == token.name
    assert version.value.get_secret_value() == entry["password"]
    return {
        "scope map": cloud_registry(stack).scope_map_of(token),
        "status": token.status,
        "slots": [password.name for password in token.passwords],
        "places in the list": clients_of(stack, "doorone").count(token.name),
        "enabled": version.enabled,
        "twin": _without(entry, {"username", "password", "deliveryId", "expiresOn"}),
    }


@pytest.mark.parametrize("way", list(WAYS))
async def test_every_endpoint_leads_to_the_same(each_way: Endpoints, way: str) -> None:
    view, reference = await each_way.device(device_of(way)), await each_way.device("by-post")
    assert _comparable(view) == _comparable(reference)
    assert _resources(each_way, view) == _resources(each_way, reference)
    key = DeviceKey(hub=each_way.stack.iot_hub_host_name, device_id=device_of(way))
    registry = RegistryId(each_way.stack.registry_id)
    names = names_for(key, deployment="firstpull", registry=registry)
    assert (view["token"], view["secret"]) == (names.token, names.secret)


_ASKED_BY = {
    "post": "function key",
    "signed": "signed webhook",
    "message": "queue device-onboarding",
    "event": "device created",
    "pushed": "device created",
    "allocation": "provisioning service",
}


@pytest.mark.parametrize("way", list(_ASKED_BY))
async def test_the_record_says_which_endpoint_it_was(each_way: Endpoints, way: str) -> None:
    view = await each_way.device(device_of(way))
    assert view["wants"]["requestedBy"] == _ASKED_BY[way]


@pytest.mark.parametrize("way", list(WAYS))
async def test_asking_again_by_any_endpoint_changes_nothing(each_way: Endpoints, way: str) -> None:
    before = await each_way.device("by-post")
    resources = _resources(each_way, before)
    each_way.stack.kernel.calls.reset()
    for _ in range(3):
        await WAYS[way](each_way, "by-post")
    await each_way.until_taken(ONBOARDING, EVENTS)
    await each_way.until_looked_at("by-post")
    after = await each_way.device("by-post")
    for view in (before, after):
        del view["wants"]["requestedAt"]
        del view["nextLookAt"]  # an event wakes the device
    assert after == before
    assert _resources(each_way, after) == resources
    assert each_way.writes() == []


@pytest.mark.parametrize("order", [0, 1], ids=["in order", "the other way round"])
async def test_what_comes_at_once_by_all_endpoints_is_one_device(
    endpoints: Endpoints, order: int
) -> None:
    device_id = f"at-once-{order}"
    endpoints.register(device_id, tag=TARGET)
    ways = list(WAYS.values())
    await asyncio.gather(*(way(endpoints, device_id) for way in (ways, ways[::-1])[order]))
    await endpoints.until_taken(ONBOARDING, EVENTS)
    view = await endpoints.until_state(device_id, "Delivered")
    assert (view["generation"], view["observedGeneration"]) == (1, 1)
    assert _resources(endpoints, view)["slots"] == ["password1"]


async def test_a_message_that_comes_late_changes_nothing_and_is_kept(endpoints: Endpoints) -> None:
    await endpoints.discard_all()
    await endpoints.call("POST", "devices", request("late-1"))
    old = request("late-1", repositories=["line/old"])
    await endpoints.put_message(ONBOARDING, old, visible_after_seconds=3)
    await _next_second()
    newer = await endpoints.call("PUT", "devices/late-1", {**TARGET, "repositories": ["line/new"]})
    assert newer.document["generation"] == 2
    message = await endpoints.until_kept(ONBOARDING)
    assert (message["reason"], message["message"]) == ("OutOfDate", body_of(old).decode())
    record = await endpoints.record("late-1")
    assert (record["generation"], record["intent"]["repositories"]) == (2, ["line/new"])
    await endpoints.discard_all()


async def _next_second() -> None:
    """Queues know no shorter time, and within it the later arrival counts."""
    await asyncio.sleep(1.01 - time.time() % 1)


async def test_a_webhook_that_is_replayed_does_not_bring_back_the_past(
    endpoints: Endpoints,
) -> None:
    body = body_of(request("replay-1"))
    a_while_ago = datetime.now(UTC) - timedelta(minutes=2)
    captured = signed(body, key=endpoints.webhook_keys[0], at=a_while_ago)
    assert (await endpoints.signed_webhook(body, headers=captured)).status == 202
    assert (await endpoints.signed_webhook(body, headers=captured)).document["generation"] == 1
    other = {**TARGET, "repositories": ["line/new"]}
    assert (await endpoints.call("PUT", "devices/replay-1", other)).document["generation"] == 2

    answer = await endpoints.signed_webhook(body, headers=captured)
    assert (answer.status, answer.document["reason"]) == (409, "OutOfDate")
    record = await endpoints.record("replay-1")
    assert (record["generation"], record["intent"]["repositories"]) == (2, ["line/new"])


async def test_webhooks_count_in_the_order_in_which_they_were_signed(endpoints: Endpoints) -> None:
    statuses = []
    for seconds, repository in ((100, "line/b"), (200, "line/a"), (10, "line/c"), (50, "line/d")):
        body = body_of(request("signed-order", repositories=[repository]))
        at = datetime.now(UTC) - timedelta(seconds=seconds)
        headers = signed(body, key=endpoints.webhook_keys[0], at=at)
        statuses.append((await endpoints.signed_webhook(body, headers=headers)).status)
    assert statuses == [202, 409, 202, 409]
    record = await endpoints.record("signed-order")
    assert (record["generation"], record["intent"]["repositories"]) == (2, ["line/c"])


async def test_either_signing_key_opens_and_one_right_signature_of_several_does(
    endpoints: Endpoints,
) -> None:
    body = body_of(request("two-keys"))
    old, new = (signed(body, key=key, message_id="m") for key in endpoints.webhook_keys)
    assert (await endpoints.signed_webhook(body, headers=new)).status == 202
    both = {**old, "webhook-signature": f"v1,AAAA v1a,AAAA {new['webhook-signature']}"}
    assert (await endpoints.signed_webhook(body, headers=both)).status == 202


async def test_the_signed_endpoint_says_where_the_device_and_the_operation_are(
    endpoints: Endpoints,
) -> None:
    answer = await endpoints.signed_webhook(request("where-1"))
    posted = await endpoints.call("POST", "devices", request("where-1"))
    for name in ("Location", "Operation-Location"):
        assert answer.headers[name] == posted.headers[name]


async def test_what_an_answer_points_to_is_there(endpoints: Endpoints) -> None:
    answer = await endpoints.call("POST", "devices", request("where-2"))
    for name in ("Location", "Operation-Location"):
        path = answer.headers[name].split("/api/", 1)[1]
        found = await endpoints.call("GET", path)
        assert (found.status, found.document["deviceId"]) == (200, "where-2")


async def test_an_event_sent_again_does_not_undo_what_was_asked_for_since(
    endpoints: Endpoints,
) -> None:
    endpoints.register("again-1", tag=TARGET)
    event = device_event("again-1", at=datetime.now(UTC))
    await endpoints.put_message(EVENTS, event)
    await endpoints.until_state("again-1", "Delivered")
    await endpoints.signed_webhook(request("again-1", repositories=["line/new"]))

    async def converged() -> bool:
        return bool((await endpoints.device("again-1"))["observedGeneration"] == 2)

    await endpoints.until(converged)
    endpoints.stack.kernel.calls.reset()
    for again in (event, as_cloud_event(event), [event, event]):
        await endpoints.put_message(EVENTS, again)
    await endpoints.push_event(event)
    await endpoints.until_taken(EVENTS)
    await endpoints.until_looked_at("again-1")
    view = await endpoints.device("again-1")
    assert (view["generation"], view["wants"]["repositories"]) == (2, ["line/new"])
    assert endpoints.writes() == []


async def test_deleted_and_created_out_of_order_end_with_the_device_that_there_is(
    endpoints: Endpoints,
) -> None:
    endpoints.register("reordered-1", tag=TARGET)
    deleted = device_event("reordered-1", kind="Microsoft.Devices.DeviceDeleted")
    created = device_event("reordered-1")
    for event in (deleted, created, deleted):
        await endpoints.push_event(event)
    view = await endpoints.until_state("reordered-1", "Delivered")
    endpoints.stack.kernel.calls.reset()
    await endpoints.push_event(deleted)
    await endpoints.until_looked_at("reordered-1")
    assert (await endpoints.device("reordered-1"))["generation"] == view["generation"] == 1
    assert endpoints.writes() == []


def _allocation(endpoints: Endpoints, device_id: str, **device: Any) -> Document:  # noqa: ANN401 - JSON
    return allocation(device_id, hubs=[endpoints.stack.iot_hub_host_name], **device)


async def test_a_device_that_registers_again_and_again_gets_the_same_answer(
    endpoints: Endpoints,
) -> None:
    answers = [
        await endpoints.call("POST", "provisioning", _allocation(endpoints, "reboots", **device))
        for device in (
            {},
            {},
            {
                "currentIotHubHostName": endpoints.stack.iot_hub_host_name,
                "currentDeviceId": "reboots",
            },
            {"currentIoTHubHostName": endpoints.stack.iot_hub_host_name.upper()},
        )
    ]
    tag = {"connectedRegistry": "doorone", "repositories": ["hello-world", "line/app"]}
    expected = {
        "iotHubHostName": endpoints.stack.iot_hub_host_name,
        "initialTwin": {
            "tags": {"firstpull": {**tag, "actions": ["content/read"]}},
            "properties": {"desired": {}},
        },
    }
    assert [answer.document for answer in answers] == [expected] * 4
    assert (await endpoints.record("reboots"))["generation"] == 1


async def test_a_device_that_registers_again_does_not_undo_what_was_asked_for_since(
    endpoints: Endpoints,
) -> None:
    await endpoints.call("POST", "provisioning", _allocation(endpoints, "reboots-2"))
    await endpoints.call("PUT", "devices/reboots-2", {**TARGET, "repositories": ["line/new"]})
    answer = await endpoints.call("POST", "provisioning", _allocation(endpoints, "reboots-2"))
    assert answer.status == 200
    assert (await endpoints.record("reboots-2"))["intent"]["repositories"] == ["line/new"]


async def test_a_device_that_has_its_connected_registry_elsewhere_still_gets_its_hub(
    endpoints: Endpoints,
) -> None:
    endpoints.register("elsewhere")
    await endpoints.call("PUT", "devices/elsewhere", {**TARGET, "connectedRegistry": "doortwo"})
    await endpoints.until_state("elsewhere", "Delivered")
    answer = await endpoints.call("POST", "provisioning", _allocation(endpoints, "elsewhere"))
    assert answer.status == 200
    assert answer.document["iotHubHostName"] == endpoints.stack.iot_hub_host_name
    assert (await endpoints.device("elsewhere"))["connectedRegistry"] == "doortwo"
