"""POST …/rotate replaces a password, and the one before stays until the device has moved on."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.end_to_end.cloud import (
    cloud_answers,
    cloud_registry,
    entry_of,
    report_login,
    secret_versions,
    site_of,
)

from .documents import Document, request
from .endpoints import Endpoints

_SITE = "doorapart"


def _slots(endpoints: Endpoints, view: Document) -> list[str]:
    return [
        password.name for password in cloud_registry(endpoints.stack).token(view["token"]).passwords
    ]


def _enabled(endpoints: Endpoints, view: Document) -> list[str]:
    return [v.version for v in secret_versions(endpoints.stack, view["secret"]) if v.enabled]


async def _password_works(endpoints: Endpoints, entry: Document) -> bool:
    return await cloud_answers(endpoints.stack, entry["username"], entry["password"]) == 200


async def _sync(endpoints: Endpoints) -> None:
    """The site syncs well after whatever was made before now."""
    endpoints.stack.kernel.clock.advance(timedelta(seconds=6))
    assert site_of(endpoints.stack, _SITE).backend.sync()


async def _until_delivered_anew(endpoints: Endpoints, before: Document) -> Document:
    found: list[Document] = []

    async def there() -> bool:
        view = await endpoints.device(before["deviceId"])
        if view["delivery"]["secretVersion"] != before["delivery"]["secretVersion"]:
            found.append(view)
        return bool(found)

    await endpoints.until(there)
    return found[0]


async def test_the_old_password_goes_when_the_device_has_logged_in_with_the_new_one(
    endpoints: Endpoints,
) -> None:
    stack = endpoints.stack
    before = await endpoints.onboarded("rotate-1", connectedRegistry=_SITE, logged_in=True)
    old = entry_of(stack, "rotate-1", _SITE)
    answer = await endpoints.call("POST", "devices/rotate-1/rotate", {"immediately": False})
    assert (answer.status, answer.document["generation"]) == (202, 2)
    asked = answer.document["rotation"]
    assert (asked["replaces"], asked["immediately"], asked["requestedBy"]) == (
        before["delivery"]["secretVersion"],
        False,
        "function key",
    )
    waiting = await endpoints.until_state("rotate-1", "Waiting")
    assert waiting["condition"]["reason"] == "AwaitingSync"
    assert waiting["rotation"] == asked
    operation = await endpoints.call("GET", "devices/rotate-1/operations/2")
    assert operation.document["status"] == "Running"
    again = await endpoints.call("POST", "devices/rotate-1/rotate")
    assert (again.status, again.document["generation"]) == (202, 2)
    assert entry_of(stack, "rotate-1", _SITE) == old
    assert await _password_works(endpoints, old)

    await _sync(endpoints)
    delivered = await _until_delivered_anew(endpoints, before)
    new = entry_of(stack, "rotate-1", _SITE)
    assert "rotation" not in delivered
    operation = await endpoints.call("GET", "devices/rotate-1/operations/2")
    assert operation.document["status"] == "Succeeded"
    assert await _password_works(endpoints, old)
    assert await _password_works(endpoints, new)
    assert _slots(endpoints, delivered) == ["password1", "password2"]

    report_login(stack, "rotate-1", _SITE)

    async def only_the_new_one_is_left() -> bool:
        view = await endpoints.device("rotate-1")
        return view["state"] == "Ready" and _slots(endpoints, view) == [view["delivery"]["slot"]]

    await endpoints.until(only_the_new_one_is_left)
    assert not await _password_works(endpoints, old)
    assert await _password_works(endpoints, new)
    await endpoints.call("POST", "devices", request("rotate-1", connectedRegistry=_SITE))

    async def its_version_is_disabled() -> bool:
        return _enabled(endpoints, delivered) == [delivered["delivery"]["secretVersion"]]

    await endpoints.until(its_version_is_disabled)
    story = [entry["event"] for entry in (await endpoints.device("rotate-1"))["history"]]
    assert story.count("device.rotation.recorded") == 1


async def test_immediately_ends_the_old_password_at_once(endpoints: Endpoints) -> None:
    before = await endpoints.onboarded("rotate-now", connectedRegistry=_SITE)
    old = entry_of(endpoints.stack, "rotate-now", _SITE)
    headers = {"x-functions-key": endpoints.app.key, "Prefer": "wait=20"}
    answer = await endpoints.call(
        "POST", "devices/rotate-now/rotate", {"immediately": True}, headers=headers
    )
    assert (answer.status, answer.document["state"]) == (200, "Delivered")
    view = answer.document
    assert (view["generation"], "rotation" in view) == (2, False)
    assert view["delivery"]["secretVersion"] != before["delivery"]["secretVersion"]
    new = entry_of(endpoints.stack, "rotate-now", _SITE)
    assert not await _password_works(endpoints, old)
    assert await _password_works(endpoints, new)
    assert _slots(endpoints, view) == [view["delivery"]["slot"]]
    assert _enabled(endpoints, view) == [view["delivery"]["secretVersion"]]


async def test_while_the_device_has_not_answered_a_rotation_waits(endpoints: Endpoints) -> None:
    before = await endpoints.onboarded("rotate-unanswered", connectedRegistry=_SITE)
    answer = await endpoints.call("POST", "devices/rotate-unanswered/rotate")
    assert answer.status == 202
    await endpoints.until_looked_at("rotate-unanswered")
    view = await endpoints.device("rotate-unanswered")
    assert view["delivery"] == before["delivery"]
    assert view["rotation"]["replaces"] == before["delivery"]["secretVersion"]
    assert _slots(endpoints, view) == ["password1"]


@pytest.mark.parametrize("body", [None, {"immediately": True}], ids=["usual", "immediately"])
async def test_a_dry_run_shows_the_new_password_and_makes_none(
    endpoints: Endpoints, body: Document | None
) -> None:
    device_id = f"rotate-dry-{'usual' if body is None else 'now'}"
    view = await endpoints.onboarded(device_id, connectedRegistry=_SITE, logged_in=True)
    await endpoints.until_looked_at(device_id)
    record = await endpoints.record(device_id)
    endpoints.stack.kernel.calls.reset()
    answer = await endpoints.call("POST", f"devices/{device_id}/rotate?dryRun=true", body)
    assert (answer.status, answer.document["dryRun"]) == (200, True)
    planned = {action["action"]: action for action in answer.document["actions"]}
    if body is None:
        assert list(planned) == ["GeneratePassword"]
        assert planned["GeneratePassword"]["slot"] != view["delivery"]["slot"]
    else:
        assert planned["KeepPasswords"]["slots"] == []
        assert {"GeneratePassword", "Deliver", "DisableSecretVersion"} < set(planned)
    assert endpoints.writes() == []
    assert await endpoints.record(device_id) == record


@pytest.mark.parametrize("dry_run", ["", "?dryRun=true"])
async def test_where_there_is_no_password_there_is_nothing_to_rotate(
    endpoints: Endpoints, dry_run: str
) -> None:
    await endpoints.call("POST", "devices", request("rotate-never"))
    answer = await endpoints.call("POST", f"devices/rotate-never/rotate{dry_run}")
    assert (answer.status, answer.document["reason"]) == (409, "NothingToRotate")


@pytest.mark.parametrize("dry_run", ["", "?dryRun=true"])
async def test_a_revoked_device_gets_no_new_password(endpoints: Endpoints, dry_run: str) -> None:
    device_id = f"rotate-revoked-{len(dry_run)}"
    await endpoints.onboarded(device_id)
    await endpoints.call("DELETE", f"devices/{device_id}")
    answer = await endpoints.call("POST", f"devices/{device_id}/rotate{dry_run}")
    assert (answer.status, answer.document["reason"]) == (409, "DeviceRevoked")
    assert (await endpoints.until_state(device_id, "Revoked"))["generation"] == 2
