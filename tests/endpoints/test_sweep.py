"""The sweep by its function: what it mends, what it holds back, and what lets it go on."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from local_azure.iot_hub.twins import TwinPatch
from local_azure.stack import Stack
from tests.end_to_end.cloud import clients_of, cloud_registry

from .documents import Document
from .endpoints import Endpoints, open_endpoints, policy_for

pytestmark = pytest.mark.xdist_group("endpoints of other apps")

_SITE = "doorswept"
_TARGET: Document = {"connectedRegistry": _SITE, "repositories": ["hello-world"]}


@pytest.fixture
async def swept_doors(doors_stack: Stack, ca_file: Path) -> AsyncIterator[Endpoints]:
    """An app with a deployment, a connected registry and storage of its own."""
    policy = policy_for(doors_stack, connectedRegistries=[{"name": _SITE}], sites=[])
    deployment = f"swept-{secrets.token_hex(3)}"
    async with open_endpoints(
        doors_stack,
        ca_file=str(ca_file),
        policy=policy,
        system_key=secrets.token_urlsafe(32),
        more_settings={
            "FIRSTPULL_DEPLOYMENT": deployment,
            "FIRSTPULL_SWEEP_REVOKES_PERCENT": "34",
        },
    ) as opened:
        yield opened


async def _sweep(endpoints: Endpoints) -> Document:
    """Runs the timer's function and waits for its report."""
    before = (await endpoints.call("GET", "sweep")).document.get("id")
    await endpoints.run_function("sweep")
    found: list[Document] = []

    async def reported() -> bool:
        answer = await endpoints.call("GET", "sweep")
        if answer.status == 200 and answer.document["id"] != before:
            found.append(answer.document)
        return bool(found)

    await endpoints.until(reported)
    return found[0]


async def _ready(endpoints: Endpoints, *device_ids: str) -> None:
    for device_id in device_ids:
        await endpoints.onboarded(device_id, logged_in=True, **_TARGET)
        await endpoints.until_looked_at(device_id)


async def test_a_sweep_mends_what_nobody_told_of_and_reports_it(swept_doors: Endpoints) -> None:
    endpoints, stack = swept_doors, swept_doors.stack
    first = await endpoints.call("GET", "sweep")
    assert (first.status, first.document["reason"]) == (404, "SweepNotKnown")
    await _ready(endpoints, "swept-1")
    token = (await endpoints.device("swept-1"))["token"]
    quiet = await _sweep(endpoints)
    assert (quiet["devices"], quiet["drifted"], quiet["held"], quiet["unread"]) == (1, {}, [], [])
    assert quiet["startedAt"] <= quiet["finishedAt"] == quiet["completeAt"]

    endpoints.register("swept-2", tag=_TARGET)
    cloud_registry(stack).update_token(token, status="disabled")
    report = await _sweep(endpoints)
    assert (report["drifted"], report["onboarded"]) == ({"the token is disabled": 1}, 1)
    newcomer = await endpoints.until_state("swept-2", "Delivered")
    assert newcomer["wants"]["requestedBy"] == "sweep"

    async def mended() -> bool:
        return cloud_registry(stack).token(token).status == "enabled"

    await endpoints.until(mended)
    found = [e for e in (await endpoints.device("swept-1"))["history"] if "drift" in e["event"]]
    assert [entry["detail"] for entry in found] == ["the token is disabled"]


@pytest.mark.slow
async def test_a_sweep_that_would_revoke_many_waits_for_a_person(swept_doors: Endpoints) -> None:
    endpoints, hub = swept_doors, swept_doors.stack.hub
    gone = ["swept-gone-1", "swept-gone-2"]
    await _ready(endpoints, "swept-stays", *gone)
    for device_id in gone:
        hub.delete_device(device_id, etag=None)
    report = await _sweep(endpoints)
    host = endpoints.stack.iot_hub_host_name
    held = [{"deviceId": device_id, "hub": host} for device_id in gone]
    assert (report["revoked"], report["approved"]) == (0, [])
    assert sorted(report["held"], key=str) == held
    assert [(await endpoints.device(d))["state"] for d in gone] == ["Ready", "Ready"]

    approval = {"sweep": report["id"]}
    planned = await endpoints.call("POST", "sweep/approve?dryRun=true", approval)
    assert planned.document == {
        "dryRun": True,
        "actions": [{"action": "ApproveRevokes", "sweep": report["id"], "devices": report["held"]}],
    }
    assert (await endpoints.call("GET", "sweep")).document == report
    for dry_run in ("", "?dryRun=true"):
        other = await endpoints.call("POST", f"sweep/approve{dry_run}", {"sweep": "another"})
        assert (other.status, other.document["reason"]) == (404, "SweepNotKnown")

    approved = await endpoints.call("POST", "sweep/approve", approval)
    assert (approved.status, approved.document) == (200, {**report, "approved": report["held"]})
    assert (await endpoints.call("GET", "sweep")).document == approved.document
    again = await endpoints.call("POST", "sweep/approve", approval)
    assert (again.status, again.document) == (200, approved.document)

    after = await _sweep(endpoints)
    assert (after["revoked"], after["held"]) == (2, [])
    for device_id in gone:
        view = await endpoints.until_state(device_id, "Revoked")
        assert view["revoked"]["requestedBy"] == "sweep"
    assert (
        clients_of(endpoints.stack, _SITE).count((await endpoints.device("swept-stays"))["token"])
        == 1
    )
    late = await endpoints.call("POST", "sweep/approve", approval)
    assert (late.status, late.document["reason"]) == (404, "SweepNotKnown")


@pytest.mark.slow
async def test_a_sweep_tells_of_what_no_record_names_and_leaves_it(swept_doors: Endpoints) -> None:
    endpoints, stack = swept_doors, swept_doors.stack
    await _ready(endpoints, "swept-forgotten")
    view = await endpoints.device("swept-forgotten")
    await _forget(endpoints, "swept-forgotten")
    report = await _sweep(endpoints)
    found = {(thing["kind"], thing["name"]) for thing in report["unexplained"]}
    assert found >= {
        ("token", view["token"]),
        ("secret", view["secret"]),
        ("twin entry", "swept-forgotten"),
    }
    assert cloud_registry(stack).token(view["token"]).status == "enabled"
    assert view["token"] in clients_of(stack, _SITE)
    stack.hub.patch_twin("swept-forgotten", TwinPatch(desired={"firstpull": None}), etag=None)


async def _forget(endpoints: Endpoints, device_id: str) -> None:
    """Take a device's record away, as nobody should."""
    table = endpoints.tables.get_table_client("devices")
    async for entity in table.list_entities():
        if entity["deviceId"] == device_id:
            await table.delete_entity(entity)
