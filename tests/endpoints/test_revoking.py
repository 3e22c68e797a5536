"""DELETE takes a device's access away, once and for good; only a later request brings it back."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from local_azure.kernel.faults import Fault, FaultKind
from local_azure.stack.options import REGISTRY_NAME
from tests.end_to_end.cloud import (
    clients_of,
    cloud_answers,
    entry_of,
    secret_versions,
    site_of,
    tokens_like,
)

from .documents import Document, body_of, request, signed
from .endpoints import ONBOARDING, Answer, Endpoints
from .ways_in import TARGET

_ALL_STEPS = [
    "DisableToken",
    "LeaveConnectedRegistry",
    "WithdrawFromTwin",
    "TagSecret",
    "DisableSecretVersion",
    "DeleteToken",
]


async def _revoked(endpoints: Endpoints, device_id: str) -> Document:
    answer = await endpoints.call("DELETE", f"devices/{device_id}")
    assert answer.status == 202, answer.text
    return await endpoints.until_state(device_id, "Revoked")


def _has_nothing(endpoints: Endpoints, view: Document, plant: str = "doorone") -> bool:
    return (
        not tokens_like(endpoints.stack, view["deviceId"])
        and view["token"] not in clients_of(endpoints.stack, plant)
        and not entry_of(endpoints.stack, view["deviceId"], plant)
        and not any(version.enabled for version in secret_versions(endpoints.stack, view["secret"]))
    )


async def _waited_for(endpoints: Endpoints, device_id: str) -> Answer:
    headers = {"x-functions-key": endpoints.app.key, "Prefer": "wait=20"}
    return await endpoints.call("DELETE", f"devices/{device_id}", headers=headers)


async def test_a_revoked_device_has_nothing_left_and_its_record_tells_the_story(
    endpoints: Endpoints,
) -> None:
    delivered = await endpoints.onboarded("revoke-1")
    answer = await _waited_for(endpoints, "revoke-1")
    assert (answer.status, answer.headers["Preference-Applied"]) == (200, "wait=20")
    view = answer.document
    assert view == await endpoints.device("revoke-1")
    assert (view["state"], view["condition"]["reason"]) == ("Revoked", "Revoked")
    assert (view["generation"], view["observedGeneration"]) == (2, 2)
    assert view["revoked"]["requestedBy"] == "function key"
    assert not {"delivery", "leaving", "rotation"} & set(view)
    assert _has_nothing(endpoints, delivered)

    story = [entry["event"] for entry in view["history"]]
    assert story[0] == "device.intent.recorded"
    assert story.index("device.credential.delivered") < story.index("device.revoke.recorded")
    assert story.index("device.revoke.recorded") < story.index("device.access.revoked")
    by = {entry["event"]: entry.get("by") for entry in view["history"]}
    assert by["device.intent.recorded"] == by["device.revoke.recorded"] == "function key"
    operation = (await endpoints.call("GET", "devices/revoke-1/operations/2")).document
    assert operation["status"] == "Succeeded"


async def test_until_the_site_has_synced_the_tombstone_warns(endpoints: Endpoints) -> None:
    await endpoints.onboarded("revoke-warns", connectedRegistry="doorapart")
    view = await _revoked(endpoints, "revoke-warns")
    (warning,) = view["warnings"]
    assert (warning["reason"], set(warning)) == ("AwaitingSync", {"reason", "message", "since"})
    assert f"{REGISTRY_NAME}/doorapart" in warning["message"]
    listed = (await endpoints.call("GET", "devices?state=Revoked&deviceId=revoke-warns")).document
    del view["history"]
    assert listed["devices"] == [view]


async def test_revoking_again_changes_nothing_but_when_it_was_last_asked_for(
    endpoints: Endpoints,
) -> None:
    await endpoints.onboarded("revoke-2")
    view = await _revoked(endpoints, "revoke-2")
    endpoints.stack.kernel.calls.reset()
    again = await endpoints.call("DELETE", "devices/revoke-2")
    told = again.document
    before, after = view.pop("revoked"), told.pop("revoked")
    assert (again.status, told) == (200, view)
    assert after["requestedBy"] == before["requestedBy"]
    assert after["at"] >= before["at"]
    assert "Operation-Location" not in again.headers
    assert endpoints.writes() == []


async def test_revokes_that_come_at_once_are_one(endpoints: Endpoints) -> None:
    await endpoints.onboarded("revoke-3")
    answers = await asyncio.gather(
        *(endpoints.call("DELETE", "devices/revoke-3") for _ in range(5))
    )
    assert {answer.status for answer in answers} <= {200, 202}
    view = await endpoints.until_state("revoke-3", "Revoked")
    assert view["generation"] == 2
    story = [entry["event"] for entry in view["history"]]
    assert story.count("device.revoke.recorded") == 1


async def test_while_it_is_being_revoked_its_operation_runs(endpoints: Endpoints) -> None:
    delivered = await endpoints.onboarded("revoke-4")
    broken = Fault(r"arm\.tokens\.delete", FaultKind.STATUS, times=None)
    endpoints.stack.kernel.faults.add(broken)
    answer = await endpoints.call("DELETE", "devices/revoke-4")
    assert (answer.status, answer.document["state"]) == (202, "Revoking")
    operation = answer.headers["Operation-Location"].split("/api/", 1)[1]

    async def hangs() -> bool:
        view = await endpoints.device("revoke-4")
        return bool(view["condition"]["reason"] == "ServiceUnavailable")

    await endpoints.until(hangs)
    running = await endpoints.call("GET", operation)
    assert (running.document["status"], running.headers["Retry-After"]) == ("Running", "2")
    assert (await endpoints.device("revoke-4"))["state"] == "Revoking"
    again = await endpoints.call("DELETE", "devices/revoke-4")
    assert (again.status, again.document["generation"]) == (202, 2)

    endpoints.stack.kernel.faults.clear()
    await endpoints.until_state("revoke-4", "Revoked")
    assert _has_nothing(endpoints, delivered)
    assert (await endpoints.call("GET", operation)).document["status"] == "Succeeded"


async def test_a_dry_run_shows_what_would_go_and_takes_nothing(endpoints: Endpoints) -> None:
    view = await endpoints.onboarded("revoke-dry")
    await endpoints.until_looked_at("revoke-dry")
    record, twin = await endpoints.record("revoke-dry"), endpoints.stack.hub.twin("revoke-dry")
    endpoints.stack.kernel.calls.reset()
    answer = await endpoints.call("DELETE", "devices/revoke-dry?dryRun=true")
    assert answer.status == 200
    document = answer.document
    actions = {action["action"]: action for action in document["actions"]}
    assert (document["dryRun"], document["deviceId"]) == (True, "revoke-dry")
    assert list(actions) == _ALL_STEPS
    assert all(action["why"] for action in actions.values())
    token = {"token": view["token"], "containerRegistry": REGISTRY_NAME}
    assert actions["DisableToken"].items() >= token.items() <= actions["DeleteToken"].items()
    left = {"connectedRegistry": f"{REGISTRY_NAME}/doorone", "token": view["token"]}
    assert actions["LeaveConnectedRegistry"].items() >= left.items()
    assert actions["WithdrawFromTwin"]["connectedRegistries"] == ["doorone"]
    hidden = actions["DisableSecretVersion"]
    assert (hidden["secret"], hidden["version"]) == (
        view["secret"],
        view["delivery"]["secretVersion"],
    )
    assert endpoints.writes() == []
    assert (await endpoints.record("revoke-dry"), endpoints.stack.hub.twin("revoke-dry")) == (
        record,
        twin,
    )

    await _revoked(endpoints, "revoke-dry")
    assert (await endpoints.call("DELETE", "devices/revoke-dry?dryRun=true")).document[
        "actions"
    ] == []


async def test_a_device_that_has_gone_from_its_hub_is_revoked_all_the_same(
    endpoints: Endpoints,
) -> None:
    delivered = await endpoints.onboarded("revoke-gone")
    endpoints.stack.hub.delete_device("revoke-gone", etag=None)
    view = await _revoked(endpoints, "revoke-gone")
    assert view["revoked"]["requestedBy"] == "function key"
    assert not tokens_like(endpoints.stack, "revoke-gone")
    assert delivered["token"] not in clients_of(endpoints.stack, "doorone")


async def test_a_device_that_never_appeared_is_revoked_at_once(endpoints: Endpoints) -> None:
    await endpoints.call("POST", "devices", request("revoke-early"))
    await endpoints.until_state("revoke-early", "Waiting")
    endpoints.stack.kernel.calls.reset()
    answer = await _waited_for(endpoints, "revoke-early")
    assert (answer.status, answer.document["state"]) == (200, "Revoked")
    endpoints.register("revoke-early")
    await endpoints.until_looked_at("revoke-early")
    assert (await endpoints.device("revoke-early"))["state"] == "Revoked"
    (note,) = endpoints.writes()
    assert note.startswith("keyVault.secrets.set ")


async def test_a_device_asked_for_after_its_revoke_begins_anew(endpoints: Endpoints) -> None:
    before = await endpoints.onboarded("revoke-anew")
    old = entry_of(endpoints.stack, "revoke-anew", "doorone")["password"]
    await _revoked(endpoints, "revoke-anew")
    answer = await endpoints.call("PUT", "devices/revoke-anew", TARGET)
    assert (answer.status, answer.document["generation"]) == (202, 3)
    view = await endpoints.until_state("revoke-anew", "Delivered")
    assert "revoked" not in view
    assert view["token"] == before["token"]
    new = entry_of(endpoints.stack, "revoke-anew", "doorone")
    assert new["password"] != old
    assert clients_of(endpoints.stack, "doorone").count(view["token"]) == 1
    assert await cloud_answers(endpoints.stack, view["token"], new["password"]) == 200
    assert await cloud_answers(endpoints.stack, view["token"], old) == 401
    story = [entry["event"] for entry in view["history"]]
    assert story.count("device.intent.recorded") == 2
    assert story.count("device.access.revoked") == 1


async def test_a_site_lets_a_revoked_device_in_until_it_has_synced(endpoints: Endpoints) -> None:
    stack = endpoints.stack
    view = await endpoints.onboarded("revoke-site", connectedRegistry="doorapart")
    entry = entry_of(stack, "revoke-site", "doorapart")
    site = site_of(stack, "doorapart").backend
    site.sync()
    await _revoked(endpoints, "revoke-site")
    assert site.authenticate(view["token"], entry["password"]) is not None
    assert await cloud_answers(stack, view["token"], entry["password"]) == 401
    site.sync()
    assert site.authenticate(view["token"], entry["password"]) is None


async def test_a_message_from_before_the_revoke_is_kept_and_brings_nothing_back(
    endpoints: Endpoints,
) -> None:
    await endpoints.discard_all()
    await endpoints.onboarded("revoke-late")
    for changes in ({}, {"repositories": ["line/other"]}):
        wish = request("revoke-late", **changes)
        await endpoints.put_message(ONBOARDING, wish, visible_after_seconds=3)
    view = await _revoked(endpoints, "revoke-late")
    await endpoints.until_taken(ONBOARDING)
    kept = await endpoints.poison(ONBOARDING)
    assert [message["reason"] for message in kept] == ["OutOfDate"] * 2
    after = await endpoints.device("revoke-late")
    assert (after["state"], after["generation"]) == ("Revoked", view["generation"])
    assert after["lastRejected"]["reason"] == "OutOfDate"
    assert _has_nothing(endpoints, view)

    # Sent again by a person, it is a request of now.
    (again, _) = kept
    await endpoints.call("POST", f"poison/{ONBOARDING}/{again['id']}/resend")
    await endpoints.until_state("revoke-late", "Delivered")
    await endpoints.discard_all()


async def test_a_webhook_signed_before_the_revoke_is_refused(endpoints: Endpoints) -> None:
    await endpoints.onboarded("revoke-replay")
    body = body_of(request("revoke-replay"))
    captured = signed(
        body, key=endpoints.webhook_keys[0], at=datetime.now(UTC) - timedelta(seconds=9)
    )
    await _revoked(endpoints, "revoke-replay")
    answer = await endpoints.signed_webhook(body, headers=captured)
    assert (answer.status, answer.document["reason"]) == (409, "OutOfDate")
    assert (await endpoints.device("revoke-replay"))["state"] == "Revoked"


async def test_a_dry_run_without_a_value_revokes_nothing(endpoints: Endpoints) -> None:
    """The host leaves such a parameter out of `req.params`."""
    await endpoints.onboarded("dry-run-meant")
    for query in ("?dryRun", "?dryRun="):
        answer = await endpoints.call("DELETE", f"devices/dry-run-meant{query}")
        assert (answer.status, answer.paths) == (400, ["dryRun"])
    assert (await endpoints.device("dry-run-meant"))["state"] == "Delivered"
