"""A dry run says what would be done, and does nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from azure.storage.blob.aio import BlobServiceClient

from local_azure.stack.options import REGISTRY_NAME

from .documents import Document, allocation, body_of, request, signed
from .endpoints import QUEUES, Answer, Endpoints

_NEW_DEVICE = [
    "TakePlace",
    "CreateToken",
    "GeneratePassword",
    "JoinConnectedRegistry",
    "Deliver",
]


async def _stored(endpoints: Endpoints) -> dict[str, Any]:
    """What is in the app's storage, but for when devices of other tests are due."""
    found: dict[str, Any] = {
        device_id: (record["generation"], record["intent"], record["place"])
        for device_id, record in (await endpoints.records()).items()
    }
    text = endpoints.storage.connection_string
    async with BlobServiceClient.from_connection_string(text) as blobs:
        async for container in blobs.list_containers():
            if container.name == "membership":  # the host's own are no work of the app
                async for blob in blobs.get_container_client(container.name).list_blobs():
                    found[f"{container.name}/{blob.name}"] = blob.etag
    found["queues"] = [queue.name async for queue in endpoints.queues.list_queues()]
    for name in ("device-onboarding", "device-events"):
        found[name] = await endpoints.length(name)
    return found


@pytest.fixture(autouse=True)
async def _settled(endpoints: Endpoints) -> AsyncIterator[None]:
    await endpoints.discard_all()
    yield
    await endpoints.discard_all()


async def _ask(endpoints: Endpoints, way: str, document: Document) -> Answer:
    device_id = document["deviceId"]
    if way == "post":
        return await endpoints.call("POST", "devices?dryRun=true", document)
    if way == "put":
        return await endpoints.call("PUT", f"devices/{device_id}?dryRun=true", document)
    if way == "signed":
        return await endpoints.signed_webhook(document, query="?dryRun=true")
    body = allocation(device_id, hubs=[endpoints.stack.iot_hub_host_name])
    return await endpoints.call("POST", "provisioning?dryRun=true", body)


def _actions(answer: Answer) -> list[str]:
    assert answer.status == 200, answer.text
    document = answer.document
    assert document["dryRun"] is True
    assert all(action["why"] for action in document["actions"])
    return [action["action"] for action in document["actions"]]


_WAYS = ("post", "put", "signed", "allocation")


@pytest.mark.parametrize("way", _WAYS)
async def test_a_new_device_shows_all_that_would_be_made_and_nothing_is(
    endpoints: Endpoints, way: str
) -> None:
    device_id = f"dry-{way}"
    endpoints.register(device_id)
    stored, twin = await _stored(endpoints), endpoints.stack.hub.twin(device_id)
    endpoints.stack.kernel.calls.reset()
    answers = [await _ask(endpoints, way, request(device_id)) for _ in range(2)]
    for answer in answers:
        assert set(_actions(answer)) - {"PutScopeMap"} == set(_NEW_DEVICE)  # others share the map
    assert "finding" not in answers[0].document
    assert endpoints.writes() == []
    assert await _stored(endpoints) == stored
    assert endpoints.stack.hub.twin(device_id) == twin
    assert (await endpoints.call("GET", f"devices/{device_id}")).status == 404


async def test_the_plan_names_what_is_then_made(endpoints: Endpoints) -> None:
    endpoints.register("dry-then-wet")
    wish = request("dry-then-wet", repositories=["line/dry-then-wet", "hello-world"])
    answer = await _ask(endpoints, "put", wish)
    assert sorted(_actions(answer)) == sorted([*_NEW_DEVICE, "PutScopeMap"])
    planned = {action["action"]: action for action in answer.document["actions"]}
    await endpoints.call("POST", "devices", wish)
    view = await endpoints.until_state("dry-then-wet", "Delivered")
    assert planned["CreateToken"]["token"] == view["token"]
    assert planned["Deliver"]["address"] == view["delivery"]["address"]
    assert planned["GeneratePassword"]["slot"] == view["delivery"]["slot"]
    assert planned["PutScopeMap"]["permits"] == [
        "repositories/hello-world/content/read",
        "repositories/line/dry-then-wet/content/read",
    ]
    assert planned["CreateToken"]["scopeMap"] == planned["PutScopeMap"]["scopeMap"]


