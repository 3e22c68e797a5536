"""GET /api/sites tells how full the sites are, and a full one says so."""

from __future__ import annotations

from local_azure.stack.options import REGISTRY_NAME
from tests.end_to_end.cloud import site_of

from .documents import Document, request
from .endpoints import Endpoints


async def _sites(endpoints: Endpoints) -> Document:
    answer = await endpoints.call("GET", "sites")
    assert answer.status == 200, answer.text
    return answer.document


async def _attic(endpoints: Endpoints) -> Document:
    found = {site["name"]: site for site in (await _sites(endpoints))["sites"]}
    attic: Document = found["attic"]
    return attic


async def test_every_connected_registry_of_the_policy_is_shown_once(endpoints: Endpoints) -> None:
    endpoints.stack.kernel.calls.reset()
    found = await _sites(endpoints)
    in_sites = {
        site["name"]: [room["connectedRegistry"] for room in site["connectedRegistries"]]
        for site in found["sites"]
    }
    assert in_sites == {"works": ["doorone", "doortwo"], "attic": ["atticone", "attictwo"]}
    others = [room["connectedRegistry"] for room in found["connectedRegistries"]]
    assert others == ["doorsmall", "doorgone", "doorapart", "doorsynced"]
    assert endpoints.writes() == []


async def test_one_that_azure_does_not_have_has_no_room(endpoints: Endpoints) -> None:
    others = (await _sites(endpoints))["connectedRegistries"]
    (gone,) = (room for room in others if room["connectedRegistry"] == "doorgone")
    assert gone == {
        "connectedRegistry": "doorgone",
        "containerRegistry": REGISTRY_NAME,
        "capacity": 50,
        **dict.fromkeys(("used", "ours", "leaving", "foreign", "free"), 0),
        "state": "NotFound",
    }


async def test_a_full_site_says_so_and_takes_the_next_device_when_one_is_revoked(
    endpoints: Endpoints,
) -> None:
    assert (await _attic(endpoints))["free"] == 2
    for device_id, plant in (("attic-1", "atticone"), ("attic-2", "attictwo")):
        view = await endpoints.onboarded(device_id, connectedRegistry=..., site="attic")
        assert view["connectedRegistry"] == plant
    attic = await _attic(endpoints)
    assert (attic["used"], attic["free"]) == (2, 0)
    (room, _) = attic["connectedRegistries"]
    assert room.pop("lastSync").endswith("Z")
    assert room == {
        "connectedRegistry": "atticone",
        "containerRegistry": REGISTRY_NAME,
        "capacity": 1,
        "used": 1,
        "ours": 1,
        "leaving": 0,
        "foreign": 0,
        "free": 0,
        "state": "Online",
        "address": site_of(endpoints.stack, "atticone").endpoint,
    }

    endpoints.register("attic-3")
    third = request("attic-3", connectedRegistry=..., site="attic")
    planned = await endpoints.call("POST", "devices?dryRun=true", third)
    assert planned.document["finding"]["reason"] == "SiteFull"
    await endpoints.call("POST", "devices", third)
    condition = (await endpoints.until_state("attic-3", "Blocked"))["condition"]
    assert condition["reason"] == "SiteFull"
    for name in ("site attic", f"{REGISTRY_NAME}/atticone", f"{REGISTRY_NAME}/attictwo"):
        assert name in condition["message"]
    assert "GET /api/sites" in condition["remedy"]

    await endpoints.call("DELETE", "devices/attic-2")
    await endpoints.until_state("attic-2", "Revoked")
    assert (await _attic(endpoints))["free"] == 1
    await endpoints.call("POST", "devices", third)
    view = await endpoints.until_state("attic-3", "Delivered")
    assert view["connectedRegistry"] == "attictwo"
