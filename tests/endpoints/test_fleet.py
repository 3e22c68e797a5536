"""Many devices over HTTP: a batch, the figures of the fleet, and ids that no path can carry."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from .documents import request
from .endpoints import ONBOARDING, Endpoints
from .ways_in import TARGET


async def test_a_batch_is_recorded_row_by_row(endpoints: Endpoints) -> None:
    endpoints.register("batch-1")
    rows = [request("batch-1"), request("batch-2", repositories=["Bad"]), request("batch-3")]
    answer = await endpoints.call("POST", "devices:batch", {"devices": rows})
    assert answer.status == 207
    assert (answer.document["taken"], answer.document["refused"]) == (2, 1)
    first, bad, last = answer.document["rows"]
    assert (first["status"], last["status"], bad["status"]) == (202, 202, 400)
    assert [error["path"] for error in bad["problem"]["errors"]] == ["/repositories/0"]
    await endpoints.until_state("batch-1", "Delivered")
    await endpoints.until_state("batch-3", "Waiting")
    assert "batch-2" not in await endpoints.records()


@pytest.mark.slow
async def test_many_are_rotated_and_revoked_each_row_by_itself(endpoints: Endpoints) -> None:
    await endpoints.onboarded("many-1", logged_in=True)
    await endpoints.onboarded("many-2", logged_in=True)
    rows = [{"deviceId": name} for name in ("many-1", "no-such-device", "many-2", "many-1")]
    for verb in ("batchRotate", "batchRevoke"):
        planned = await endpoints.call("POST", f"devices:{verb}?dryRun=true", {"devices": rows})
        assert planned.status == 200
        assert (planned.document["dryRun"], planned.document["refused"]) == (True, 2)
        assert (await endpoints.call("GET", "devices/many-1")).document["generation"] == 1
    for verb, generation in (("batchRotate", 2), ("batchRevoke", 3)):
        answer = await endpoints.call("POST", f"devices:{verb}", {"devices": rows})
        assert answer.status == 207, answer.text
        assert [row["status"] for row in answer.document["rows"]] == [202, 404, 202, 400]
        assert answer.document["rows"][2]["generation"] == generation
    await endpoints.until_state("many-1", "Revoked")
    await endpoints.until_state("many-2", "Revoked")


async def test_a_dry_run_of_a_batch_shows_the_room_afterwards(endpoints: Endpoints) -> None:
    rows = [request(f"attic-{n}", connectedRegistry=None, site="attic") for n in range(3)]
    rows = [{name: value for name, value in row.items() if value is not None} for row in rows]
    answer = await endpoints.call("POST", "devices:batch?dryRun=true", {"devices": rows})
    assert answer.status == 200, answer.text
    assert answer.document["rows"][-1]["finding"] == "SiteFull"
    (attic,) = (s for s in answer.document["room"]["sites"] if s["name"] == "attic")
    assert attic["free"] == 0
    assert not any(name.startswith("attic-") for name in await endpoints.records())


async def test_an_id_with_a_percent_sign_is_put_and_revoked_by_parameter(
    endpoints: Endpoints,
) -> None:
    device_id = "odd%25id"
    query = f"deviceId={quote(device_id, safe='')}"
    endpoints.register(device_id)
    assert (await endpoints.call("PUT", f"devices?{query}", TARGET)).status == 202
    assert (await endpoints.records())[device_id]["generation"] == 1

    async def is_delivered() -> bool:
        found = await endpoints.call("GET", f"devices?{query}")
        return [device["state"] for device in found.document["devices"]] == ["Delivered"]

    await endpoints.until(is_delivered)
    assert (await endpoints.call("POST", f"devices:rotate?{query}")).status == 202
    assert (await endpoints.call("DELETE", f"devices?{query}")).status == 202


async def test_a_caller_who_waited_is_told_that_the_device_is_blocked(
    endpoints: Endpoints,
) -> None:
    endpoints.register("stuck-1")
    headers = {"x-functions-key": endpoints.app.key, "Prefer": "wait=20"}
    wish = request("stuck-1", connectedRegistry="doorgone")
    answer = await endpoints.call("POST", "devices", wish, headers=headers)
    assert answer.status == 424, answer.text
    assert answer.document["reason"] == "ConnectedRegistryNotFound"
    assert answer.document["remedy"]
    assert "/devices/stuck-1/operations/1" in answer.headers["Operation-Location"]
    del headers["Prefer"]
    assert (await endpoints.call("POST", "devices", wish, headers=headers)).status == 202


async def test_kept_messages_are_discarded_by_reason_and_sent_again_corrected(
    endpoints: Endpoints,
) -> None:
    await endpoints.discard_all()
    bad = request("mended-1", repositories=["Bad"])
    await endpoints.put_message(ONBOARDING, bad)
    message = await endpoints.until_kept(ONBOARDING)
    path = f"poison/{ONBOARDING}/{message['id']}/resend"
    assert (await endpoints.call("POST", path, bad)).status == 400
    assert (await endpoints.call("POST", path, request("mended-1"))).status == 200
    await endpoints.until_state("mended-1", "Waiting")
    assert await endpoints.poison(ONBOARDING) == []
    for number in range(3):
        await endpoints.put_message(ONBOARDING, request(f"bad-{number}", repositories=["Bad"]))
    await endpoints.put_message(ONBOARDING, request("bad-4", repositories=["stranger"]))
    await endpoints.until_taken(ONBOARDING)
    query = f"poison/{ONBOARDING}?reason=InvalidRequest"
    planned = await endpoints.call("DELETE", f"{query}&dryRun=true")
    assert len(planned.document["actions"]) == 3
    assert (await endpoints.call("DELETE", query)).document == {"discarded": 3}
    (left,) = await endpoints.poison(ONBOARDING)
    assert left["reason"] == "NotAllowed"
    assert (await endpoints.call("DELETE", f"poison/{ONBOARDING}")).document == {"discarded": 1}


@pytest.mark.slow
async def test_a_lost_record_is_made_again_from_what_exists(endpoints: Endpoints) -> None:
    before = await endpoints.onboarded("lost-1", logged_in=True)
    table = endpoints.tables.get_table_client("devices")
    async for entity in table.query_entities("deviceId eq 'lost-1'"):
        await table.delete_entity(entity["PartitionKey"], entity["RowKey"])
    query = "devices:rebuild?deviceId=lost-1"
    planned = await endpoints.call("POST", f"{query}&dryRun=true")
    assert planned.document["dryRun"] is True
    assert [found["state"] for found in planned.document["rebuilt"]] == ["Pending"]
    assert (await endpoints.call("GET", "devices/lost-1")).status == 404
    page = await endpoints.call("POST", "devices:rebuild?size=1000&dryRun=true")
    assert "lost-1" in {found["deviceId"] for found in page.document["rebuilt"]}
    assert page.document["current"] >= 0
    endpoints.stack.kernel.calls.reset()
    assert (await endpoints.call("POST", query)).status == 200
    after = await endpoints.until_state("lost-1", "Ready")
    assert not [write for write in endpoints.writes() if "lost-1" in write]
    for field in ("token", "secret", "connectedRegistry"):
        assert after[field] == before[field]
    assert after["delivery"]["id"] == before["delivery"]["id"]
    again = await endpoints.call("POST", query)
    assert (again.document["rebuilt"], again.document["current"]) == ([], 1)


async def test_the_figures_of_the_fleet(endpoints: Endpoints) -> None:
    endpoints.register("figure-1")
    await endpoints.call("POST", "devices", request("figure-1"))
    await endpoints.until_state("figure-1", "Delivered")
    fleet = (await endpoints.call("GET", "fleet.json")).document
    assert fleet["devices"] >= 1
    assert fleet["states"]["Delivered"] >= 1
    assert {site["name"] for site in fleet["sites"] if "name" in site} == {"works", "attic"}
    assert fleet["nextExpiry"]["expiresOn"]
