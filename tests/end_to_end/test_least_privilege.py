"""The roles of infra/ give all that a device's whole life needs, and it needs all of them."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path

import pytest

from firstpull.adapters.storage import StorageServices
from firstpull.model.errors import FirstpullError
from firstpull.model.reasons import Reason
from local_azure.kernel.access import Access, Action, Assignment, Permission, RoleDefinition
from local_azure.stack import Stack
from local_azure.stack.options import PRINCIPAL_ID, RESOURCE_GROUP, SUBSCRIPTION_ID

from .deployments import settings_of
from .in_process import Firstpull, connected
from .whole_life import DEPLOYMENT, FIRST, SECOND, Life, Stopped, forget, storage_of

ROOT = Path(__file__).parents[2]
_GROUP = f"/subscriptions/{SUBSCRIPTION_ID}/resourceGroups/{RESOURCE_GROUP}"
FILES = ("role.json", "iot-hub-role.json", "vault-role.json")
_PROVIDERS = ("Microsoft.ContainerRegistry/", "Microsoft.Devices/", "Microsoft.KeyVault/")
_ROW = re.compile(r"^\| `(Microsoft\.[^`]+)` \| (data|management) \|", re.MULTILINE)
_KEPT = "sweep.scope_map.kept"
_NUMBERS = count()


def _of_a_file(name: str) -> set[Action]:
    """The actions of a custom role of infra/."""
    role = json.loads((ROOT / "infra" / name).read_text())
    managed, data = role.get("Actions", []), role.get("DataActions", [])
    return {Action(a) for a in managed} | {Action(a, is_data=True) for a in data}


def _of_the_documents() -> set[Action]:
    """The actions on the vault, and those on storage, where built-in roles are assigned."""
    rows = _ROW.findall((ROOT / "docs" / "security.md").read_text())
    return {Action(name, is_data=kind == "data") for name, kind in rows}


CUSTOM = {action for name in FILES for action in _of_a_file(name)}
NEEDED = sorted(CUSTOM | _of_the_documents())


@pytest.fixture(scope="module")
async def firstpull(stack: Stack) -> AsyncIterator[Firstpull]:
    async with connected(stack, settings_of(stack, DEPLOYMENT, FIRST, SECOND)) as firstpull:
        yield firstpull
    firstpull.clock.keep_azures_time()


@pytest.fixture(scope="module")
async def storage(stack: Stack) -> AsyncIterator[StorageServices]:
    async with storage_of(stack) as storage:
        yield storage


@pytest.fixture(scope="module", autouse=True)
def _answers_that_come_later(stack: Stack) -> Iterator[None]:
    """As a day on Azure may be: what can be asynchronous is."""
    settings = stack.cloud.settings
    settings.delete_asynchronously = settings.generate_credentials_asynchronously = True
    yield
    settings.delete_asynchronously = settings.generate_credentials_asynchronously = False


@pytest.fixture
def access(stack: Stack) -> Iterator[Access]:
    """The app's roles, which are as before in the end; nothing is decided yet."""
    access = stack.kernel.access
    before = access.assignments(PRINCIPAL_ID)
    access.decisions.clear()
    yield access
    access.assign(PRINCIPAL_ID, before)


@pytest.fixture
async def life(stack: Stack, firstpull: Firstpull, storage: StorageServices) -> AsyncIterator[Life]:
    """A device's, of which nothing is left afterwards."""
    firstpull.clock.keep_azures_time()
    yield Life(firstpull, storage, firstpull.application(), f"{DEPLOYMENT}-{next(_NUMBERS)}")
    await forget(stack)


def _give_exactly(access: Access, actions: set[Action]) -> None:
    """Hold the app to one role that has these actions and no wildcard."""
    permission = Permission(
        actions=tuple(action.name for action in actions if not action.is_data),
        data_actions=tuple(action.name for action in actions if action.is_data),
    )
    access.define(RoleDefinition("exactly", (permission,)))
    access.assign(PRINCIPAL_ID, [Assignment("exactly", _GROUP)])


async def test_the_roles_of_infra_are_enough_for_a_whole_life(life: Life, access: Access) -> None:
    await life.goes_by()
    assert [decision for decision in access.decisions if not decision.allowed] == []
    assert {decision.principal_id for decision in access.decisions} == {PRINCIPAL_ID}
    used = {action for decision in access.decisions for action in decision.actions}
    assert {action for action in used if action.name.startswith(_PROVIDERS)} == CUSTOM


async def test_a_life_needs_the_actions_of_the_table_and_no_other(
    life: Life, access: Access
) -> None:
    _give_exactly(access, set(NEEDED))
    await life.goes_by()
    used = {action for decision in access.decisions for action in decision.actions}
    assert used == set(NEEDED)
    assert {decision.principal_id for decision in access.decisions} == {PRINCIPAL_ID}


@pytest.mark.parametrize("action", NEEDED, ids=lambda action: action.name)
async def test_without_an_action_firstpull_says_that_access_is_denied(
    life: Life, access: Access, action: Action, caplog: pytest.LogCaptureFixture
) -> None:
    _give_exactly(access, set(NEEDED) - {action})
    said = await _what_it_says(life, caplog)
    assert said, "nothing was missed"
    missing = {a for d in access.decisions if not d.allowed for a in d.actions}
    assert missing == {action}


async def _what_it_says(life: Life, caplog: pytest.LogCaptureFixture) -> str:
    """Where a life stops for want of a role: the record, the answer, the report or the log."""
    try:
        await life.goes_by()
    except Stopped as stopped:
        return str(stopped)
    except FirstpullError as error:
        if error.reason is not Reason.ACCESS_DENIED:
            raise
        return error.message
    kept = [line for line in caplog.messages if line.startswith(_KEPT)]
    return next((line for line in kept if Reason.ACCESS_DENIED in line), "")
