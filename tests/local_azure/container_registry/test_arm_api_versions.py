"""What the preview that azure-cli speaks knows beside the stable api-version."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from local_azure.container_registry.backends import deploy_connected_registry
from local_azure.container_registry.models import ContainerRegistryCloud
from local_azure.container_registry.resource_ids import RegistryId

from .arm_harness import REGISTRY_ID, Arm

STABLE = "2025-11-01"
PREVIEW = "2026-09-01-preview"
PLANT = "/connectedRegistries/plantone"


@pytest.fixture(autouse=True)
def _deployed(arm: Arm) -> None:
    deploy_connected_registry(
        arm.registry, "plantone", login_server=None, repositories=["hello-world"]
    )


async def send(
    arm: Arm, method: str, path: str, version: str, body: Mapping[str, Any] | None = None
) -> tuple[int, dict[str, Any]]:
    url = arm.url(path, query=f"api-version={version}")
    headers = await arm.headers()
    async with arm.session.request(method, url, json=body, headers=headers) as answer:
        return answer.status, await answer.json()


def properties(**given: object) -> dict[str, Any]:
    return {"properties": given}


async def test_only_the_preview_names_the_way_of_authentication(arm: Arm) -> None:
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
async def test_the_way_of_authentication_is_taken_by_the_preview_alone(
    arm: Arm, version: str, auth_type: str | None, status: int
) -> None:
    body = properties(syncProperties={"authType": auth_type})
    answered, content = await send(arm, "PATCH", PLANT, version, body)
    assert answered == status
    if status == 400:
        assert content["error"]["code"] == "InvalidRequestContent"
        assert "properties.syncProperties.authType: " in content["error"]["message"]


async def test_a_field_that_no_version_knows_is_refused_by_the_preview_too(arm: Arm) -> None:
    status, _ = await send(arm, "PATCH", PLANT, PREVIEW, properties(colour="red"))
    assert status == 400


async def test_what_an_update_leaves_empty_stays_as_it_is(arm: Arm) -> None:
    collecting = {"enabled": True, "schedule": "0 5 * * *"}
    await send(arm, "PATCH", PLANT, PREVIEW, properties(garbageCollection=collecting))
    empty = properties(syncProperties={}, garbageCollection={}, logging={})
    _, body = await send(arm, "PATCH", PLANT, PREVIEW, empty)
    assert body["properties"]["garbageCollection"] == collecting
    half = properties(garbageCollection={"enabled": "false"})
    _, body = await send(arm, "PATCH", PLANT, PREVIEW, half)
    assert body["properties"]["garbageCollection"] == {"enabled": False, "schedule": "0 5 * * *"}


async def test_a_mode_is_taken_in_any_case_and_shown_in_its_own(arm: Arm) -> None:
    token_id = arm.registry.registry_id.child("tokens", "plantone")
    body = properties(
        mode="readonly",
        parent={"syncProperties": {"tokenId": token_id, "messageTtl": "P2D"}},
    )
    status, content = await send(arm, "PUT", "/connectedRegistries/planttwo", PREVIEW, body)
    assert (status, content["properties"]["mode"]) == (200, "ReadOnly")


async def test_registries_are_listed_by_subscription_and_by_resource_group(
    arm: Arm, cloud: ContainerRegistryCloud
) -> None:
    subscription = REGISTRY_ID.subscription_id
    for number in range(3):
        cloud.create_registry(
            RegistryId(subscription, "other", f"another{number}"), login_server="x.azurecr.io"
        )
    provider = "providers/Microsoft.ContainerRegistry/registries"
    for place, expected in (
        ("", ["another0", "another1", "another2", "contosofleet"]),
        ("/resourceGroups/FLEET", ["contosofleet"]),
    ):
        url = f"{arm.endpoint}/subscriptions/{subscription}{place}/{provider}?api-version={PREVIEW}"
        assert await all_names(arm, url) == expected


async def all_names(arm: Arm, url: str) -> list[str]:
    """The names on all pages."""
    found: list[str] = []
    while url:
        async with arm.session.get(url, headers=await arm.headers()) as answer:
            body = await answer.json()
        found += [each["name"] for each in body["value"]]
        url = body.get("nextLink", "")
    return found
