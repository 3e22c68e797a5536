"""The differences of the preview, which azure-cli uses, from the stable api-version."""

from __future__ import annotations

import pytest

from local_azure.container_registry.backends import deploy_connected_registry

from .arm_harness import PREVIEW, STABLE, Answer, Arm

PLANT = "/connectedRegistries/plantone"


@pytest.fixture(autouse=True)
def _deployed(arm: Arm) -> None:
    deploy_connected_registry(arm.registry, "plantone", login_server=None, repositories=["*"])


async def send(arm: Arm, method: str, path: str, version: str, **properties: object) -> Answer:
    url = arm.url(path, query=f"api-version={version}")
    return await arm.send(method, url, {"properties": properties} if method != "GET" else None)


async def test_only_the_preview_shows_the_authentication_type(arm: Arm) -> None:
    for version, expected in ((STABLE, None), (PREVIEW, "SyncToken")):
        shown = (await send(arm, "GET", PLANT, version)).body
        assert shown["properties"]["parent"]["syncProperties"].get("authType") == expected
        listed = await send(arm, "GET", "/connectedRegistries", version)
        assert listed.body["value"] == [shown]


@pytest.mark.parametrize(
    ("version", "auth_type", "status"),
    [
        (PREVIEW, "SyncToken", 200),
        (PREVIEW, "ManagedIdentity", 400),
        (PREVIEW, None, 200),
        (STABLE, "SyncToken", 400),
    ],
)
async def test_only_the_preview_accepts_an_authentication_type(
    arm: Arm, version: str, auth_type: str | None, status: int
) -> None:
    answer = await send(arm, "PATCH", PLANT, version, syncProperties={"authType": auth_type})
    assert answer.status == status
    if status == 400:
        assert answer.code == "InvalidRequestContent"
        assert "properties.syncProperties.authType: " in answer.body["error"]["message"]


async def test_empty_objects_of_an_update_change_nothing(arm: Arm) -> None:
    collection = {"enabled": True, "schedule": "0 5 * * *"}
    for version, update, expected in (
        (PREVIEW, {"garbageCollection": collection}, collection),
        (PREVIEW, {"syncProperties": {}, "garbageCollection": {}, "logging": {}}, collection),
        (PREVIEW, {"garbageCollection": {"enabled": "false"}}, collection | {"enabled": False}),
    ):
        answer = await send(arm, "PATCH", PLANT, version, **update)
        assert answer.body["properties"]["garbageCollection"] == expected
    assert (await send(arm, "PATCH", PLANT, PREVIEW, colour="red")).status == 400


async def test_the_mode_is_accepted_in_any_case(arm: Arm) -> None:
    sync = {"tokenId": arm.registry.registry_id.child("tokens", "plantone"), "messageTtl": "P2D"}
    path, parent = "/connectedRegistries/planttwo", {"syncProperties": sync}
    answer = await send(arm, "PUT", path, PREVIEW, mode="readonly", parent=parent)
    assert (answer.status, answer.body["properties"]["mode"]) == (200, "ReadOnly")
    answer = await send(arm, "PUT", path, PREVIEW, mode="ReadWrite", parent=parent)
    assert answer.status == 400
