"""Every row of docs/drift.md, done by the Azure SDKs."""

from __future__ import annotations

import ast
from collections.abc import AsyncIterator
from functools import partial
from itertools import count
from pathlib import Path

import pytest
from azure.data.tables.aio import TableServiceClient

from firstpull.fleet import drift
from firstpull.model.device_record import State
from firstpull.model.reasons import Reason
from firstpull.model.sweep_report import Kind
from local_azure.kernel.faults import Fault, FaultKind
from local_azure.stack import Stack

from .actions import CAPACITY, DEEDS, REMEDIES
from .cloud import (
    RECORDS_TABLE,
    cloud_registry,
    entry_of,
    forget_devices,
    pull_answers,
    secret_versions,
    site_of,
)
from .deployments import settings_of
from .drift_rows import Case, Subject, rows, told
from .end_state import check_revoked
from .in_process import Firstpull, connected
from .operators import Operator, operator_of

PLANT = "plant10"
ROWS = rows()
TOLD = told()
_NUMBERS = count()


@pytest.fixture(scope="module")
async def firstpull(stack: Stack) -> AsyncIterator[Firstpull]:
    settings = settings_of(stack, "drift", PLANT, capacity=CAPACITY)
    async with connected(stack, settings) as firstpull:
        yield firstpull
    await forget_devices(stack)


@pytest.fixture(scope="module")
async def operator(stack: Stack) -> AsyncIterator[Operator]:
    async with operator_of(stack) as operator:
        yield operator


@pytest.fixture(scope="module")
def case(firstpull: Firstpull) -> Case:
    return Case(firstpull, firstpull.application(), PLANT)


@pytest.fixture
async def subject(case: Case) -> AsyncIterator[Subject]:
    """A device that has logged in; afterwards nothing of it is left."""
    subject = await case.ready_device(f"drift-{next(_NUMBERS):02}")
    yield subject
    await case.revoke(subject.device_id)


@pytest.mark.parametrize("somebody", list(ROWS))
async def test_the_next_sweep_finds_it_and_the_device_can_log_in_again(
    case: Case, operator: Operator, subject: Subject, somebody: str
) -> None:
    remedy = REMEDIES.get(somebody)
    await case.goes_through(
        ROWS[somebody],
        subject,
        act=partial(DEEDS[somebody], operator, subject),
        remedy=partial(remedy, operator, subject) if remedy else None,
    )


def test_the_page_has_a_row_for_everything_that_is_tried_and_nothing_else() -> None:
    assert set(ROWS) == set(DEEDS)
    assert {somebody for somebody, row in ROWS.items() if row.waits_for} == set(REMEDIES)


def test_the_page_has_all_words_of_the_sweep_and_no_others() -> None:
    tree = ast.parse(Path(drift.__file__).read_text())
    told = [node.value for node in ast.walk(tree) if isinstance(node, ast.Yield)]
    words = {w.value for w in told if isinstance(w, ast.Constant) and isinstance(w.value, str)}
    words |= {getattr(drift, w.id) for w in told if isinstance(w, ast.Name)}
    assert len(words) > 10
    assert {word for row in ROWS.values() for word in row.says} == words


async def test_somebody_deletes_the_device(
    case: Case, operator: Operator, subject: Subject
) -> None:
    await operator.delete_device(subject.device_id)
    report = await case.application.sweeper.run()
    assert (report.revoked, report.drifted) == (1, {})
    record = await case.comes_to_rest(subject.device_id)
    assert record.status.condition.state is State.REVOKED
    await check_revoked(case.firstpull, record)
    await case.nothing_is_left_to_do(subject.device_id)


async def test_somebody_deletes_the_record_of_a_device(
    case: Case, operator: Operator, subject: Subject
) -> None:
    device = case.firstpull.device(subject.device_id)
    text = case.firstpull.stack.storage.connection_string
    async with TableServiceClient.from_connection_string(text) as tables:
        await tables.get_table_client(RECORDS_TABLE).delete_entity(device.hub, device.digest())
    case.firstpull.stack.kernel.calls.reset()
    report = await case.application.sweeper.run()
    assert {(found.kind, found.name) for found in report.orphans} == {
        (Kind.TOKEN, subject.token),
        (Kind.SECRET, subject.secret),
        (Kind.TWIN_ENTRY, subject.device_id),
    }
    assert case.writes_of_azure() == []
    await case.firstpull.ask(case.application, subject.device_id, PLANT)
    record = await case.comes_to_rest(subject.device_id)
    assert record.status.condition.reason is Reason.TOKEN_NOT_OURS
    assert record.status.condition.remedy
    await operator.take_off_the_list(PLANT, subject.token)
    await operator.delete_token(subject.token)
    await case.comes_to_rest(subject.device_id)
    await case.logs_in(subject.device_id)
    await case.nothing_is_left_to_do(subject.device_id)


