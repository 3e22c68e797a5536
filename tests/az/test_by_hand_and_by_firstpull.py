"""The page on the quickstart by hand: its commands as they stand, and what they leave behind."""

from __future__ import annotations

import re
import shutil
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from local_azure.container_registry.backends import SyncOverride
from local_azure.container_registry.documents import scope_map_document, token_document
from local_azure.stack import Stack

from .azure_cli import AzureCli, clients_of, registry_of, site_of

pytestmark = pytest.mark.skipif(not shutil.which("skopeo"), reason="skopeo is not installed")

PAGE = (Path(__file__).parents[2] / "docs" / "quickstart-by-hand.md").read_text()
PLANT = "plantone"
BY_HAND = "myconnectedregistry-client-token"
BY_FIRSTPULL = re.compile(r"fp-gateway-1-\w+")

_BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COUNT = re.compile(r"^(\d+) requests, (\d+) of them writes$", re.MULTILINE)


@dataclass(frozen=True)
class Requests:
    """How many requests Azure Resource Manager got, as the page counts them."""

    all: int
    writes: int


@pytest.fixture(scope="module")
async def counted(shell: AzureCli, cloud: Stack) -> AsyncIterator[list[Requests]]:
    """Everything on the page down to the undoing has been run; what it counted."""
    backend = site_of(cloud, PLANT).backend
    on_request, backend.override = backend.override, SyncOverride(every_seconds=0.5)
    cloud.kernel.calls.reset()
    doing, _, _ = PAGE.partition("## Undo")
    output = await shell.script("\n".join(_BLOCK.findall(doing)))
    yield [Requests(int(found[1]), int(found[2])) for found in _COUNT.finditer(output)]
    backend.override = on_request


def token_of_firstpull(cloud: Stack) -> str:
    """The token that was made for the device."""
    (name,) = (name for name in clients_of(cloud, PLANT) if BY_FIRSTPULL.fullmatch(name))
    return name


def credential_of(cloud: Stack, token: str) -> dict[str, Any]:
    """A token and its scope map as Azure Resource Manager shows them, by path."""
    registry = registry_of(cloud)
    found = registry.token(token)
    documents = {
        "token": token_document(registry, found),
        "scopeMap": scope_map_document(registry, registry.scope_map_of(found)),
    }
    return dict(leaves(documents))


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - JSON
    """Every scalar of a document with its path."""
    inner: Mapping[Any, Any]
    match value:
        case dict():
            inner = value
        case list():
            inner = dict(enumerate(value))
        case _:
            yield path, value
            return
    for name, below in inner.items():
        yield from leaves(below, f"{path}/{name}")


async def test_the_requests_are_those_that_the_page_tells(counted: list[Requests]) -> None:
    _, scope_map, token, update, device, firstpull = counted
    assert [each.all for each in (scope_map, token, update)] == [2, 8, 5]
    assert [each.writes for each in (scope_map, token, update)] == [1, 2, 1]
    assert device.writes == 0
    assert firstpull.writes == 4


@pytest.mark.usefixtures("counted")
async def test_only_names_descriptions_times_makers_and_passwords_differ(cloud: Stack) -> None:
    by_hand = credential_of(cloud, BY_HAND)
    by_firstpull = credential_of(cloud, token_of_firstpull(cloud))
    passwords = "/token/properties/credentials/passwords"
    assert by_hand.keys() - by_firstpull.keys() == {
        f"{passwords}/1/name",
        f"{passwords}/1/creationTime",
    }
    assert by_firstpull.keys() - by_hand.keys() == {f"{passwords}/0/expiry"}
    both = by_hand.keys() & by_firstpull.keys()
    differing = {path for path in both if by_hand[path] != by_firstpull[path]}
    assert {path for path in differing if not path.endswith(("At", "Date", "Time"))} == {
        "/token/name",
        "/token/id",
        # The operator, and the app.
        "/token/systemData/createdBy",
        "/token/systemData/lastModifiedBy",
        "/scopeMap/systemData/createdBy",
        "/scopeMap/systemData/lastModifiedBy",
        "/token/properties/scopeMapId",
        "/scopeMap/name",
        "/scopeMap/id",
        "/scopeMap/properties/description",
    }


@pytest.mark.usefixtures("counted")
async def test_both_are_in_the_list_of_clients_in_the_same_way(cloud: Stack) -> None:
    registry = registry_of(cloud)
    listed = registry.connected_registry(PLANT).settings.client_token_ids
    ids = [registry.registry_id.child("tokens", name) for name in clients_of(cloud, PLANT)]
    assert {BY_HAND, token_of_firstpull(cloud)} <= clients_of(cloud, PLANT)
    assert set(ids) == set(listed)


@pytest.mark.usefixtures("counted")
async def test_undoing_leaves_nothing_of_what_was_made_by_hand(
    shell: AzureCli, cloud: Stack
) -> None:
    _, _, undoing = PAGE.partition("## Undo")
    await shell.script("\n".join(_BLOCK.findall(undoing)))
    registry = registry_of(cloud)
    assert BY_HAND not in clients_of(cloud, PLANT)
    assert BY_HAND not in {token.name for token in registry.tokens()}
    assert "hello-world-scopemap" not in {each.name for each in registry.scope_maps()}
