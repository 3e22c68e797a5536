"""The differences of the preview, which azure-cli uses, from the stable api-version."""

from __future__ import annotations

from typing import Any

import pytest

from local_azure.container_registry.backends import deploy_connected_registry

from .arm_harness import Arm

STABLE = "2025-11-01"
PREVIEW = "2026-09-01-preview"
PLANT = "/connectedRegistries/plantone"


@pytest.fixture(autouse=True)
def _deployed(arm: Arm) -> None:
    deploy_connected_registry(
        arm.registry, "plantone", login_server=None, repositories=["hello-world"]
    )


async def send(
    arm: Arm, method: str, path: str, version: str, **properties: object
) -> tuple[int, dict[str, Any]]:
    url = arm.url(path, query=f"api-version={version}")
    body = {"properties": properties} if method != "GET" else None
    headers = await arm.headers()
    async with arm.session.request(method, url, json=body, headers=headers) as answer:
        return answer.status, await answer.json()


async def test_only_the_preview_shows_the_authentication_type(arm: Arm) -> None:
    for version, expected in ((STABLE, None), (PREVIEW, "SyncToken")):
        _, body = await send(arm, "GET", PLANT, version)
        assert body["properties"]["parent"]["syncProperties"].get("authType") == expected
        _, listed = await send(arm, "GET", "/connectedRegistries", version)
        assert listed["value"] == [body]


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
    answered, content = await send(
        arm, "PATCH", PLANT, version, syncProperties={"authType": auth_type}
    )
    assert answered == status
    if status == 400:
        assert content["error"]["code"] == "InvalidRequestContent"
        assert "properties.syncProperties.authType: " in content["error"]["message"]


async def test_a_field_that_no_version_has_is_refused(arm: Arm) -> None:
    for version in (STABLE, PREVIEW):
        status, _ = await send(arm, "PATCH", PLANT, version, colour="red")
        assert status == 400


async def test_empty_objects_of_an_update_change_nothing(arm: Arm) -> None:
    collection = {"enabled": True, "schedule": "0 5 * * *"}
    await send(arm, "PATCH", PLANT, PREVIEW, garbageCollection=collection)
    _, body = await send(
        arm, "PATCH", PLANT, PREVIEW, syncProperties={}, garbageCollection={}, logging={}
    )
    assert body["properties"]["garbageCollection"] == collection
    _, body = await send(arm, "PATCH", PLANT, PREVIEW, garbageCollection={"enabled": "false"})
    assert body["properties"]["garbageCollection"] == collection | {"enabled": False}


async def test_the_mode_is_accepted_in_any_case(arm: Arm) -> None:
    sync = {"tokenId": arm.registry.registry_id.child("tokens", "plantone"), "messageTtl": "P2D"}
    for mode, status in (("readonly", 200), ("ReadWrite", 400)):
        answered, content = await send(
            arm,
            "PUT",
            "/connectedRegistries/planttwo",
            PREVIEW,
            mode=mode,
            parent={"syncProperties": sync},
        )
        assert answered == status
        assert status == 400 or content["properties"]["mode"] == "ReadOnly"
