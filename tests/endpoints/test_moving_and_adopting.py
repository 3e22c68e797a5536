"""A device that asks for another place keeps the old one until it has arrived; one that was set
up by hand keeps its token and its password."""

from __future__ import annotations

from local_azure.container_registry.resources import ConnectedRegistryChanges
from local_azure.stack.options import REGISTRY_NAME
from tests.end_to_end.cloud import (
    clients_of,
    cloud_answers,
    cloud_registry,
    entry_of,
    operations_end,
    report_login,
    tokens_like,
)

from .documents import ROLES, Document, request
from .endpoints import Endpoints
from .ways_in import TARGET

_ELSEWHERE: Document = {**TARGET, "connectedRegistry": "doortwo"}


async def test_a_move_shows_what_is_still_to_go_until_the_device_has_arrived(
    endpoints: Endpoints,
) -> None:
    stack = endpoints.stack
    before = await endpoints.onboarded("move-1", logged_in=True)
    answer = await endpoints.call("PUT", "devices/move-1", _ELSEWHERE)
    assert (answer.status, answer.document["generation"]) == (202, 2)
    retiring = {
        "containerRegistry": REGISTRY_NAME,
        "connectedRegistry": "doorone",
        "token": before["token"],
        "delivery": "twin",
        "atOnce": False,
    }
    assert answer.document["leaving"] == [retiring]
    moved = await endpoints.until_state("move-1", "Delivered")
    assert (moved["connectedRegistry"], moved["leaving"]) == ("doortwo", [retiring])
    assert moved["token"] == before["token"]
    for plant in ("doorone", "doortwo"):
        assert moved["token"] in clients_of(stack, plant)
        assert entry_of(stack, "move-1", plant)["username"] == moved["token"]

    report_login(stack, "move-1", "doortwo")

    async def arrived() -> bool:
        view = await endpoints.device("move-1")
        return view["state"] == "Ready" and "leaving" not in view

    await endpoints.until(arrived)
    assert moved["token"] not in clients_of(stack, "doorone")
    assert moved["token"] in clients_of(stack, "doortwo")
    assert entry_of(stack, "move-1", "doorone") == {}


async def test_revoked_in_the_middle_of_a_move_it_loses_both_connected_registries(
    endpoints: Endpoints,
) -> None:
    before = await endpoints.onboarded("move-2")
    await endpoints.call("PUT", "devices/move-2", _ELSEWHERE)
    await endpoints.until_state("move-2", "Delivered")
    await endpoints.call("DELETE", "devices/move-2")
    view = await endpoints.until_state("move-2", "Revoked")
    assert "leaving" not in view
    assert not tokens_like(endpoints.stack, "move-2")
    for plant in ("doorone", "doortwo"):
        assert before["token"] not in clients_of(endpoints.stack, plant)
        assert entry_of(endpoints.stack, "move-2", plant) == {}


async def _by_hand(endpoints: Endpoints, token: str) -> str:
    """A token made by hand, in the list of `doorone`; returns its password, which never ends."""
    registry = cloud_registry(endpoints.stack)
    scope_map = registry.put_scope_map(
        f"{token}-scope", actions=["repositories/line/app/content/read"]
    )
    token_id = registry.registry_id.child("tokens", token)
    registry.put_token(token, scope_map_id=registry.registry_id.child("scopeMaps", scope_map.name))
    await operations_end(endpoints.stack)
    generated = registry.generate_credentials(token_id, name="password1")
    listed = registry.connected_registry("doorone").settings.client_token_ids
    registry.update_connected_registry(
        "doorone", ConnectedRegistryChanges(client_token_ids=(*listed, token_id))
    )
    return generated.value_of("password1")


async def test_an_adopted_token_keeps_its_password_and_its_connected_registry(
    endpoints: Endpoints,
) -> None:
    stack, token = endpoints.stack, "legacy-gateway"
    password = await _by_hand(endpoints, token)
    endpoints.register("adopts-1")
    wish = request("adopts-1", adopt=token)
    planned = await endpoints.call("POST", "devices?dryRun=true", wish)
    actions = [action["action"] for action in planned.document["actions"]]
    assert "GeneratePassword" not in actions
    assert "UpdateToken" in actions
    assert (await endpoints.call("POST", "devices", wish)).status == 202
    view = await endpoints.until_state("adopts-1", "Ready")
    assert (view["condition"]["reason"], view["adopted"]) == ("Adopted", True)
    assert (view["token"], view["wants"]["adopt"], "delivery" in view) == (token, token, False)
    assert "PasswordNotOurs" in [warning["reason"] for warning in view["warnings"]]
    assert clients_of(stack, "doorone").count(token) == 1
    assert await cloud_answers(stack, token, password) == 200
    assert entry_of(stack, "adopts-1", "doorone") == {}
    again = await endpoints.call("POST", "devices", wish)
    assert (again.status, again.document["generation"]) == (200, 1)

    await endpoints.call("DELETE", "devices/adopts-1")
    await endpoints.until_state("adopts-1", "Revoked")
    assert token not in clients_of(stack, "doorone")
    assert await cloud_answers(stack, token, password) == 401


async def test_a_rotation_gives_an_adopted_device_a_password_of_its_own(
    endpoints: Endpoints,
) -> None:
    await _by_hand(endpoints, "legacy-rotates")
    endpoints.register("adopts-2")
    await endpoints.call("POST", "devices", request("adopts-2", adopt="legacy-rotates"))
    await endpoints.until_state("adopts-2", "Ready")
    answer = await endpoints.call("POST", "devices/adopts-2/rotate", {"immediately": True})
    assert answer.status == 202
    view = await endpoints.until_state("adopts-2", "Delivered")
    assert view["adopted"]  # the password of before is there until the device has logged in
    assert entry_of(endpoints.stack, "adopts-2", "doorone")["username"] == "legacy-rotates"
    report_login(endpoints.stack, "adopts-2", "doorone")
    assert "adopted" not in await endpoints.until_state("adopts-2", "Ready")


async def test_a_token_that_does_not_exist_cannot_be_adopted(endpoints: Endpoints) -> None:
    endpoints.register("adopts-3")
    await endpoints.call("POST", "devices", request("adopts-3", adopt="legacy-nowhere"))
    view = await endpoints.until_state("adopts-3", "Blocked")
    assert view["condition"]["reason"] == "TokenNotFound"
    assert view["condition"]["remedy"]


async def test_a_device_with_a_token_adopts_no_other(endpoints: Endpoints) -> None:
    await _by_hand(endpoints, "legacy-spare")
    await endpoints.onboarded("adopts-4")
    for dry_run in ("", "?dryRun=true"):
        answer = await endpoints.call(
            "PUT", f"devices/adopts-4{dry_run}", {**TARGET, "adopt": "legacy-spare"}
        )
        assert (answer.status, answer.document["reason"]) == (409, "DeviceHasToken")


async def test_a_token_of_another_device_is_not_adopted(endpoints: Endpoints) -> None:
    await _by_hand(endpoints, "legacy-shared")
    for device_id in ("adopts-5", "adopts-6"):
        endpoints.register(device_id)
    await endpoints.call("POST", "devices", request("adopts-5", adopt="legacy-shared"))
    await endpoints.until_state("adopts-5", "Ready")
    await endpoints.call("POST", "devices", request("adopts-6", adopt="legacy-shared", **ROLES))
    view = await endpoints.until_state("adopts-6", "Blocked")
    assert view["condition"]["reason"] == "TokenNotOurs"