async def test_somebody_adds_clients_of_their_own_to_the_list(
    case: Case, operator: Operator, subject: Subject
) -> None:
    await operator.create_token("of-somebody-else", scope_map=subject.scope_map)
    theirs = operator.token_id("of-somebody-else")
    listed = [theirs, *await operator.clients(PLANT)]
    await operator.set_clients(PLANT, listed)
    assert await case.sweep_says(subject.device_id) == set()
    assert await operator.clients(PLANT) == listed
    (room,) = (await case.application.sites.view()).others
    assert (room.ours, room.foreign, room.free) == (1, 1, CAPACITY - 2)
    await operator.take_off_the_list(PLANT, "of-somebody-else")
    await operator.delete_token("of-somebody-else")


async def test_somebody_adds_a_version_of_their_own_to_the_secret(
    case: Case, operator: Operator, subject: Subject
) -> None:
    before = entry_of(operator.stack, subject.device_id, PLANT)
    made = await operator.vault.set_secret(subject.secret, "of somebody else")
    assert await case.sweep_says(subject.device_id) == set()
    assert await case.firstpull.look_again(case.application, subject.device_id) == [
        "keyVault.secrets.update"
    ]
    enabled = {v.version for v in secret_versions(operator.stack, subject.secret) if v.enabled}
    assert made.properties.version not in enabled
    assert len(enabled) == 1
    assert entry_of(operator.stack, subject.device_id, PLANT) == before


async def test_a_disabled_version_that_is_not_the_delivered_one_is_reconciled_once(
    case: Case, operator: Operator, subject: Subject
) -> None:
    made = await operator.vault.set_secret(subject.secret, "of somebody else", enabled=False)
    assert not made.properties.enabled
    assert await case.sweep_says(subject.device_id) == {"the secret is disabled"}
    await case.comes_to_rest(subject.device_id)
    assert await case.sweep_says(subject.device_id) == set()


async def test_a_device_whose_entry_was_removed_with_everything_else_is_counted(
    case: Case, operator: Operator, subject: Subject
) -> None:
    await operator.patch_desired(subject.device_id, {"firstpull": None})
    report = await case.application.sweeper.run()
    assert report.drifted == {"the twin's entry is gone": 1}


async def test_somebody_stops_syncing_a_repository_to_the_site(
    case: Case, operator: Operator, subject: Subject
) -> None:
    synced = cloud_registry(operator.stack).scope_map(PLANT).actions
    others = [action for action in synced if "/hello-world/" not in action]
    entry = entry_of(operator.stack, subject.device_id, PLANT)
    await operator.change_scope_map(PLANT, *others)
    assert await case.sweep_says(subject.device_id) == set()
    (warning,) = (await case.firstpull.record(subject.device_id)).status.warnings
    assert warning.reason is Reason.REPOSITORIES_NOT_SYNCED
    site_of(operator.stack, PLANT).backend.sync()
    assert await pull_answers(operator.stack, entry) == 404
    await operator.change_scope_map(PLANT, *synced)
    await case.application.sweeper.run()
    assert (await case.firstpull.record(subject.device_id)).status.warnings == ()
    await case.logs_in(subject.device_id)


async def test_somebody_takes_the_vault_away_from_firstpull(
    case: Case, operator: Operator, subject: Subject
) -> None:
    await operator.set_token_status(subject.token, "disabled")
    denied = Fault(r"keyVault\..*", FaultKind.STATUS, status=403, times=None)
    operator.stack.kernel.faults.add(denied)
    assert await case.sweep_says(subject.device_id) == {"the token is disabled"}
    report = await case.application.sweeper.latest()
    assert report is not None
    assert [unread.partition(":")[0] for unread in report.unread] == ["Key Vault"]
    record = await case.comes_to_rest(subject.device_id)
    assert record.status.condition.reason is Reason.ACCESS_DENIED
    assert record.status.condition.remedy
    operator.stack.kernel.faults.clear()
    await case.comes_to_rest(subject.device_id)
    await case.logs_in(subject.device_id)
    await case.nothing_is_left_to_do(subject.device_id)


async def test_somebody_takes_the_hub_away_from_firstpull(
    case: Case, operator: Operator, subject: Subject
) -> None:
    await operator.set_token_status(subject.token, "disabled")
    denied = Fault(r"iotHub\.twins\.query", FaultKind.STATUS, status=403, times=None)
    operator.stack.kernel.faults.add(denied)
    report = await case.application.sweeper.run()
    assert report.drifted == {"the token is disabled": 1}
    assert (report.revoked, report.held) == (0, ())
    hub = case.firstpull.stack.iot_hub_host_name
    assert [unread.startswith(f"{hub}:") for unread in report.unread] == [True]


def test_the_page_tells_of_every_other_thing_that_is_tried() -> None:
    tried = {name for name in globals() if name.startswith("test_somebody_")}
    assert {f"test_somebody_{somebody.replace(' ', '_')}" for somebody in TOLD} == tried
