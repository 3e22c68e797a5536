"""The HTTP API and the queue, through Microsoft's worker in a host process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest
from azure.core.exceptions import ResourceNotFoundError
from azure.storage.queue.aio import QueueClient, QueueServiceClient

from firstpull.model.device_key import DeviceKey
from local_azure.iot_hub.identities import DeviceSettings, DeviceStatus
from local_azure.stack import Stack

from .api import Api, running_app
from .cloud import (
    WORK_QUEUE,
    clients_of,
    entry_of,
    eventually,
    register,
    report_login,
)
from .in_process import connected

PLANT, OTHER = "plant01", "plant02"
EVERY_CHARACTER = "aZ09-:.+%_#*?!(),=@$'"


@pytest.fixture(scope="module")
async def api(stack: Stack, ca_file: Path) -> AsyncIterator[Api]:
    # A message that fails is tried again at once here, and not after half a minute.
    at_once = {"AzureFunctionsJobHost__extensions__queues__visibilityTimeout": "00:00:00"}
    async with running_app(stack, ca_file, more_settings=at_once) as api:
        yield api


async def test_the_health_probe_needs_no_key(api: Api) -> None:
    answer = await api.ask("GET", "/api/healthz", key="")
    assert (answer.status, answer.document) == (200, {"status": "ok"})


@pytest.mark.parametrize("key", ["", "wrong"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/devices"),
        ("GET", "/api/devices"),
        ("PUT", "/api/devices/somebody"),
        ("GET", "/api/devices/somebody"),
        ("GET", "/api/devices/somebody/operations/1"),
    ],
)
async def test_nothing_else_answers_without_the_right_key(
    api: Api, method: str, path: str, key: str
) -> None:
    assert (await api.ask(method, path, key=key)).status == 401


async def test_a_request_is_accepted_with_the_address_of_its_operation(
    api: Api, stack: Stack
) -> None:
    register(stack, "accepted")
    answer = await api.onboard("accepted", PLANT)

    assert answer.status == 202
    assert answer.document["deviceId"] == "accepted"
    assert answer.document["wants"]["requestedBy"] == "function key"
    assert int(answer.headers["Retry-After"]) > 0
    operation = answer.headers["Operation-Location"]
    assert operation.startswith(f"{api.app.url}/api/devices/accepted/operations/1?hub=")
    assert (await api.ask("GET", operation)).document["status"] in (
        "NotStarted",
        "Running",
        "Succeeded",
    )

    await api.reaches("accepted", "Delivered")
    done = await api.ask("GET", operation)
    assert done.document["status"] == "Succeeded"
    assert "Retry-After" not in done.headers
    assert (await api.ask("GET", answer.headers["Location"])).document["state"] == "Delivered"


async def test_who_prefers_to_wait_is_answered_with_the_outcome(api: Api, stack: Stack) -> None:
    register(stack, "waited-for")
    answer = await api.onboard("waited-for", PLANT, wait=20)

    assert answer.status == 200
    assert answer.headers["Preference-Applied"] == "wait=20"
    assert "Operation-Location" not in answer.headers
    assert answer.document["state"] == "Delivered"
    entry = entry_of(stack, "waited-for", PLANT)
    assert answer.document["delivery"]["id"] == entry["deliveryId"]
    assert answer.document["token"] == entry["username"]
    assert entry["username"] in clients_of(stack, PLANT)


async def test_asking_again_changes_nothing(api: Api, stack: Stack) -> None:
    register(stack, "twice")
    first = await api.onboard("twice", PLANT, wait=20)
    entry = entry_of(stack, "twice", PLANT)
    again = await api.ask(
        "PUT",
        "/api/devices/twice",
        content={"connectedRegistry": PLANT, "repositories": ["hello-world"]},
    )

    assert (first.status, again.status) == (200, 200)
    assert again.document["generation"] == first.document["generation"] == 1
    assert entry_of(stack, "twice", PLANT) == entry


async def test_a_device_that_reports_its_login_becomes_ready(api: Api, stack: Stack) -> None:
    register(stack, "reporting")
    await api.onboard("reporting", PLANT, wait=20)
    report_login(stack, "reporting", PLANT)

    view = await api.reaches("reporting", "Ready")
    assert view["condition"]["reason"] == "Acknowledged"
    assert view["delivery"]["acknowledgedAt"]


async def test_other_repositories_are_another_generation_with_the_same_password(
    api: Api, stack: Stack
) -> None:
    register(stack, "more")
    await api.onboard("more", PLANT, wait=20)
    before = entry_of(stack, "more", PLANT)
    both = {"connectedRegistry": PLANT, "repositories": ["hello-world", "sensor-gateway"]}
    answer = await api.ask(
        "PUT", "/api/devices/more", content=both, headers={"Prefer": "respond-async, wait=20"}
    )

    assert answer.status == 200
    assert answer.document["generation"] == answer.document["observedGeneration"] == 2
    after = entry_of(stack, "more", PLANT)
    assert after["repositories"] == ["hello-world", "sensor-gateway"]
    assert after["password"] == before["password"]


async def test_every_character_that_iot_hub_allows_makes_the_whole_way(
    api: Api, stack: Stack
) -> None:
    for device_id in (EVERY_CHARACTER, "double%41decoded", "a" * 128):
        register(stack, device_id)
        in_path = f"/api/devices/{quote(device_id, safe='')}"
        by_parameter = f"/api/devices?{urlencode({'deviceId': device_id})}"
        address = by_parameter if "%" in device_id else in_path
        wanted = {"connectedRegistry": PLANT, "repositories": ["hello-world"]}
        answer = await api.ask("PUT", address, content=wanted, headers={"Prefer": "wait=20"})

        assert answer.status == 200, answer.text
        assert answer.document["deviceId"] == device_id
        assert entry_of(stack, device_id, PLANT)["username"] == answer.document["token"]
        for path in (answer.headers["Location"], address, by_parameter):
            found = (await api.ask("GET", path)).document
            assert [d["deviceId"] for d in found.get("devices", [found])] == [device_id]
        if address is by_parameter:
            refused = await api.ask("GET", in_path)
            assert (refused.status, refused.paths) == (400, ["deviceId"])


async def test_ids_that_differ_in_case_are_two_devices(api: Api, stack: Stack) -> None:
    register(stack, "Twin-A", "twin-a")
    views = [await api.onboard(device_id, PLANT, wait=20) for device_id in ("Twin-A", "twin-a")]
    assert [view.status for view in views] == [200, 200]
    assert len({view.document["token"].lower() for view in views}) == 2


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'"text"', b"null", b"\xff{}", b'{"deviceId": NaN}']
)
async def test_what_is_no_json_object_is_refused(api: Api, body: bytes) -> None:
    answer = await api.ask("POST", "/api/devices", body=body)
    assert (answer.status, answer.reason) == (400, "InvalidRequest")


async def test_everything_that_is_wrong_is_said_at_once(api: Api) -> None:
    content = {
        "deviceId": "no spaces",
        "connectedRegistry": 7,
        "repositories": ["fine", "Not Fine"],
        "actions": ["content/read", "content/take"],
        "surprise": "<script>",
    }
    answer = await api.ask("POST", "/api/devices", content=content)

    assert (answer.status, answer.reason) == (400, "InvalidRequest")
    assert sorted(answer.paths) == [
        "/actions/1",
        "/connectedRegistry",
        "/deviceId",
        "/repositories/1",
        "/surprise",
    ]
    for value in ("no spaces", "Not Fine", "content/take", "<script>"):
        assert value not in answer.text


async def test_a_wrong_item_is_one_error_also_when_it_is_the_only_one(api: Api) -> None:
    answer = await api.onboard("only-wrong", PLANT, actions=["content/take"])
    assert (answer.status, answer.paths) == (400, ["/actions/0"])


@pytest.mark.parametrize("target", [{}, {"connectedRegistry": PLANT, "site": "plant"}])
async def test_a_request_names_one_target(api: Api, target: dict[str, str]) -> None:
    content = {"deviceId": "targetless", "repositories": ["hello-world"], **target}
    answer = await api.ask("POST", "/api/devices", content=content)
    assert (answer.status, answer.reason) == (400, "InvalidRequest")


async def test_a_body_for_another_device_than_the_address_is_refused(api: Api) -> None:
    content = {"deviceId": "b", "connectedRegistry": PLANT, "repositories": ["hello-world"]}
    answer = await api.ask("PUT", "/api/devices/a", content=content)
    assert (answer.status, answer.paths) == (400, ["/deviceId"])


async def test_a_body_that_no_queue_message_could_hold_is_refused(api: Api) -> None:
    answer = await api.ask("POST", "/api/devices", body=b'{"deviceId":"' + b"x" * 70_000 + b'"}')
    assert (answer.status, answer.reason) == (400, "InvalidRequest")


async def test_what_the_policy_does_not_allow_is_said_at_once(api: Api, stack: Stack) -> None:
    register(stack, "forbidden")
    answer = await api.onboard(
        "forbidden", "plant99", hub="elsewhere.azure-devices.net", containerRegistry="other"
    )
    assert (answer.status, answer.reason) == (403, "NotAllowed")
    assert sorted(answer.paths) == ["/connectedRegistry", "/containerRegistry", "/hub"]

    answer = await api.onboard("forbidden", PLANT, actions=["content/read", "content/write"])
    assert (answer.status, answer.paths) == (403, ["/actions/1"])
    assert (await api.ask("GET", "/api/devices/forbidden")).status == 404


async def test_what_nobody_asked_for_is_not_known(api: Api, stack: Stack) -> None:
    register(stack, "unasked", "asked")
    answer = await api.ask("GET", "/api/devices/unasked")
    assert (answer.status, answer.reason) == (404, "DeviceNotKnown")

    await api.onboard("asked", PLANT, wait=20)
    for generation in ("0", "2", "-1", "x", "9" * 30):
        answer = await api.ask("GET", f"/api/devices/asked/operations/{generation}")
        assert (answer.status, answer.reason) == (404, "OperationNotKnown"), generation


async def test_the_hub_can_be_named_and_another_one_has_no_such_device(
    api: Api, stack: Stack
) -> None:
    register(stack, "on-hub")
    await api.onboard("on-hub", PLANT, wait=20)
    named = await api.ask(
        "GET", f"/api/devices/on-hub?{urlencode({'hub': stack.iot_hub_host_name})}"
    )
    assert named.document["hub"] == stack.iot_hub_host_name

    answer = await api.ask("GET", "/api/devices/on-hub?hub=elsewhere.azure-devices.net")
    assert (answer.status, answer.reason) == (404, "DeviceNotKnown")


async def test_a_device_that_moves_keeps_its_old_connected_registry_until_it_has_answered(
    api: Api, stack: Stack
) -> None:
    register(stack, "placed")
    await api.onboard("placed", PLANT, wait=20)
    entry = entry_of(stack, "placed", PLANT)

    answer = await api.onboard("placed", OTHER, wait=20)
    assert (answer.status, answer.document["connectedRegistry"]) == (200, OTHER)
    assert entry_of(stack, "placed", PLANT) == entry
    assert entry_of(stack, "placed", OTHER)["password"] == entry["password"]

    report_login(stack, "placed", OTHER)
    await eventually(lambda: not entry_of(stack, "placed", PLANT), what="the old entry is gone")
    await eventually(
        lambda: entry["username"] not in clients_of(stack, PLANT), what="the old place is left"
    )


async def test_a_site_connected_registries_a_device_on_its_first_connected_registry(
    api: Api, stack: Stack
) -> None:
    register(stack, "at-site")
    content = {"deviceId": "at-site", "site": "plant", "repositories": ["hello-world"]}
    answer = await api.ask("POST", "/api/devices", content=content, headers={"Prefer": "wait=20"})
    assert (answer.status, answer.document["connectedRegistry"]) == (200, PLANT)


async def test_the_list_is_filtered_and_comes_in_pages(api: Api, stack: Stack) -> None:
    names = ["listed-1", "listed-2", "listed-3"]
    register(stack, *names)
    for name in names:
        await api.onboard(name, OTHER, wait=20)

    found, after = [], ""
    for _ in names:
        page = await api.ask(
            "GET", f"/api/devices?connectedRegistry={OTHER}&state=Delivered&size=1{after}"
        )
        assert page.status == 200, page.text
        found += [device["deviceId"] for device in page.document["devices"]]
        after = f"&after={page.document.get('next', '')}"
    assert sorted(found) == names
    assert "next" not in page.document

    assert await _listed(api, f"hub={stack.iot_hub_host_name}&deviceId=listed-2") == ["listed-2"]
    assert await _listed(api, "hub=other&deviceId=listed-2") == []
    assert await _listed(api, "deviceId=listed-2&state=Blocked") == []


async def _listed(api: Api, query: str) -> list[str]:
    answer = await api.ask("GET", f"/api/devices?{query}")
    return [device["deviceId"] for device in answer.document["devices"]]


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ("size=0", "size"),
        ("size=1001", "size"),
        ("state=Lost", "state"),
        ("after=x", "after"),
        ("colour=red", "colour"),
    ],
)
async def test_a_listing_that_cannot_be_made_says_why(api: Api, query: str, path: str) -> None:
    answer = await api.ask("GET", f"/api/devices?{query}")
    assert (answer.status, answer.paths) == (400, [path])


async def test_a_device_that_is_not_registered_is_waited_for(api: Api, stack: Stack) -> None:
    answer = await api.onboard("early", PLANT, wait=20)
    assert (answer.status, answer.document["state"]) == (202, "Waiting")
    assert answer.document["condition"]["reason"] == "DeviceNotRegistered"
    assert answer.document["condition"]["remedy"]

    register(stack, "early")  # and nobody asks again
    await api.reaches("early", "Delivered")
    assert entry_of(stack, "early", PLANT)["username"] in clients_of(stack, PLANT)


async def test_a_disabled_device_is_given_nothing(api: Api, stack: Stack) -> None:
    register(stack, "switched-off")
    stack.hub.update_device(DeviceSettings("switched-off", status=DeviceStatus.DISABLED), etag=None)
    answer = await api.onboard("switched-off", PLANT, wait=20)
    assert (answer.status, answer.document["condition"]["reason"]) == (202, "DeviceDisabled")
    assert "token" not in answer.document
    assert entry_of(stack, "switched-off", PLANT) == {}

    stack.hub.update_device(DeviceSettings("switched-off", status=DeviceStatus.ENABLED), etag=None)
    assert (await api.onboard("switched-off", PLANT)).status == 202
    await api.reaches("switched-off", "Delivered")


async def test_asking_again_can_wait_for_a_device_that_waited(api: Api, stack: Stack) -> None:
    await api.onboard("again", PLANT, wait=20)
    register(stack, "again")
    assert (await api.onboard("again", PLANT, wait=20)).status == 200


async def test_an_unreadable_reconcile_request_ends_in_the_poison_queue(
    api: Api, stack: Stack
) -> None:
    text = '{"hub": "h"'
    async with QueueServiceClient.from_connection_string(stack.storage.connection_string) as queues:
        await queues.get_queue_client(WORK_QUEUE).send_message(text)
        poison = queues.get_queue_client(f"{WORK_QUEUE}-poison")
        assert await _arrives(poison) == text
    assert not [line for line in api.lines if text in line], "the log repeats it"


async def _arrives(queue: QueueClient) -> str | None:
    for _ in range(200):
        with suppress(ResourceNotFoundError):
            for message in await queue.peek_messages():
                return str(message.content)
        await asyncio.sleep(0.1)
    return None


async def test_a_device_whose_reconcile_request_was_lost_is_brought_back_by_the_timer(
    api: Api, stack: Stack
) -> None:
    register(stack, "hint-lost")
    async with connected(stack) as firstpull:
        firstpull.clock.advance(-timedelta(minutes=1))
        ports = replace(firstpull.ports, queue=_LosesHints())
        await firstpull.ask(firstpull.application(ports), "hint-lost", PLANT)
    assert (await api.device("hint-lost"))["generation"] == 1

    # The minute's own timer may come first, which is the same to the device.
    run = await api.ask(
        "POST", "/admin/functions/requeue_overdue", content={}, key=api.app.master_key
    )
    assert run.status == 202
    await api.reaches("hint-lost", "Delivered")


async def test_the_timer_is_not_run_for_who_has_a_function_key_only(api: Api) -> None:
    run = await api.ask("POST", "/admin/functions/requeue_overdue", content={})
    assert run.status == 403


@dataclass(frozen=True)
class _LosesHints:
    async def put(self, device: DeviceKey, *, delay_seconds: float = 0) -> None:
        """Nothing comes of it."""