@pytest.mark.parametrize("way", _WAYS)
async def test_a_device_that_has_it_all_needs_nothing(each_way: Endpoints, way: str) -> None:
    stored = await _stored(each_way)
    each_way.stack.kernel.calls.reset()
    answer = await _ask(each_way, way, request("by-post"))
    assert _actions(answer) == []
    assert "finding" not in answer.document
    assert each_way.writes() == []
    assert await _stored(each_way) == stored


async def test_another_wish_shows_only_what_is_different(each_way: Endpoints) -> None:
    other = request("by-put", repositories=["line/dry"])
    answer = await _ask(each_way, "post", other)
    assert sorted(_actions(answer)) == ["Deliver", "PutScopeMap", "TagSecret", "UpdateToken"]
    assert (await each_way.device("by-put"))["generation"] == 1


@pytest.mark.parametrize(
    ("changes", "state", "reason"),
    [
        ({}, "Waiting", "DeviceNotRegistered"),
        ({"connectedRegistry": "doorgone"}, "Blocked", "ConnectedRegistryNotFound"),
    ],
)
async def test_what_stands_in_the_way_is_said(
    endpoints: Endpoints, changes: Document, state: str, reason: str
) -> None:
    if changes:
        endpoints.register("dry-blocked")
    wish = request("dry-blocked" if changes else "dry-nobody", **changes)
    answer = await _ask(endpoints, "post", wish)
    assert _actions(answer) == []
    blocker = answer.document["finding"]
    assert (blocker["state"], blocker["reason"]) == (state, reason)
    assert blocker["message"]
    assert blocker["remedy"]


async def test_another_connected_registry_shows_the_first_steps_of_a_move(
    each_way: Endpoints,
) -> None:
    before = await _stored(each_way)
    elsewhere = await _ask(each_way, "put", request("by-post", connectedRegistry="doortwo"))
    assert _actions(elsewhere) == ["TakePlace", "JoinConnectedRegistry", "Deliver", "TagSecret"]
    assert {a["connectedRegistry"] for a in elsewhere.document["actions"][:-1]} == {
        f"{REGISTRY_NAME}/doortwo"
    }
    assert await _stored(each_way) == before


async def test_what_would_be_refused_is_refused(each_way: Endpoints) -> None:
    other = await _ask(each_way, "put", request("by-post", adopt="legacy-other"))
    assert (other.status, other.document["reason"]) == (409, "DeviceHasToken")


async def test_dry_run_false_is_none(endpoints: Endpoints) -> None:
    answer = await endpoints.call("POST", "devices?dryRun=false", request("dry-false"))
    assert answer.status == 202
    assert "dry-false" in await endpoints.records()


async def test_a_dry_run_needs_its_signature_as_well(endpoints: Endpoints) -> None:
    body = body_of(request("dry-unsigned"))
    headers = {**signed(body, key=endpoints.webhook_keys[0]), "webhook-id": "another"}
    answer = await endpoints.signed_webhook(body, headers=headers, query="?dryRun=true")
    assert (answer.status, answer.document["reason"]) == (401, "SignatureNotValid")


async def test_a_dry_run_makes_no_reconcile_request(endpoints: Endpoints) -> None:
    before = {name: await endpoints.length(name) for name in QUEUES}
    endpoints.register("dry-hint")
    await _ask(endpoints, "post", request("dry-hint"))
    peeked = await endpoints.queue("device-work").peek_messages(max_messages=32)
    assert not [message for message in peeked if "dry-hint" in str(message.content)]
    assert await endpoints.length("device-onboarding") == before["device-onboarding"]
