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


def names(
    device_id: str, *, hub: str = HUB, deployment: str = "test", registry: RegistryId = REGISTRY
) -> Names:
    device = DeviceKey(hub=hub, device_id=device_id)
    return names_for(device, deployment=deployment, registry=registry)


@settings(max_examples=40)
@given(st.lists(device_ids, min_size=10, max_size=40, unique=True))
def test_different_devices_have_different_names(ids: list[str]) -> None:
    made = [names(device_id) for device_id in ids]
    assert len({n.token.casefold() for n in made}) == len(ids)
    assert len({n.secret.casefold() for n in made}) == len(ids)


@settings(max_examples=300)
@given(device_ids)
def test_every_name_is_legal_and_no_token_is_named_like_a_sync_token(device_id: str) -> None:
    made = names(device_id)
    assert TOKEN_NAME.fullmatch(made.token)
    assert SECRET_NAME.fullmatch(made.secret)
    assert "--" not in made.token
    assert not CONNECTED_REGISTRY_NAME.fullmatch(made.token)


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


def test_secrets_of_two_container_registries_differ_whatever_the_case_of_their_ids() -> None:
    secret = names("press-1").secret
    assert names("press-1", registry=RegistryId(str(REGISTRY).upper())).secret == secret
    assert names("press-1", registry=RegistryId(f"{REGISTRY}2")).secret != secret


@given(st.frozensets(st.sampled_from(["a", "b", "c/d", "e/*"]), min_size=1))
def test_a_scope_map_is_named_by_its_actions(repositories: frozenset[str]) -> None:
    actions = frozenset(f"repositories/{r}/content/read" for r in repositories)
    name = scope_map_name(actions, deployment="test")
    assert SCOPE_MAP_NAME.fullmatch(name)
    assert name != scope_map_name(actions | {"repositories/z/content/read"}, deployment="test")
    assert name != scope_map_name(actions, deployment="other")
