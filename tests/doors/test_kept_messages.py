"""Messages that could not be taken are kept: listed, sent again, thrown away."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from firstpull.poison import QUEUES
from local_azure.iot_hub.twins import TwinPatch

from .documents import body_of, device_event, in_base64, request
from .doors import EVENTS, ONBOARDING, WORK, Doors
from .ways_in import TARGET

_LONGEST = 64 * 1024


@pytest.fixture(autouse=True)
async def _nothing_kept(doors: Doors) -> AsyncIterator[None]:
    await doors.discard_all()
    yield
    await doors.discard_all()


async def test_a_kept_message_says_when_and_why_and_is_as_it_came(doors: Doors) -> None:
    text = in_base64(request("kept-1", repositories=["Line/A"], actions=["content/write"]))
    await doors.put_message(ONBOARDING, text)
    message = await doors.until_kept(ONBOARDING)
    assert message.pop("id")
    assert message.pop("keptAt").endswith("Z")
    assert message.pop("detail")
    (error,) = message.pop("errors")
    assert (error["path"], error["message"]) == ("/repositories/0", "must be in lower case")
    assert message == {
        "queue": ONBOARDING,
        "reason": "InvalidRequest",
        "message": text.decode(),
    }


async def test_the_record_of_the_device_says_that_a_message_was_refused(doors: Doors) -> None:
    asked = await doors.call("POST", "devices", request("kept-2"))
    await doors.until_state("kept-2", "Waiting")
    assert "lastRejected" not in asked.document
    for changes, reason in (
        ({"repositories": ["stranger"]}, "NotAllowed"),
        ({"site": "works"}, "InvalidRequest"),
    ):
        await doors.put_message(ONBOARDING, request("kept-2", **changes))
        await doors.until_taken(ONBOARDING)
        view = await doors.device("kept-2")
        assert view["lastRejected"]["reason"] == reason
        assert (view["generation"], view["wants"]) == (1, asked.document["wants"])


async def test_a_message_sent_again_is_taken_once_what_stood_in_its_way_is_mended(
    doors: Doors,
) -> None:
    doors.register("mended", tag={"connectedRegistry": "doorone"})
    await doors.put_message(EVENTS, device_event("mended"))
    message = await doors.until_kept(EVENTS)
    doors.stack.hub.patch_twin("mended", TwinPatch(tags={"firstpull": TARGET}), etag=None)

    answer = await doors.call("POST", f"poison/{EVENTS}/{message['id']}/resend")
    assert (answer.status, answer.document) == (200, message)
    await doors.until_state("mended", "Delivered")
    await doors.until_taken(EVENTS)
    assert await doors.poison() == []


@pytest.mark.parametrize(
    "text",
    [
        body_of({"deviceId": "kept-3"}),
        in_base64({"deviceId": "kept-3"}),
        ' {"deviceId": "ä🔑 <&> \\u0000"} '.encode(),
    ],
    ids=["plain", "base64", "of all sorts"],
)
async def test_a_message_that_is_still_wrong_is_kept_again_as_it_came(
    doors: Doors, text: bytes
) -> None:
    await doors.put_message(ONBOARDING, text)
    message = await doors.until_kept(ONBOARDING)
    await doors.call("POST", f"poison/{ONBOARDING}/{message['id']}/resend")
    again = await doors.until_kept(ONBOARDING)
    for changing in ("id", "keptAt"):
        del message[changing], again[changing]
    assert again == message
    assert message["message"] == text.decode()


async def test_only_the_message_that_is_meant_is_thrown_away(doors: Doors) -> None:
    for number in range(3):
        await doors.put_message(ONBOARDING, {"deviceId": f"kept-{number}"})
    await doors.until_taken(ONBOARDING)
    first, second, third = sorted(await doors.poison(ONBOARDING), key=lambda m: str(m["message"]))
    answer = await doors.call("DELETE", f"poison/{ONBOARDING}/{second['id']}")
    assert (answer.status, answer.text) == (204, "")
    left = {message["id"] for message in await doors.poison(ONBOARDING)}
    assert left == {first["id"], third["id"]}
    again = await doors.call("DELETE", f"poison/{ONBOARDING}/{second['id']}")
    assert (again.status, again.document["reason"]) == (404, "MessageNotKnown")
    assert await doors.length(ONBOARDING) == 0


@pytest.mark.parametrize(
    ("method", "after", "action"), [("POST", "/resend", "Resend"), ("DELETE", "", "Discard")]
)
async def test_a_dry_run_leaves_the_message_where_it_is(
    doors: Doors, method: str, after: str, action: str
) -> None:
    await doors.put_message(ONBOARDING, {"deviceId": "kept-4"})
    message = await doors.until_kept(ONBOARDING)
    path = f"poison/{ONBOARDING}/{message['id']}{after}?dryRun=true"
    answer = await doors.call(method, path)
    assert answer.status == 200
    assert answer.document == {
        "dryRun": True,
        "actions": [{"action": action, "message": message}],
    }
    assert await doors.poison(ONBOARDING) == [message]
    assert await doors.length(ONBOARDING) == 0


@pytest.mark.parametrize("dry_run", ["", "?dryRun=true"])
async def test_what_is_not_kept_is_not_found(doors: Doors, dry_run: str) -> None:
    await doors.put_message(EVENTS, b"no event")
    message = await doors.until_kept(EVENTS)
    for queue in (ONBOARDING, WORK):
        for method, path in (("POST", f"{message['id']}/resend"), ("DELETE", message["id"])):
            answer = await doors.call(method, f"poison/{queue}/{path}{dry_run}")
            assert (answer.status, answer.document["reason"]) == (404, "MessageNotKnown")
    assert await doors.poison() == [message]


async def test_what_the_host_gave_up_on_is_listed_and_can_be_sent_again(doors: Doors) -> None:
    await doors.put_message(WORK, b"no hint")

    async def given_up() -> bool:
        return bool(await doors.poison(WORK))

    await doors.until(given_up)
    (message,) = await doors.poison(WORK)
    assert (message["reason"], message["message"]) == ("HandlerFailed", "no hint")
    assert message["keptAt"]
    answer = await doors.call("POST", f"poison/{WORK}/{message['id']}/resend")
    assert answer.status == 200

    async def given_up_again() -> bool:
        return [m["id"] for m in await doors.poison(WORK)] not in ([], [message["id"]])

    await doors.until(given_up_again)


async def test_what_looks_like_a_kept_message_and_is_none_is_not_believed(doors: Doors) -> None:
    forged = body_of({"rejected": "firstpull", "reason": "Forged", "detail": "", "message": "x"})
    poison = doors.queue(f"{WORK}-poison")
    if not await doors.is_there(poison):
        await poison.create_queue()
    await poison.send_message(forged.decode())
    (message,) = await doors.poison(WORK)
    assert (message["reason"], message["message"]) == ("HandlerFailed", forged.decode())


@pytest.mark.parametrize("padding", ["x", '"', "\\"])
async def test_a_message_that_does_not_fit_with_its_reason_is_kept_whole(
    doors: Doors, padding: str
) -> None:
    start = '{"deviceId":"kept-5","hub":'
    room = _LONGEST - len(start) - 3
    written = json.dumps(padding, ensure_ascii=False)[1:-1]
    text = f'{start}"{written * (room // len(written.encode()))}"}}'
    assert _LONGEST - 16 < len(text.encode()) <= _LONGEST
    await doors.put_message(ONBOARDING, text.encode())
    message = await doors.until_kept(ONBOARDING)
    assert (message["reason"], message["errors"]) == ("HandlerFailed", [])
    assert message["message"] == text
    await doors.call("POST", f"poison/{ONBOARDING}/{message['id']}/resend")
    assert (await doors.until_kept(ONBOARDING))["message"] == text


async def test_the_largest_message_that_is_right_is_taken(doors: Doors) -> None:
    body = body_of(request("kept-large"))
    await doors.put_message(ONBOARDING, body[:-1] + b" " * (_LONGEST - len(body)) + b"}")
    await doors.until_taken(ONBOARDING)
    assert await doors.poison(ONBOARDING) == []
    assert "kept-large" in await doors.records()


async def test_the_oldest_32_of_each_queue_are_listed(doors: Doors) -> None:
    for number in range(34):
        await doors.put_message(ONBOARDING, {"deviceId": f"kept-{number}"})
    await doors.put_message(EVENTS, b"no event")
    await doors.until_taken(ONBOARDING, EVENTS)
    counted = dict.fromkeys(QUEUES, 0)
    for message in await doors.poison():
        counted[message["queue"]] += 1
    assert counted == {ONBOARDING: 32, EVENTS: 1, WORK: 0}
    (only,) = await doors.poison(EVENTS)
    assert only["queue"] == EVENTS
