"""Every row of docs/drift.md."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial
from itertools import count

import pytest
from azure.data.tables import UpdateMode
from azure.data.tables.aio import TableServiceClient
from pydantic import SecretStr

from firstpull.model.device_record import State
from firstpull.model.reasons import Reason
from firstpull.model.sweep_report import Kind
from firstpull.reconcile.checks import Difference
from local_azure.iot_hub.identities import DeviceSettings
from local_azure.kernel.faults import Fault, FaultKind
from local_azure.key_vault.models import Properties
from local_azure.stack import Stack

from .actions import (
    ACTIONS,
    CAPACITY,
    REMEDIES,
    patch_desired,
    put_foreign_token,
    take_off_the_list,
    write_clients,
)
from .cloud import (
    RECORDS_TABLE,
    cloud_registry,
    entry_of,
    operations_end,
    pull_answers,
    secret_versions,
    site_of,
)
from .deployments import Deployment, Subject, deployed
from .drift_rows import check_row, rows, table_below
from .end_state import check_revoked

PLANT = "plant10"
ROWS = rows()
NOT_REPAIRED = [somebody for somebody, *_ in table_below("What the sweep tells, and does not mend")]
# One for each service; in process, every row runs with the unit tests.
_FAST = {
    "deletes the token",
    "makes both passwords anew",
    "removes the twin's entry",
    "deletes the ledger",
}
_NUMBERS = count()


@pytest.fixture(scope="module")
async def deployment(stack: Stack) -> AsyncIterator[Deployment]:
    async with deployed(stack, "drift", PLANT, capacity=CAPACITY) as deployment:
        yield deployment


@pytest.fixture
async def subject(deployment: Deployment) -> AsyncIterator[Subject]:
    """A device that has logged in. It is revoked afterwards."""
    subject = await deployment.ready_device(f"drift-{next(_NUMBERS):02}")
    yield subject
    deployment.stack.kernel.faults.clear()
    await deployment.revoke(subject.device_id)


@pytest.mark.parametrize(
    "somebody",
    [pytest.param(row, marks=() if row in _FAST else pytest.mark.slow) for row in ROWS],
)
async def test_the_sweep_finds_it_and_the_device_can_log_in_again(
    deployment: Deployment, subject: Subject, somebody: str
) -> None:
    remedy = REMEDIES.get(somebody)
    await check_row(
        ROWS[somebody],
        deployment,
        subject,
        act=partial(ACTIONS[somebody], deployment.stack, subject),
        remedy=partial(remedy, deployment.stack, subject) if remedy else None,
    )


def test_the_page_has_a_row_for_every_action_and_difference_and_no_other() -> None:
    assert set(ROWS) == set(ACTIONS)
    assert {somebody for somebody, row in ROWS.items() if row.waits_for} == set(REMEDIES)
    mended = set(Difference) - {Difference.RECORD_OUT_OF_DATE}
    assert {word for row in ROWS.values() for word in row.says} == mended


def test_the_page_has_a_row_for_everything_that_is_tried_below_and_no_other() -> None:
    tried = {name for name in globals() if name.startswith("test_somebody_")}
    assert {f"test_somebody_{somebody.replace(' ', '_')}" for somebody in NOT_REPAIRED} == tried


@pytest.mark.slow
async def test_somebody_deletes_the_device(deployment: Deployment, subject: Subject) -> None:
    deployment.stack.hub.delete_device(subject.device_id, etag=None)
    report = await deployment.application.sweeper.run()
    assert (report.revoked, report.drifted) == (1, {})
    record = await deployment.come_to_rest(subject.device_id)
    assert record.status.condition.state is State.REVOKED
    await check_revoked(deployment.firstpull, record)
    await deployment.check_that_nothing_is_left_to_do(subject.device_id)


@pytest.mark.slow
async def test_somebody_deletes_the_device_and_registers_it_again(
    deployment: Deployment, subject: Subject
) -> None:
    deployment.stack.hub.delete_device(subject.device_id, etag=None)
    deployment.stack.hub.create_device(DeviceSettings(subject.device_id))
    await deployment.application.sweeper.run()
    record = await deployment.come_to_rest(subject.device_id)
    assert record.status.condition.state is State.REVOKED
    await check_revoked(deployment.firstpull, record)
    await deployment.check_that_nothing_is_left_to_do(subject.device_id)
    await deployment.ask(subject.device_id)
    await deployment.come_to_rest(subject.device_id)
    await deployment.log_in(subject.device_id)


async def test_somebody_deletes_the_record_of_a_device(
    deployment: Deployment, subject: Subject
) -> None:
    stack, device = deployment.stack, deployment.firstpull.device(subject.device_id)
    text = stack.storage.connection_string
    async with TableServiceClient.from_connection_string(text) as tables:
        await tables.get_table_client(RECORDS_TABLE).delete_entity(device.hub, device.digest())
    stack.kernel.calls.reset()
    report = await deployment.application.sweeper.run()
    assert {(found.kind, found.name) for found in report.orphans} == {
        (Kind.TOKEN, subject.token),
        (Kind.SECRET, subject.secret),
        (Kind.TWIN_ENTRY, subject.device_id),
    }
    assert deployment.writes() == []
    await deployment.ask(subject.device_id)
    record = await deployment.come_to_rest(subject.device_id)
    assert record.status.grant is not None
    assert record.status.grant.names.token == subject.token
    await deployment.log_in(subject.device_id)
    take_off_the_list(stack, PLANT, subject.token)
    cloud_registry(stack).delete_token(subject.token)
    await operations_end(stack)
    await deployment.application.sweeper.run()
    await deployment.come_to_rest(subject.device_id)
    await deployment.log_in(subject.device_id)
    await deployment.check_that_nothing_is_left_to_do(subject.device_id)


@pytest.mark.slow
async def test_somebody_restores_an_older_record(deployment: Deployment, subject: Subject) -> None:
    device = deployment.firstpull.device(subject.device_id)
    text = deployment.stack.storage.connection_string
    async with TableServiceClient.from_connection_string(text) as tables:
        table = tables.get_table_client(RECORDS_TABLE)
        backup = await table.get_entity(device.hub, device.digest())
        deployment.firstpull.clock.advance(timedelta(seconds=2))
        await deployment.revoke(subject.device_id)
        await deployment.ask(subject.device_id)
        await deployment.come_to_rest(subject.device_id)
        await deployment.log_in(subject.device_id)
        await table.upsert_entity(backup, mode=UpdateMode.REPLACE)
    entry = entry_of(deployment.stack, subject.device_id, PLANT)
    assert Difference.RECORD_OUT_OF_DATE in await deployment.sweep_says(subject.device_id)
    record = await deployment.come_to_rest(subject.device_id)
    assert record.status.condition.reason is Reason.RECORD_OUT_OF_DATE
    assert entry_of(deployment.stack, subject.device_id, PLANT) == entry
    await deployment.application.rebuilding.one(device, dry_run=False)
    await deployment.come_to_rest(subject.device_id)
    await deployment.log_in(subject.device_id)
    assert entry_of(deployment.stack, subject.device_id, PLANT) == entry
    await deployment.check_that_nothing_is_left_to_do(subject.device_id)


@pytest.mark.slow
async def test_somebody_adds_clients_of_their_own_to_the_list(
    deployment: Deployment, subject: Subject
) -> None:
    stack = deployment.stack
    registry = cloud_registry(stack)
    before = registry.connected_registry(PLANT).settings.client_token_ids
    listed = (put_foreign_token(stack, "of-somebody-else"), *before)
    write_clients(stack, PLANT, list(listed))
    assert await deployment.sweep_says(subject.device_id) == set()
    assert registry.connected_registry(PLANT).settings.client_token_ids == listed
    (room,) = (await deployment.application.sites.view()).others
    assert (room.ours, room.foreign, room.free) == (1, 1, CAPACITY - 2)
    take_off_the_list(stack, PLANT, "of-somebody-else")
    registry.delete_token("of-somebody-else")


@pytest.mark.slow
async def test_somebody_adds_a_version_of_their_own_to_the_secret(
    deployment: Deployment, subject: Subject
) -> None:
    stack = deployment.stack
    before = entry_of(stack, subject.device_id, PLANT)
    made = stack.vault.set(subject.secret, SecretStr("of somebody else"), Properties())
    assert await deployment.sweep_says(subject.device_id) == set()
    writes = await deployment.firstpull.reconcile_again(deployment.application, subject.device_id)
    assert writes == ["keyVault.secrets.update"]
    enabled = {v.version for v in secret_versions(stack, subject.secret) if v.enabled}
    assert len(enabled - {made.version}) == len(enabled) == 1
    assert entry_of(stack, subject.device_id, PLANT) == before


async def test_a_disabled_version_that_is_not_the_delivered_one_is_reconciled_once(
    deployment: Deployment, subject: Subject
) -> None:
    other = Properties(enabled=False)
    deployment.stack.vault.set(subject.secret, SecretStr("of somebody else"), other)
    assert await deployment.sweep_says(subject.device_id) == {Difference.SECRET_DISABLED}
    await deployment.come_to_rest(subject.device_id)
    assert await deployment.sweep_says(subject.device_id) == set()


async def test_a_difference_is_counted_though_the_query_no_longer_shows_the_device(
    deployment: Deployment, subject: Subject
) -> None:
    patch_desired(deployment.stack, subject.device_id, {"firstpull": None})
    report = await deployment.application.sweeper.run()
    assert report.drifted == {Difference.ENTRY_MISSING: 1}


@pytest.mark.slow
async def test_somebody_stops_syncing_a_repository_to_the_site(
    deployment: Deployment, subject: Subject
) -> None:
    stack = deployment.stack
    registry = cloud_registry(stack)
    synced = registry.scope_map(PLANT).actions
    others = [action for action in synced if "/hello-world/" not in action]
    registry.update_scope_map(PLANT, actions=others)
    assert await deployment.sweep_says(subject.device_id) == set()
    (warning,) = (await deployment.firstpull.record(subject.device_id)).status.warnings
    assert warning.reason is Reason.REPOSITORIES_NOT_SYNCED
    site_of(stack, PLANT).backend.sync()
    assert await pull_answers(stack, entry_of(stack, subject.device_id, PLANT)) == 404
    registry.update_scope_map(PLANT, actions=list(synced))
    await deployment.application.sweeper.run()
    assert (await deployment.firstpull.record(subject.device_id)).status.warnings == ()
    await deployment.log_in(subject.device_id)


@pytest.mark.slow
async def test_somebody_takes_the_vault_away_from_firstpull(
    deployment: Deployment, subject: Subject
) -> None:
    stack = deployment.stack
    cloud_registry(stack).update_token(subject.token, status="disabled")
    denied = Fault(r"keyVault\..*", FaultKind.STATUS, status=403, times=None)
    stack.kernel.faults.add(denied)
    assert await deployment.sweep_says(subject.device_id) == {Difference.TOKEN_DISABLED}
    report = await deployment.application.sweeper.latest()
    assert report is not None
    assert [unread.partition(":")[0] for unread in report.unread] == ["Key Vault"]
    record = await deployment.come_to_rest(subject.device_id)
    assert record.status.condition.reason is Reason.ACCESS_DENIED
    stack.kernel.faults.clear()
    await deployment.come_to_rest(subject.device_id)
    await deployment.log_in(subject.device_id)
    await deployment.check_that_nothing_is_left_to_do(subject.device_id)


@pytest.mark.slow
async def test_somebody_takes_the_hub_away_from_firstpull(
    deployment: Deployment, subject: Subject
) -> None:
    cloud_registry(deployment.stack).update_token(subject.token, status="disabled")
    denied = Fault(r"iotHub\.twins\.query", FaultKind.STATUS, status=403, times=None)
    deployment.stack.kernel.faults.add(denied)
    report = await deployment.application.sweeper.run()
    assert report.drifted == {Difference.TOKEN_DISABLED: 1}
    assert (report.revoked, report.held) == (0, ())
    hub = deployment.stack.iot_hub_host_name
    assert [unread.startswith(f"{hub}:") for unread in report.unread] == [True]
