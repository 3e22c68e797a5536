from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firstpull.model.azure_resources import RegistryId
from firstpull.model.device_key import DEVICE_ID, DeviceKey
from firstpull.model.naming import Names, names_for, scope_map_name
from tests.firstpull.harness import HUB, REGISTRY

TOKEN_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9-]{4,49}")
"""The container registry's rule and the narrower one of its Terraform provider."""
SCOPE_MAP_NAME = re.compile(r"[a-zA-Z0-9-_]{5,50}")
SECRET_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9-]{0,126}")
CONNECTED_REGISTRY_NAME = re.compile(r"[a-zA-Z0-9]{5,50}")

device_ids = st.from_regex(DEVICE_ID, fullmatch=True)


def names(device_id: str, *, hub: str = HUB, deployment: str = "test") -> Names:
    return names_for(
        DeviceKey(hub=hub, device_id=device_id), deployment=deployment, registry=REGISTRY
    )


@settings(max_examples=40)
@given(st.lists(device_ids, min_size=10, max_size=40, unique=True))
def test_different_devices_have_different_names(ids: list[str]) -> None:
    made = [names(device_id) for device_id in ids]
    assert len({n.token.casefold() for n in made}) == len(ids)
    assert len({n.secret.casefold() for n in made}) == len(ids)


@settings(max_examples=300)
@given(device_ids)
def test_every_name_is_legal(device_id: str) -> None:
    made = names(device_id)
    assert TOKEN_NAME.fullmatch(made.token)
    assert SECRET_NAME.fullmatch(made.secret)
    assert "--" not in made.token


@settings(max_examples=100)
@given(device_ids)
def test_no_token_is_named_like_a_sync_token(device_id: str) -> None:
    assert not CONNECTED_REGISTRY_NAME.fullmatch(names(device_id).token)


@settings(max_examples=100)
@given(device_ids)
def test_names_are_the_same_every_time(device_id: str) -> None:
    assert names(device_id) == names(device_id)


def test_names_have_not_changed_since_devices_were_first_onboarded() -> None:
    assert names("press-1") == Names(
        token="fp-press-1-yoln7mf4cmakqusv",  # noqa: S106 - a name
        secret="fp-press-1-yoln7mf4cmakqusv-zxnzsc2z",  # noqa: S106 - a name
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("press-1", "Press-1"),
        ("press-1", "press_1"),
        ("press.1", "press:1"),
        ("a" * 127 + "b", "a" * 127 + "c"),
        ("%", "#"),
    ],
)
def test_ids_with_the_same_readable_part_have_different_names(one: str, other: str) -> None:
    assert names(one).token != names(other).token


def test_deployments_and_hubs_do_not_share_tokens() -> None:
    made = {
        names("press-1").token,
        names("press-1", deployment="other").token,
        names("press-1", hub="hub-2.azure-devices.net").token,
    }
    assert len(made) == 3


def test_secrets_of_two_container_registries_differ_and_their_id_may_change_case() -> None:
    device = DeviceKey(hub=HUB, device_id="press-1")

    def secret(registry: object) -> str:
        return names_for(device, deployment="test", registry=RegistryId(str(registry))).secret

    assert secret(REGISTRY) == secret(str(REGISTRY).upper())
    assert secret(REGISTRY) != secret(f"{REGISTRY}2")


@given(st.frozensets(st.sampled_from(["a", "b", "c/d", "e/*"]), min_size=1))
def test_a_scope_map_is_named_by_its_actions_alone(repositories: frozenset[str]) -> None:
    actions = frozenset(f"repositories/{r}/content/read" for r in repositories)
    name = scope_map_name(actions, deployment="test")
    assert SCOPE_MAP_NAME.fullmatch(name)
    assert name == scope_map_name(frozenset(sorted(actions, reverse=True)), deployment="test")
    assert name != scope_map_name(actions | {"repositories/z/content/read"}, deployment="test")
