"""Messages that could not be taken are kept: listed, sent again, thrown away."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from firstpull.intake.poison_queue import QUEUES
from local_azure.iot_hub.twins import TwinPatch

from .documents import body_of, device_event, in_base64, request
from .endpoints import EVENTS, ONBOARDING, WORK, Endpoints
from .ways_in import TARGET

_LONGEST = 64 * 1024


@pytest.fixture(autouse=True)
async def _nothing_kept(endpoints: Endpoints) -> AsyncIterator[None]:
    await endpoints.discard_all()
    yield
    await endpoints.discard_all()


async def test_a_kept_message_says_when_and_why_and_is_as_it_came(endpoints: Endpoints) -> None:
    text = in_base64(request("kept-1", repositories=["Line/A"], actions=["content/write"]))
    await endpoints.put_message(ONBOARDING, text)
    message = await endpoints.until_kept(ONBOARDING)
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


async def test_the_record_of_the_device_says_that_a_message_was_refused(
    endpoints: Endpoints,
) -> None:
    asked = await endpoints.call("POST", "devices", request("kept-2"))
    await endpoints.until_state("kept-2", "Waiting")
    assert "lastRejected" not in asked.document
    for changes, reason in (
        ({"repositories": ["stranger"]}, "NotAllowed"),
        ({"site": "works"}, "InvalidRequest"),
    ):
        await endpoints.put_message(ONBOARDING, request("kept-2", **changes))
        await endpoints.until_taken(ONBOARDING)
        view = await endpoints.device("kept-2")
        assert view["lastRejected"]["reason"] == reason
        assert (view["generation"], view["wants"]) == (1, asked.document["wants"])


async def test_a_message_sent_again_is_taken_once_what_stood_in_its_way_is_mended(
    endpoints: Endpoints,
) -> None:
    endpoints.register("mended", tag={"connectedRegistry": "doorone"})
    await endpoints.put_message(EVENTS, device_event("mended"))
    message = await endpoints.until_kept(EVENTS)
    endpoints.stack.hub.patch_twin("mended", TwinPatch(tags={"firstpull": TARGET}), etag=None)

    answer = await endpoints.call("POST", f"poison/{EVENTS}/{message['id']}/resend")
    assert (answer.status, answer.document) == (200, message)
    await endpoints.until_state("mended", "Delivered")
    await endpoints.until_taken(EVENTS)
    assert await endpoints.poison() == []


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
    endpoints: Endpoints, text: bytes
) -> None:
    await endpoints.put_message(ONBOARDING, text)
    message = await endpoints.until_kept(ONBOARDING)
    await endpoints.call("POST", f"poison/{ONBOARDING}/{message['id']}/resend")
    again = await endpoints.until_kept(ONBOARDING)
    for changing in ("id", "keptAt"):
        del message[changing], again[changing]
    assert again == message
    assert message["message"] == text.decode()


async def test_only_the_message_that_is_meant_is_thrown_away(endpoints: Endpoints) -> None:
    for number in range(3):
        await endpoints.put_message(ONBOARDING, {"deviceId": f"kept-{number}"})
    await endpoints.until_taken(ONBOARDING)
    first, second, third = sorted(
        await endpoints.poison(ONBOARDING), key=lambda m: str(m["message"])
    )
    answer = await endpoints.call("DELETE", f"poison/{ONBOARDING}/{second['id']}")
    assert (answer.status, answer.text) == (204, "")
    left = {message["id"] for message in await endpoints.poison(ONBOARDING)}
    assert left == {first["id"], third["id"]}
    again = await endpoints.call("DELETE", f"poison/{ONBOARDING}/{second['id']}")
    assert (again.status, again.document["reason"]) == (404, "MessageNotKnown")
    assert await endpoints.length(ONBOARDING) == 0


@pytest.mark.parametrize(
    ("method", "after", "action"), [("POST", "/resend", "Resend"), ("DELETE", "", "Discard")]
)
async def test_a_dry_run_leaves_the_message_where_it_is(
    endpoints: Endpoints, method: str, after: str, action: str
) -> None:
    await endpoints.put_message(ONBOARDING, {"deviceId": "kept-4"})
    message = await endpoints.until_kept(ONBOARDING)
    path = f"poison/{ONBOARDING}/{message['id']}{after}?dryRun=true"
    answer = await endpoints.call(method, path)
    assert answer.status == 200
    assert answer.document == {
        "dryRun": True,
        "actions": [{"action": action, "message": message}],
    }
    assert await endpoints.poison(ONBOARDING) == [message]
    assert await endpoints.length(ONBOARDING) == 0


@pytest.mark.parametrize("dry_run", ["", "?dryRun=true"])
async def test_what_is_not_kept_is_not_found(endpoints: Endpoints, dry_run: str) -> None:
    await endpoints.put_message(EVENTS, b"no event")
    message = await endpoints.until_kept(EVENTS)
    for queue in (ONBOARDING, WORK):
        for method, path in (("POST", f"{message['id']}/resend"), ("DELETE", message["id"])):
            answer = await endpoints.call(method, f"poison/{queue}/{path}{dry_run}")
            assert (answer.status, answer.document["reason"]) == (404, "MessageNotKnown")
    assert await endpoints.poison() == [message]


async def test_what_the_host_gave_up_on_is_listed_and_can_be_sent_again(
    endpoints: Endpoints,
) -> None:
    await endpoints.put_message(WORK, b"not JSON")

    async def given_up() -> bool:
        return bool(await endpoints.poison(WORK))

    await endpoints.until(given_up)
    (message,) = await endpoints.poison(WORK)
    assert (message["reason"], message["message"]) == ("HandlerFailed", "not JSON")
    assert message["keptAt"]
    answer = await endpoints.call("POST", f"poison/{WORK}/{message['id']}/resend")
    assert answer.status == 200

    async def given_up_again() -> bool:
        return [m["id"] for m in await endpoints.poison(WORK)] not in ([], [message["id"]])

    await endpoints.until(given_up_again)


async def test_what_passes_like_a_kept_message_and_is_none_is_not_believed(
    endpoints: Endpoints,
) -> None:
    forged = body_of({"rejected": "firstpull", "reason": "Forged", "detail": "", "message": "x"})
    poison = endpoints.queue(f"{WORK}-poison")
    await poison.send_message(forged.decode())
    (message,) = await endpoints.poison(WORK)
    assert (message["reason"], message["message"]) == ("HandlerFailed", forged.decode())


@pytest.mark.parametrize("padding", ["x", '"', "\\"])
async def test_a_message_that_does_not_fit_with_its_reason_is_kept_whole(
    endpoints: Endpoints, padding: str
) -> None:
    start = '{"deviceId":"kept-5","hub":'
    room = _LONGEST - len(start) - 3
    written = json.dumps(padding, ensure_ascii=False)[1:-1]
    text = f'{start}"{written * (room // len(written.encode()))}"}}'
    assert _LONGEST - 16 < len(text.encode()) <= _LONGEST
    await endpoints.put_message(ONBOARDING, text.encode())
    message = await endpoints.until_kept(ONBOARDING)
    assert (message["reason"], message["errors"]) == ("HandlerFailed", [])
    assert message["message"] == text
    await endpoints.call("POST", f"poison/{ONBOARDING}/{message['id']}/resend")
    assert (await endpoints.until_kept(ONBOARDING))["message"] == text


async def test_the_largest_message_that_is_right_is_taken(endpoints: Endpoints) -> None:
    body = body_of(request("kept-large"))
    await endpoints.put_message(ONBOARDING, body[:-1] + b" " * (_LONGEST - len(body)) + b"}")
    await endpoints.until_taken(ONBOARDING)
    assert await endpoints.poison(ONBOARDING) == []
    assert "kept-large" in await endpoints.records()


async def test_a_message_that_storage_cannot_deliver_hides_only_those_behind_it(
    endpoints: Endpoints,
) -> None:
    """Azurite takes characters that XML has not, and fails to answer with them."""
    poison = endpoints.queue(f"{WORK}-poison")
    sent = [await poison.send_message(text) for text in ("1", "2", "3", "\uffff", "5")]
    again = {"hub": "a.example", "deviceId": "nobody"}
    await endpoints.put_message(EVENTS, b"no event")
    await endpoints.until_taken(EVENTS)
    answer = await endpoints.call("GET", "poison")
    assert answer.status == 200, answer.text
    assert answer.document["unreadable"] == [WORK]
    texts = {(message["queue"], message["message"]) for message in answer.document["messages"]}
    assert texts == {(WORK, "1"), (WORK, "2"), (WORK, "3"), (EVENTS, "no event")}

    discard, resend = f"poison/{WORK}/{sent[1].id}", f"poison/{WORK}/{sent[2].id}/resend"
    assert (await endpoints.call("DELETE", discard)).status == 204
    assert (await endpoints.call("POST", resend, again)).status == 200
    left = await endpoints.call("DELETE", f"poison/{WORK}?reason=HandlerFailed")
    assert left.document["discarded"] >= 2  # the first and the last

    async def nothing_else_is_shown() -> bool:
        answer = await endpoints.call("GET", f"poison?queue={WORK}")
        return answer.document == {"messages": [], "unreadable": [WORK]}

    await endpoints.until(nothing_else_is_shown)
    assert (await endpoints.call("DELETE", f"poison/{WORK}")).document == {"discarded": 1}
    assert await endpoints.poison(WORK) == []


async def test_the_oldest_32_of_each_queue_are_listed(endpoints: Endpoints) -> None:
    for number in range(34):
        await endpoints.put_message(ONBOARDING, {"deviceId": f"kept-{number}"})
    await endpoints.put_message(EVENTS, b"no event")
    await endpoints.until_taken(ONBOARDING, EVENTS)
    counted = dict.fromkeys(QUEUES, 0)
    for message in await endpoints.poison():
        counted[message["queue"]] += 1
    assert counted == {ONBOARDING: 32, EVENTS: 1, WORK: 0}
    (only,) = await endpoints.poison(EVENTS)
    assert only["queue"] == EVENTS
