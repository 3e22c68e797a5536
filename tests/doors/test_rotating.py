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
from .doors import Doors

_SITE = "doorapart"


def _slots(doors: Doors, view: Document) -> list[str]:
    return [
        password.name for password in cloud_registry(doors.stack).token(view["token"]).passwords
    ]


def _enabled(doors: Doors, view: Document) -> list[str]:
    return [v.version for v in secret_versions(doors.stack, view["secret"]) if v.enabled]


async def _password_works(doors: Doors, entry: Document) -> bool:
    return await cloud_answers(doors.stack, entry["username"], entry["password"]) == 200


async def _sync(doors: Doors) -> None:
    """The site syncs well after whatever was made before now."""
    doors.stack.kernel.clock.advance(timedelta(seconds=6))
    assert site_of(doors.stack, _SITE).backend.sync()


async def _until_delivered_anew(doors: Doors, before: Document) -> Document:
    found: list[Document] = []

    async def there() -> bool:
        view = await doors.device(before["deviceId"])
        if view["delivery"]["secretVersion"] != before["delivery"]["secretVersion"]:
            found.append(view)
        return bool(found)

    await doors.until(there)
    return found[0]


async def test_the_old_password_goes_when_the_device_has_logged_in_with_the_new_one(
    doors: Doors,
) -> None:
    stack = doors.stack
    before = await doors.onboarded("rotate-1", connectedRegistry=_SITE, logged_in=True)
    old = entry_of(stack, "rotate-1", _SITE)
    answer = await doors.call("POST", "devices/rotate-1/rotate", {"immediately": False})
    assert (answer.status, answer.document["generation"]) == (202, 2)
    asked = answer.document["rotation"]
    assert (asked["replaces"], asked["immediately"], asked["requestedBy"]) == (
        before["delivery"]["secretVersion"],
        False,
        "function key",
    )
    waiting = await doors.until_state("rotate-1", "Waiting")
    assert waiting["condition"]["reason"] == "AwaitingSync"
    assert waiting["rotation"] == asked
    operation = await doors.call("GET", "devices/rotate-1/operations/2")
    assert operation.document["status"] == "Running"
    again = await doors.call("POST", "devices/rotate-1/rotate")
    assert (again.status, again.document["generation"]) == (202, 2)
    assert entry_of(stack, "rotate-1", _SITE) == old
    assert await _password_works(doors, old)

    await _sync(doors)
    delivered = await _until_delivered_anew(doors, before)
    new = entry_of(stack, "rotate-1", _SITE)
    assert "rotation" not in delivered
    operation = await doors.call("GET", "devices/rotate-1/operations/2")
    assert operation.document["status"] == "Succeeded"
    assert await _password_works(doors, old)
    assert await _password_works(doors, new)
    assert _slots(doors, delivered) == ["password1", "password2"]

    report_login(stack, "rotate-1", _SITE)

    async def only_the_new_one_is_left() -> bool:
        view = await doors.device("rotate-1")
        return view["state"] == "Ready" and _slots(doors, view) == [view["delivery"]["slot"]]

    await doors.until(only_the_new_one_is_left)
    assert not await _password_works(doors, old)
    assert await _password_works(doors, new)
    await doors.call("POST", "devices", request("rotate-1", connectedRegistry=_SITE))

    async def its_version_is_disabled() -> bool:
        return _enabled(doors, delivered) == [delivered["delivery"]["secretVersion"]]

    await doors.until(its_version_is_disabled)
    story = [entry["event"] for entry in (await doors.device("rotate-1"))["history"]]
    assert story.count("device.rotation.recorded") == 1


async def test_immediately_ends_the_old_password_at_once(doors: Doors) -> None:
    before = await doors.onboarded("rotate-now", connectedRegistry=_SITE)
    old = entry_of(doors.stack, "rotate-now", _SITE)
    headers = {"x-functions-key": doors.app.key, "Prefer": "wait=20"}
    answer = await doors.call(
        "POST", "devices/rotate-now/rotate", {"immediately": True}, headers=headers
    )
    assert (answer.status, answer.document["state"]) == (200, "Delivered")
    view = answer.document
    assert (view["generation"], "rotation" in view) == (2, False)
    assert view["delivery"]["secretVersion"] != before["delivery"]["secretVersion"]
    new = entry_of(doors.stack, "rotate-now", _SITE)
    assert not await _password_works(doors, old)
    assert await _password_works(doors, new)
    assert _slots(doors, view) == [view["delivery"]["slot"]]
    assert _enabled(doors, view) == [view["delivery"]["secretVersion"]]


async def test_while_the_device_has_not_answered_a_rotation_waits(doors: Doors) -> None:
    before = await doors.onboarded("rotate-unanswered", connectedRegistry=_SITE)
    answer = await doors.call("POST", "devices/rotate-unanswered/rotate")
    assert answer.status == 202
    await doors.until_looked_at("rotate-unanswered")
    view = await doors.device("rotate-unanswered")
    assert view["delivery"] == before["delivery"]
    assert view["rotation"]["replaces"] == before["delivery"]["secretVersion"]
    assert _slots(doors, view) == ["password1"]


@pytest.mark.parametrize("body", [None, {"immediately": True}], ids=["usual", "immediately"])
async def test_a_dry_run_shows_the_new_password_and_makes_none(
    doors: Doors, body: Document | None
) -> None:
    device_id = f"rotate-dry-{'usual' if body is None else 'now'}"
    view = await doors.onboarded(device_id, connectedRegistry=_SITE, logged_in=True)
    await doors.until_looked_at(device_id)
    record = await doors.record(device_id)
    doors.stack.kernel.calls.reset()
    answer = await doors.call("POST", f"devices/{device_id}/rotate?dryRun=true", body)
    assert (answer.status, answer.document["dryRun"]) == (200, True)
    planned = {action["action"]: action for action in answer.document["actions"]}
    if body is None:
        assert list(planned) == ["GeneratePassword"]
        assert planned["GeneratePassword"]["slot"] != view["delivery"]["slot"]
    else:
        assert planned["KeepPasswords"]["slots"] == []
        assert {"GeneratePassword", "Deliver", "DisableSecretVersion"} < set(planned)
    assert doors.writes() == []
    assert await doors.record(device_id) == record


@pytest.mark.parametrize("dry_run", ["", "?dryRun=true"])
async def test_where_there_is_no_password_there_is_nothing_to_rotate(
    doors: Doors, dry_run: str
) -> None:
    await doors.call("POST", "devices", request("rotate-never"))
    answer = await doors.call("POST", f"devices/rotate-never/rotate{dry_run}")
    assert (answer.status, answer.document["reason"]) == (409, "NothingToRotate")


@pytest.mark.parametrize("dry_run", ["", "?dryRun=true"])
async def test_a_revoked_device_gets_no_new_password(doors: Doors, dry_run: str) -> None:
    device_id = f"rotate-revoked-{len(dry_run)}"
    await doors.onboarded(device_id)
    await doors.call("DELETE", f"devices/{device_id}")
    answer = await doors.call("POST", f"devices/{device_id}/rotate{dry_run}")
    assert (answer.status, answer.document["reason"]) == (409, "DeviceRevoked")
    assert (await doors.until_state(device_id, "Revoked"))["generation"] == 2
