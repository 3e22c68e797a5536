"""The roles of infra/ permit all that a device's lifetime needs, and it needs all of them."""

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
from firstpull.observability.log_events import LogEvent
from local_azure.container_registry.models import SLOW
from local_azure.kernel.access import Access, Action, Assignment, Permission, RoleDefinition
from local_azure.stack import Stack
from local_azure.stack.options import PRINCIPAL_ID, RESOURCE_GROUP, SUBSCRIPTION_ID

from .deployments import deployed
from .in_process import Firstpull
from .whole_lifetime import DEPLOYMENT, FIRST, SECOND, Lifetime, Stopped, forget, storage_of

ROOT = Path(__file__).parents[2]
_GROUP = f"/subscriptions/{SUBSCRIPTION_ID}/resourceGroups/{RESOURCE_GROUP}"
_ROLES = ("role.json", "iot-hub-role.json", "vault-role.json")
_PROVIDERS = ("Microsoft.ContainerRegistry/", "Microsoft.Devices/", "Microsoft.KeyVault/")
_ROW = re.compile(r"^\| `(Microsoft\.[^`]+)` \| (data|management) \|", re.MULTILINE)
_NUMBERS = count()


def _of_a_role(name: str) -> set[Action]:
    """The actions of a custom role of infra/."""
    role = json.loads((ROOT / "infra" / name).read_text())
    managed, data = role.get("Actions", []), role.get("DataActions", [])
    return {Action(a) for a in managed} | {Action(a, is_data=True) for a in data}


def _of_the_documents() -> set[Action]:
    """The documented actions, those on storage included, where built-in roles are assigned."""
    rows = _ROW.findall((ROOT / "docs" / "security.md").read_text())
    return {Action(name, is_data=kind == "data") for name, kind in rows}


CUSTOM = {action for name in _ROLES for action in _of_a_role(name)}
NEEDED = sorted(CUSTOM | _of_the_documents())
_FAST = ("tokens/write", "secrets/setSecret/action", "twins/write", "queues/messages/write")
"""How the names of these end: one action for each service, and for each way to be refused."""


@pytest.fixture(scope="module")
async def firstpull(stack: Stack) -> AsyncIterator[Firstpull]:
    async with deployed(stack, DEPLOYMENT, FIRST, SECOND) as deployment:
        yield deployment.firstpull


@pytest.fixture(scope="module")
async def storage(stack: Stack) -> AsyncIterator[StorageServices]:
    async with storage_of(stack) as storage:
        yield storage


@pytest.fixture(scope="module", autouse=True)
def _asynchronous_passwords(stack: Stack) -> Iterator[None]:
    """Azure may make passwords by an operation: reading its result needs an action of its own."""
    stack.cloud.settings.generate_credentials_asynchronously = True
    yield
    stack.cloud.settings.generate_credentials_asynchronously = False


@pytest.fixture
def access(stack: Stack) -> Iterator[Access]:
    """The app's roles, which are restored afterwards; no decision is recorded yet."""
    access = stack.kernel.access
    before = access.assignments(PRINCIPAL_ID)
    access.decisions.clear()
    yield access
    access.assign(PRINCIPAL_ID, before)


@pytest.fixture
async def lifetime(
    stack: Stack, firstpull: Firstpull, storage: StorageServices
) -> AsyncIterator[Lifetime]:
    """A device's, of which nothing is left afterwards."""
    firstpull.clock.keep_azures_time()
    device_id = f"{DEPLOYMENT}-{next(_NUMBERS)}"
    yield Lifetime(firstpull, storage, firstpull.application(), device_id)
    await forget(stack)


async def test_the_roles_of_infra_permit_exactly_what_a_lifetime_needs(
    lifetime: Lifetime, access: Access
) -> None:
    await lifetime.run()
    assert [decision for decision in access.decisions if not decision.allowed] == []
    assert {decision.principal_id for decision in access.decisions} == {PRINCIPAL_ID}
    used = {action for decision in access.decisions for action in decision.actions}
    assert {action for action in used if action.name.startswith(_PROVIDERS)} == CUSTOM
    assert used == set(NEEDED)


@pytest.fixture
def _slow_operations(stack: Stack) -> Iterator[None]:
    """Operations that take up to 11 s, and secrets that are deleted or recovered for up to 5 s."""
    settings = stack.cloud.settings
    settings.generate_credentials_asynchronously = False  # never recorded
    before, settings.operation_lengths = settings.operation_lengths, SLOW
    stack.vault.settings.moving_seconds = (0, 5)
    yield
    settings.operation_lengths, stack.vault.settings.moving_seconds = before, (0, 0)
    settings.generate_credentials_asynchronously = True


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.usefixtures("lifetime", "_slow_operations")  # in this order: it ends first
async def test_slow_operations_need_no_permission_outside_the_registry(
    stack: Stack, lifetime: Lifetime, access: Access, seed: int
) -> None:
    stack.kernel.random.seed(seed)
    await lifetime.run()
    assert [decision for decision in access.decisions if not decision.allowed] == []
    used = {action.name for decision in access.decisions for action in decision.actions}
    assert not {name for name in used if "operation" in name.lower()}
    record = await lifetime.firstpull.record(lifetime.device_id)
    events = [entry.event for entry in record.history]
    assert LogEvent.DEVICE_RECONCILE_BLOCKED not in events
    assert events.count(LogEvent.DEVICE_TOKEN_CREATED) == 1
    assert events.count(LogEvent.DEVICE_TOKEN_DELETED) >= 1


@pytest.mark.parametrize(
    "action",
    [
        pytest.param(a, id=a.name, marks=() if a.name.endswith(_FAST) else pytest.mark.slow)
        for a in NEEDED
    ],
)
async def test_without_an_action_firstpull_reports_that_access_is_denied(
    lifetime: Lifetime, access: Access, action: Action, caplog: pytest.LogCaptureFixture
) -> None:
    permitted = set(NEEDED) - {action}
    permission = Permission(
        actions=tuple(action.name for action in permitted if not action.is_data),
        data_actions=tuple(action.name for action in permitted if action.is_data),
    )
    access.define(RoleDefinition("exactly", (permission,)))
    access.assign(PRINCIPAL_ID, [Assignment("exactly", _GROUP)])
    assert await _is_reported(lifetime, caplog)
    missing = {a for d in access.decisions if not d.allowed for a in d.actions}
    assert missing == {action}


async def _is_reported(lifetime: Lifetime, caplog: pytest.LogCaptureFixture) -> bool:
    """Whether the record, an answer, a sweep's report or the log says that access is denied."""
    try:
        await lifetime.run()
    except Stopped:
        return True
    except FirstpullError as error:
        if error.reason is not Reason.ACCESS_DENIED:
            raise
        return True
    events = (LogEvent.SWEEP_SCOPE_MAP_KEPT, LogEvent.SCHEDULE_ENTRY_KEPT)
    kept = [line for line in caplog.messages if line.startswith(events)]
    return any(Reason.ACCESS_DENIED in line for line in kept)
