"""Bad input gets a clear answer at every endpoint and trigger, and changes nothing."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from itertools import batched
from typing import Any

import pytest

from local_azure.stack.options import HUB_NAME
from tests.end_to_end.cloud import cloud_registry

from .bad_bodies import BODIES, LONGEST, MARK, NOT_LISTED, Bad
from .documents import (
    Document,
    allocation,
    as_cloud_event,
    body_of,
    changed,
    device_event,
    new_webhook_key,
    request,
    secret_event,
    signed,
)
from .endpoints import EVENTS, ONBOARDING, Answer, Endpoints
from .ways_in import TARGET


def _world(endpoints: Endpoints) -> dict[str, object]:
    """All that firstpull can make or change in the cloud, with its revisions."""
    registry, hub = cloud_registry(endpoints.stack), endpoints.stack.hub
    return {
        "tokens": registry.tokens(),
        "scope maps": registry.scope_maps(),
        "lists": [found.settings.client_token_ids for found in registry.connected_registries()],
        "secrets": endpoints.stack.vault.list_secrets(),
        "twins": {d.device_id: hub.twin(d.device_id) for d in hub.devices()},
    }


@pytest.fixture(autouse=True)
async def _nothing_is_made(endpoints: Endpoints) -> AsyncIterator[None]:
    """Whatever is refused here: there is neither a record of it, nor a write, nor a change."""
    world, records = _world(endpoints), set(await endpoints.records())
    endpoints.stack.kernel.calls.reset()
    yield
    assert endpoints.writes() == []
    assert set(await endpoints.records()) == records
    assert _world(endpoints) == world


def check_problem(
    answer: Answer, status: int, reason: str, paths: tuple[str, ...] | list[str] = ()
) -> None:
    """A problem document (RFC 9457) with these words, and nothing of what was sent."""
    assert answer.status == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.document
    assert (document["status"], document["reason"]) == (status, reason)
    assert document["type"] == f"urn:firstpull:problem:{reason}"
    assert document["title"]
    assert document["detail"]
    assert sorted(answer.paths) == sorted(paths)
    assert all(error["message"] for error in document.get("errors", []))
    assert MARK not in answer.text.lower().replace(f"/{MARK}", "")


def _by_name(rows: tuple[Bad, ...], *, every: int) -> list[Any]:
    """All rows, of which one in so many is not slow."""
    return [
        pytest.param(row, id=row.name, marks=[pytest.mark.slow] if number % every else [])
        for number, row in enumerate(rows)
    ]


# Bodies, by the endpoints and triggers that take onboarding requests


@pytest.mark.parametrize("bad", _by_name(BODIES, every=4))
async def test_a_bad_body_is_refused_by_http(endpoints: Endpoints, bad: Bad) -> None:
    check_problem(
        await endpoints.call("POST", "devices", bad.body), bad.status, bad.reason, bad.paths
    )


@pytest.mark.parametrize("bad", _by_name(BODIES[::3], every=4))
async def test_a_bad_body_with_a_good_signature_is_refused_likewise(
    endpoints: Endpoints, bad: Bad
) -> None:
    check_problem(await endpoints.signed_webhook(bad.body), bad.status, bad.reason, bad.paths)


@pytest.mark.parametrize("bad", _by_name(NOT_LISTED, every=4))
async def test_a_dry_run_is_refused_like_the_request(endpoints: Endpoints, bad: Bad) -> None:
    answer = await endpoints.call("POST", "devices?dryRun=true", bad.body)
    check_problem(answer, bad.status, bad.reason, bad.paths)


@pytest.mark.parametrize(
    "encoded", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["plain", "base64"]
)
@pytest.mark.parametrize(
    "rows", list(batched(BODIES, 30, strict=False)), ids=lambda rows: rows[0].name
)
async def test_a_bad_message_is_kept_with_its_reason(
    endpoints: Endpoints, rows: tuple[Bad, ...], *, encoded: bool
) -> None:
    await endpoints.discard_all()
    sent = {}
    for bad in rows:
        text = base64.b64encode(bad.body) if encoded else bad.body
        sent[text.decode()] = bad
        await endpoints.put_message(ONBOARDING, text)
    await endpoints.until_taken(ONBOARDING)
    kept = await endpoints.poison(ONBOARDING)
    found = {
        sent[message["message"]].name: (
            message["reason"],
            sorted(error["path"] for error in message["errors"]),
        )
        for message in kept
    }
    assert found == {bad.name: (bad.reason, sorted(bad.paths)) for bad in rows}
    for message in kept:
        said = f"{message['detail']} {[error['message'] for error in message['errors']]}"
        assert MARK not in said


# HTTP: bodies that only it can carry, addresses, parameters, keys


async def test_an_empty_body_is_refused(endpoints: Endpoints) -> None:
    check_problem(await endpoints.call("POST", "devices"), 400, "InvalidRequest")
    check_problem(await endpoints.call("PUT", "devices/d"), 400, "InvalidRequest")


@pytest.mark.parametrize(
    "body",
    [b"\xff\xfe{}", b"\xef\xbb\xbf{}", b'{"deviceId": "\xe4"}', b"\x00", b"\x1f\x8b\x08"],
    ids=["UTF-16", "a byte order mark", "Latin-1", "a zero", "gzip"],
)
async def test_bytes_that_are_no_json_are_refused(endpoints: Endpoints, body: bytes) -> None:
    check_problem(await endpoints.call("POST", "devices", body), 400, "InvalidRequest")


@pytest.mark.parametrize("size", [LONGEST + 1, 1024 * 1024, 8 * 1024 * 1024])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "devices"),
        ("PUT", "devices/huge"),
        ("POST", "provisioning"),
        ("POST", "devices/huge/rotate"),
        ("POST", "sweep/approve"),
    ],
)
async def test_a_huge_body_is_refused(
    endpoints: Endpoints, method: str, path: str, size: int
) -> None:
    body = body_of(request("huge", hub="h")).replace(b'"h"', b'"h"' + b" " * size)
    check_problem(await endpoints.call(method, path, body), 400, "InvalidRequest")


async def test_a_huge_signed_body_is_refused(endpoints: Endpoints) -> None:
    body = body_of(request("huge")) + b" " * LONGEST
    check_problem(await endpoints.signed_webhook(body), 400, "InvalidRequest")


_LONG = "a" * 129


@pytest.mark.parametrize(
    ("method", "path", "status", "reason", "paths"),
    [
        ("PUT", f"devices/{MARK}%20a", 400, "InvalidRequest", ["/deviceId"]),
        ("PUT", f"devices/{MARK}%5Ca", 400, "InvalidRequest", ["/deviceId"]),
        ("PUT", f"devices/{MARK}%C3%A4", 400, "InvalidRequest", ["/deviceId"]),
        ("PUT", f"devices/{MARK}%D0%B0", 400, "InvalidRequest", ["/deviceId"]),
        ("PUT", f"devices/{_LONG}", 400, "InvalidRequest", ["/deviceId"]),
        ("GET", f"devices/{MARK}%20a", 400, "InvalidRequest", ["deviceId"]),
        ("GET", f"devices/{MARK}%252Fa", 400, "InvalidRequest", ["deviceId"]),
        ("GET", f"devices/{MARK}%2Fa", 400, "InvalidRequest", ["deviceId"]),
        ("PUT", f"devices/{MARK}%25a", 400, "InvalidRequest", ["deviceId"]),
        ("DELETE", "devices/%25FF", 400, "InvalidRequest", ["deviceId"]),
        ("GET", "devices/", 400, "InvalidRequest", [""]),
        ("GET", "devices/.", 400, "InvalidRequest", [""]),
        ("DELETE", "devices/a/%2E%2e", 400, "InvalidRequest", [""]),
        ("DELETE", f"poison/{EVENTS}/", 400, "InvalidRequest", [""]),
        ("GET", f"devices/{_LONG}", 400, "InvalidRequest", ["deviceId"]),
        ("GET", f"devices/a?hub={MARK}%20", 400, "InvalidRequest", ["hub"]),
        ("GET", f"devices/a/operations/1?hub={MARK}%20", 400, "InvalidRequest", ["hub"]),
        ("GET", "devices/never-seen", 404, "DeviceNotKnown", []),
        ("GET", "devices/never-seen/operations/1", 404, "DeviceNotKnown", []),
        ("PUT", f"devices/a?dryRun={MARK}", 400, "InvalidRequest", ["dryRun"]),
        ("PUT", "devices/a?dryRun=True", 400, "InvalidRequest", ["dryRun"]),
        ("PUT", "devices/a?dryRun=1", 400, "InvalidRequest", ["dryRun"]),
        ("PUT", "devices/a?dryRun=true&dryRun=false", 400, "InvalidRequest", ["dryRun"]),
        ("PUT", "devices/a?dryrun=true", 400, "InvalidRequest", ["dryrun"]),
        ("PUT", "devices/a?hub=h&wait=1", 400, "InvalidRequest", ["hub", "wait"]),
        ("GET", "devices/a?history=no", 400, "InvalidRequest", ["history"]),
        ("GET", "devices/a/operations/1?dryRun=true", 400, "InvalidRequest", ["dryRun"]),
        ("DELETE", f"devices/{MARK}%20a", 400, "InvalidRequest", ["deviceId"]),
        ("DELETE", f"devices/{_LONG}", 400, "InvalidRequest", ["deviceId"]),
        ("DELETE", f"devices/a?hub={MARK}%20", 400, "InvalidRequest", ["hub"]),
        ("DELETE", "devices/never-seen", 404, "DeviceNotKnown", []),
        ("DELETE", "devices/never-seen?dryRun=true", 404, "DeviceNotKnown", []),
        ("DELETE", "devices/a?dryrun=true", 400, "InvalidRequest", ["dryrun"]),
        ("DELETE", "devices/a?dryRun", 400, "InvalidRequest", ["dryRun"]),
        ("DELETE", "devices/a?dryRun=", 400, "InvalidRequest", ["dryRun"]),
        ("DELETE", "devices/a?dryRun=yes", 400, "InvalidRequest", ["dryRun"]),
        ("DELETE", "devices/a?force=true&all=1", 400, "InvalidRequest", ["all", "force"]),
        ("POST", f"devices/{MARK}%20a/rotate", 400, "InvalidRequest", ["deviceId"]),
        ("POST", f"devices/a/rotate?hub={MARK}%20", 400, "InvalidRequest", ["hub"]),
        ("POST", "devices/never-seen/rotate", 404, "DeviceNotKnown", []),
        ("POST", "devices/never-seen/rotate?dryRun=true", 404, "DeviceNotKnown", []),
        ("POST", "devices/a/rotate?immediately=true", 400, "InvalidRequest", ["immediately"]),
        ("POST", "devices/a/rotate?dryRun", 400, "InvalidRequest", ["dryRun"]),
        ("POST", "devices/a/rotate?dryRun=", 400, "InvalidRequest", ["dryRun"]),
        ("POST", "devices/a/rotate?x", 400, "InvalidRequest", ["x"]),
        ("POST", "devices/a/rotate?x=", 400, "InvalidRequest", ["x"]),
        ("GET", "sites?site=works", 400, "InvalidRequest", ["site"]),
        ("GET", "sweep?sweep=1", 400, "InvalidRequest", ["sweep"]),
        ("GET", "sweep", 404, "SweepNotKnown", []),
        ("POST", "sweep/approve?sweep=1", 400, "InvalidRequest", ["sweep"]),
        ("GET", "poison?Queue=device-events", 400, "InvalidRequest", ["Queue"]),
        ("DELETE", f"poison/{EVENTS}/1?queue=all", 400, "InvalidRequest", ["queue"]),
        ("GET", f"devices?state={MARK}", 400, "InvalidRequest", ["state"]),
        ("GET", "devices?state=", 400, "InvalidRequest", ["state"]),
        ("GET", "devices?hub=", 400, "InvalidRequest", ["hub"]),
        ("GET", "devices?size=0", 400, "InvalidRequest", ["size"]),
        ("GET", "devices?size=1001", 400, "InvalidRequest", ["size"]),
        ("GET", "devices?size=%D9%A1", 400, "InvalidRequest", ["size"]),
        ("GET", "devices?size=1.5", 400, "InvalidRequest", ["size"]),
        ("GET", "devices?deviceID=a", 400, "InvalidRequest", ["deviceID"]),
        ("GET", f"devices?after={MARK}", 400, "InvalidRequest", ["after"]),
        ("GET", "devices?after=bnVsbA==", 400, "InvalidRequest", ["after"]),
        ("GET", "devices?after=%C3%A4", 400, "InvalidRequest", ["after"]),
        ("GET", f"poison?queue={MARK}", 400, "InvalidRequest", []),
        ("GET", "poison?queue=device-work-poison", 400, "InvalidRequest", []),
        ("POST", f"poison/{MARK}/1/resend", 400, "InvalidRequest", []),
        ("POST", f"poison/{ONBOARDING}/{MARK}/resend", 404, "MessageNotKnown", []),
        ("POST", f"poison/{ONBOARDING}/1/resend?dryRun=no", 400, "InvalidRequest", ["dryRun"]),
        ("DELETE", f"poison/{MARK}/1", 400, "InvalidRequest", []),
        ("DELETE", f"poison/{EVENTS}/{MARK}", 404, "MessageNotKnown", []),
        ("DELETE", f"poison/{EVENTS}/1?dryRun=", 400, "InvalidRequest", ["dryRun"]),
    ],
)
async def test_a_bad_address_or_parameter_is_refused(
    endpoints: Endpoints, method: str, path: str, status: int, reason: str, paths: list[str]
) -> None:
    answer = await endpoints.call(method, path, TARGET if method == "PUT" else None)
    check_problem(answer, status, reason, paths)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "devices", request("in-chunks")),
        ("PUT", "devices/in-chunks", TARGET),
        ("POST", "devices/in-chunks/rotate", {"immediately": True}),
        ("DELETE", "devices/in-chunks", {"dryRun": True}),
        ("POST", "provisioning", {}),
        ("POST", "sweep/approve", {"sweep": "x"}),
        ("POST", "revokes/approve", {}),
    ],
)
async def test_a_body_in_chunks_which_the_host_drops_is_asked_for_again(
    endpoints: Endpoints, method: str, path: str, body: object
) -> None:
    headers = {"x-functions-key": endpoints.app.key}
    answer = await endpoints.call(method, path, body, headers=headers, in_chunks=True)
    check_problem(answer, 411, "LengthRequired")


async def test_a_signed_webhook_in_chunks_is_asked_for_again(endpoints: Endpoints) -> None:
    body = body_of(request("in-chunks"))
    headers = signed(body, key=endpoints.webhook_keys[0])
    answer = await endpoints.call("POST", "webhooks/devices", body, headers=headers, in_chunks=True)
    check_problem(answer, 411, "LengthRequired")


@pytest.mark.parametrize(("name", "status"), [("code", 200), ("CODE", 200), ("codes", 401)])
async def test_a_key_in_the_address_counts_in_any_case(
    endpoints: Endpoints, name: str, status: int
) -> None:
    answer = await endpoints.call("GET", f"devices?{name}={endpoints.app.key}", headers={})
    assert answer.status == status


@pytest.mark.parametrize("dry_run", ["", "?dryRun=true"])
@pytest.mark.parametrize(
    ("path", "body", "status", "reason", "paths"),
    [
        ("devices/a/rotate", MARK.encode(), 400, "InvalidRequest", []),
        ("devices/a/rotate", b"null", 400, "InvalidRequest", []),
        ("devices/a/rotate", b"[true]", 400, "InvalidRequest", []),
        ("devices/a/rotate", b" ", 400, "InvalidRequest", []),
        ("devices/a/rotate", {"immediately": "yes"}, 400, "InvalidRequest", ["/immediately"]),
        ("devices/a/rotate", {"immediately": 1}, 400, "InvalidRequest", ["/immediately"]),
        ("devices/a/rotate", {"immediately": None}, 400, "InvalidRequest", ["/immediately"]),
        ("devices/a/rotate", {"Immediately": True}, 400, "InvalidRequest", ["/Immediately"]),
        ("devices/a/rotate", {"password": MARK}, 400, "InvalidRequest", ["/password"]),
        ("sweep/approve", b"", 400, "InvalidRequest", []),
        ("sweep/approve", b'"x"', 400, "InvalidRequest", []),
        ("sweep/approve", {}, 400, "InvalidRequest", ["/sweep"]),
        ("sweep/approve", {"sweep": 7}, 400, "InvalidRequest", ["/sweep"]),
        ("sweep/approve", {"sweep": ""}, 400, "InvalidRequest", ["/sweep"]),
        ("sweep/approve", {"sweep": "x", "all": True}, 400, "InvalidRequest", ["/all"]),
        ("sweep/approve", {"sweep": MARK}, 404, "SweepNotKnown", []),
    ],
    ids=str,
)
async def test_a_bad_rotation_or_approval_is_refused(
    endpoints: Endpoints,
    path: str,
    body: object,
    status: int,
    reason: str,
    paths: list[str],
    dry_run: str,
) -> None:
    check_problem(await endpoints.call("POST", f"{path}{dry_run}", body), status, reason, paths)


@pytest.mark.parametrize("body", [b"{}", {"dryRun": True}, b"x"], ids=str)
async def test_a_revoke_with_a_body_is_refused(endpoints: Endpoints, body: object) -> None:
    check_problem(await endpoints.call("DELETE", "devices/a", body), 400, "InvalidRequest")


async def test_a_body_that_names_another_device_than_the_address_is_refused(
    endpoints: Endpoints,
) -> None:
    for device_id in ("other", "SAME", None, 7, ["same"]):
        answer = await endpoints.call("PUT", "devices/same", {**TARGET, "deviceId": device_id})
        check_problem(answer, 400, "InvalidRequest", ["/deviceId"])


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PATCH", "devices"),
        ("PATCH", "devices/a"),
        ("GET", "devices/a/rotate"),
        ("PUT", "devices/a/rotate"),
        ("POST", "sites"),
        ("GET", "sites/works"),
        ("DELETE", "sweep"),
        ("POST", "sweep"),
        ("GET", "sweep/approve"),
        ("POST", "devices/a"),
        ("GET", "webhooks/devices"),
        ("GET", "provisioning"),
        ("DELETE", "poison"),
        ("GET", f"poison/{ONBOARDING}/1"),
        ("POST", "devices/a/b/c/d"),
        ("GET", ""),
    ],
)
async def test_what_no_endpoint_serves_is_not_found(
    endpoints: Endpoints, method: str, path: str
) -> None:
    assert (await endpoints.call(method, path)).status == 404


_WITH_KEY = (
    ("POST", "devices"),
    ("GET", "devices"),
    ("PUT", "devices/a"),
    ("GET", "devices/a"),
    ("DELETE", "devices/a"),
    ("POST", "devices/a/rotate"),
    ("GET", "devices/a/operations/1"),
    ("GET", "sites"),
    ("GET", "sweep"),
    ("POST", "sweep/approve"),
    ("POST", "provisioning"),
    ("GET", "poison"),
    ("POST", f"poison/{ONBOARDING}/1/resend"),
    ("DELETE", f"poison/{ONBOARDING}/1"),
)


@pytest.mark.parametrize(("method", "path"), _WITH_KEY)
async def test_without_the_right_key_no_endpoint_opens(
    endpoints: Endpoints, method: str, path: str
) -> None:
    body = request("no-key") if method in ("POST", "PUT") else None
    for headers in ({}, {"x-functions-key": "wrong"}, {"x-functions-key": endpoints.system_key}):
        answer = await endpoints.call(method, path, body, headers=headers)
        assert (answer.status, answer.text) == (401, "")
    assert (await endpoints.call(method, f"{path}?code=wrong", body, headers={})).status == 401


async def test_event_grid_needs_the_system_key(endpoints: Endpoints) -> None:
    url = f"{endpoints.app.url}/runtime/webhooks/eventgrid?functionName=handle_event_grid"
    for key, status in (("", 401), ("wrong", 401), (endpoints.app.key, 403)):
        headers = {"x-functions-key": key, "aeg-event-type": "Notification"}
        async with endpoints.http.post(
            url, json=[device_event("no-key")], headers=headers
        ) as answer:
            assert answer.status == status


# Signatures

_SIGNED = body_of(request("unsigned"))


def _headers(endpoints: Endpoints, *, minutes: float = 0.0, **changes: Any) -> dict[str, str]:  # noqa: ANN401 - JSON
    """A good signature, moved in time, with changes."""
    at = datetime.now(UTC) + timedelta(minutes=minutes)
    good = signed(_SIGNED, key=endpoints.webhook_keys[0], at=at)
    return changed(good, changes={k.replace("_", "-"): v for k, v in changes.items()})


@pytest.mark.parametrize(
    "how",
    [
        {"webhook_id": ...},
        {"webhook_timestamp": ...},
        {"webhook_signature": ...},
        {"webhook_id": ""},
        {"webhook_id": "another"},
        {"webhook_timestamp": ""},
        {"webhook_timestamp": "now"},
        {"webhook_timestamp": "nan"},
        {"webhook_timestamp": "1e999"},
        {"webhook_timestamp": "-1"},
        {"webhook_timestamp": "9" * 400},
        {"webhook_signature": ""},
        {"webhook_signature": "v1"},
        {"webhook_signature": "v1,"},
        {"webhook_signature": "v1,AAAA"},
        {"webhook_signature": "v1,not base64"},
        {"webhook_signature": "v1,a,b"},
        {"webhook_signature": "v2,AAAA v1a,AAAA"},
        {"webhook_signature": "v1," + "A" * 4000},
        {"minutes": -6},
        {"minutes": 6},
        {"minutes": -60 * 24 * 365},
    ],
    ids=str,
)
async def test_a_signature_that_does_not_hold_opens_nothing(
    endpoints: Endpoints, how: dict[str, Any]
) -> None:
    answer = await endpoints.signed_webhook(_SIGNED, headers=_headers(endpoints, **how))
    check_problem(answer, 401, "SignatureNotValid")


async def test_no_key_but_the_signing_key_opens_the_signed_endpoint(endpoints: Endpoints) -> None:
    for headers in (
        {},
        {"x-functions-key": endpoints.app.key},
        signed(_SIGNED, key=new_webhook_key()),
    ):
        check_problem(
            await endpoints.signed_webhook(_SIGNED, headers=headers), 401, "SignatureNotValid"
        )


@pytest.mark.parametrize(
    "body",
    [
        _SIGNED.replace(b"unsigned", b"unsigneD"),
        _SIGNED + b" ",
        _SIGNED[:-1],
        b"",
        b"\xff" + _SIGNED,
    ],
    ids=["another device", "a space more", "a byte less", "none", "no UTF-8"],
)
async def test_a_body_that_was_changed_after_signing_is_refused(
    endpoints: Endpoints, body: bytes
) -> None:
    answer = await endpoints.signed_webhook(body, headers=_headers(endpoints))
    check_problem(answer, 401, "SignatureNotValid")


async def test_where_no_key_is_set_the_signed_endpoint_is_shut(
    endpoints: Endpoints, reserved_doors: Endpoints
) -> None:
    key = endpoints.webhook_keys[0]
    answer = await reserved_doors.signed_webhook(_SIGNED, headers=signed(_SIGNED, key=key))
    check_problem(answer, 401, "SignatureNotValid")
    assert await reserved_doors.records() == {}


# Events

_EVENT_DEVICE = f"event-{MARK}"


def _event(**changes: Any) -> Document:  # noqa: ANN401 - JSON
    return changed(device_event(_EVENT_DEVICE), changes=changes)


_BAD_EVENTS: dict[str, tuple[object, list[str]]] = {
    "no JSON": (MARK.encode(), []),
    "a number": (7, [""]),
    "a text": (b'"x"', [""]),
    "null, which is base64 as well": (b"null", []),
    "an array of arrays": ([[]], [""]),
    "no type": (_event(eventType=...), ["/eventType"]),
    "an empty type": (_event(eventType=""), ["/eventType"]),
    "too long a type": (_event(eventType=MARK * 100), ["/eventType"]),
    "a type that is no text": (_event(eventType=7), ["/eventType"]),
    "a time that is none": (_event(eventTime=MARK), ["/eventTime"]),
    "a time of no year": (_event(eventTime="0001-01-01T00:00:00+14:00"), ["/eventTime"]),
    "a type twice": (
        body_of(_event())[:-1] + b',"eventType":"' + MARK.encode() + b'"}',
        ["/eventType"],
    ),
    "no data": (_event(data=...), ["/data"]),
    "data that is no object": (_event(data=MARK), ["/data"]),
    "data of null": (_event(data=None), ["/data"]),
    "no device": (_event(data={"hubName": HUB_NAME}), ["/deviceId"]),
    "a device that is no text": (device_event(_EVENT_DEVICE, deviceId=7), ["/deviceId"]),
    "a device that cannot be": (device_event(f"{MARK} a"), ["/data/deviceId"]),
    "a device of look-alikes": (device_event(f"{MARK}\u0430"), ["/data/deviceId"]),
    "too long a device": (device_event(MARK * 33), ["/data/deviceId"]),
    "no hub": (device_event(_EVENT_DEVICE, hubName=...), ["/hubName"]),
    "an empty hub": (device_event(_EVENT_DEVICE, hubName=""), ["/hubName"]),
    "a secret without a name": (
        _event(eventType="Microsoft.KeyVault.SecretExpired", data={"Id": "https://v"}),
        ["/ObjectName"],
    ),
    "a secret with a bad name": (
        secret_event("https://v", f"{MARK}/..", "1"),
        ["/ObjectName"],
    ),
    "a secret without an address": (
        changed(secret_event("https://v", "s", "1"), changes={"data": {"ObjectName": "s"}}),
        ["/Id"],
    ),
}


@pytest.mark.parametrize("name", list(_BAD_EVENTS))
async def test_an_event_that_cannot_be_read_is_kept_with_its_reason(
    endpoints: Endpoints, name: str
) -> None:
    await endpoints.discard_all()
    document, paths = _BAD_EVENTS[name]
    await endpoints.put_message(EVENTS, document)
    message = await endpoints.until_kept(EVENTS)
    assert message["reason"] == "InvalidRequest"
    assert [error["path"] for error in message["errors"]] == paths
    of_the_array = document[0] if isinstance(document, list) else document
    assert message["message"] == body_of(of_the_array).decode()
    assert MARK not in str(message["errors"]) + message["detail"]


async def test_an_event_that_cannot_be_read_is_kept_without_the_others_of_its_array(
    endpoints: Endpoints,
) -> None:
    await endpoints.discard_all()
    good, bad = _event(eventType="Microsoft.Devices.DeviceConnected"), _event(eventTime=MARK)
    await endpoints.put_message(EVENTS, [good, bad, good])
    message = await endpoints.until_kept(EVENTS)
    assert json.loads(message["message"]) == bad


@pytest.mark.parametrize(
    "name", ["no hub", "a device that cannot be", "a secret with a bad name", "a time that is none"]
)
async def test_what_the_trigger_cannot_read_is_kept_as_well(
    endpoints: Endpoints, name: str
) -> None:
    await endpoints.discard_all()
    document, paths = _BAD_EVENTS[name]
    assert (await endpoints.push_event([document])).status == 202
    message = await endpoints.until_kept(EVENTS)
    assert (message["reason"], [e["path"] for e in message["errors"]]) == ("InvalidRequest", paths)


_A_DEVICE_OF_ANOTHER_HUB = "a device of a hub that the policy does not list"
_IGNORED: dict[str, tuple[Document, str]] = {
    "an event of another kind": (
        _event(eventType="Microsoft.Devices.DeviceTelemetry"),
        "Microsoft.Devices.DeviceTelemetry",
    ),
    "a device that connects": (
        _event(eventType="Microsoft.Devices.DeviceConnected"),
        "Microsoft.Devices.DeviceConnected",
    ),
    "a type in another case": (
        _event(eventType="microsoft.devices.devicecreated"),
        "microsoft.devices.devicecreated",
    ),
    "a device of another hub": (
        device_event(_EVENT_DEVICE, hub="stranger"),
        _A_DEVICE_OF_ANOTHER_HUB,
    ),
    "a device of a hub by its host": (
        device_event(_EVENT_DEVICE, hub=f"{HUB_NAME}.azure-devices.net"),
        _A_DEVICE_OF_ANOTHER_HUB,
    ),
    "a device that goes from another hub": (
        device_event(_EVENT_DEVICE, hub="stranger", kind="Microsoft.Devices.DeviceDeleted"),
        _A_DEVICE_OF_ANOTHER_HUB,
    ),
    "a module": (
        device_event(_EVENT_DEVICE, moduleId="$edgeAgent"),
        "Microsoft.Devices.DeviceCreated of a module",
    ),
    "a secret of another vault": (
        secret_event("https://stranger.vault.azure.net", "fp-a", "1"),
        "a secret of another vault",
    ),
    "a vault whose name begins like ours": (
        secret_event("https://127.0.0.1.stranger.example", "fp-a", "1"),
        "a secret of another vault",
    ),
}


@pytest.mark.parametrize("name", list(_IGNORED))
async def test_an_event_that_concerns_nobody_here_is_ignored(
    endpoints: Endpoints, name: str
) -> None:
    await endpoints.discard_all()
    event, kind = _IGNORED[name]
    said = f'event.ignored {{"kind":"{kind}"}}'
    before = len(endpoints.lines)

    async def said_of_both() -> bool:
        return len([line for line in endpoints.lines[before:] if line.endswith(said)]) == 2

    await endpoints.put_message(EVENTS, event)
    assert (await endpoints.push_event(as_cloud_event(event), cloud_event=True)).status == 202
    await endpoints.until(said_of_both)
    await endpoints.until_taken(EVENTS)
    assert await endpoints.poison() == []


async def test_an_event_of_a_secret_that_no_record_names_does_nothing(endpoints: Endpoints) -> None:
    await endpoints.discard_all()
    url = endpoints.stack.key_vault_url
    await endpoints.push_event(
        [secret_event(url, "fp-nobody", "1"), secret_event(url, "other", "2")]
    )
    assert await endpoints.poison() == []


async def test_a_secret_with_an_address_that_is_none_is_kept_with_its_reason(
    endpoints: Endpoints,
) -> None:
    await endpoints.discard_all()
    await endpoints.put_message(EVENTS, secret_event("https://[zqzq", "s", "1"))
    assert (await endpoints.until_kept(EVENTS))["reason"] == "InvalidRequest"


# The provisioning service


def _call(endpoints: Endpoints, **changes: Any) -> Document:  # noqa: ANN401 - JSON
    body = allocation(f"dps-{MARK}", hubs=[endpoints.stack.iot_hub_host_name])
    return changed(body, changes=changes)


_CONTEXT = "deviceRuntimeContext"


@pytest.mark.parametrize(
    ("changes", "status", "reason", "paths"),
    [
        ({"linkedHubs": ...}, 400, "InvalidRequest", ["/linkedhubs"]),
        ({"linkedHubs": []}, 400, "InvalidRequest", ["/linkedhubs"]),
        ({"linkedHubs": MARK}, 400, "InvalidRequest", ["/linkedhubs"]),
        ({"linkedHubs": [7]}, 400, "InvalidRequest", ["/linkedhubs", "/linkedhubs/0"]),
        ({"linkedHubs": [f"{MARK}.azure-devices.net"]}, 403, "NotAllowed", ["/linkedHubs"]),
        ({_CONTEXT: ...}, 400, "InvalidRequest", ["/deviceruntimecontext"]),
        ({_CONTEXT: []}, 400, "InvalidRequest", ["/deviceruntimecontext"]),
        ({_CONTEXT: {}}, 400, "InvalidRequest", ["/deviceruntimecontext/registrationid"]),
        (
            {_CONTEXT: {"registrationId": 7}},
            400,
            "InvalidRequest",
            ["/deviceruntimecontext/registrationid"],
        ),
        ({"enrollmentGroup": ...}, 400, "InvalidRequest", [""]),
        (
            {"individualEnrollment": {"registrationId": MARK}},
            400,
            "InvalidRequest",
            [""],
        ),
        ({"enrollmentGroup": MARK}, 400, "InvalidRequest", ["/enrollmentgroup"]),
        (
            {"enrollmentGroup": {"enrollmentGroupId": [MARK]}},
            400,
            "InvalidRequest",
            ["/enrollmentgroup/enrollmentgroupid"],
        ),
    ],
    ids=str,
)
async def test_a_call_that_is_not_the_provisioning_services_is_refused(
    endpoints: Endpoints, changes: dict[str, Any], status: int, reason: str, paths: list[str]
) -> None:
    answer = await endpoints.call("POST", "provisioning", _call(endpoints, **changes))
    check_problem(answer, status, reason, paths)


@pytest.mark.parametrize("device_id", [f"{MARK} a", "a" * 129, ".."])
async def test_a_device_with_a_refused_id_gets_its_hub_and_no_record(
    endpoints: Endpoints, device_id: str
) -> None:
    call = _call(endpoints, **{_CONTEXT: {"registrationId": device_id}})
    answer = await endpoints.call("POST", "provisioning", call)
    assert answer.document == {"iotHubHostName": endpoints.stack.iot_hub_host_name}
    assert device_id not in await endpoints.records()


async def test_provisioning_does_not_take_an_onboarding_request(endpoints: Endpoints) -> None:
    answer = await endpoints.call("POST", "provisioning", request("dps-1"))
    check_problem(answer, 400, "InvalidRequest", ["/deviceruntimecontext", "/linkedhubs"])


async def test_a_device_cannot_choose_a_hub_that_is_not_linked(endpoints: Endpoints) -> None:
    stranger = f"{MARK}.azure-devices.net"
    body = allocation(
        f"dps-{MARK}", hubs=[stranger], currentIotHubHostName=endpoints.stack.iot_hub_host_name
    )
    check_problem(
        await endpoints.call("POST", "provisioning", body), 403, "NotAllowed", ["/linkedHubs"]
    )
