from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from firstpull.fleet.drift import drift_of
from firstpull.model.azure_resources import ScopeMap, ScopeMapId, Slot
from firstpull.model.device_key import DeviceKey
from firstpull.model.last_request import LastRequest
from firstpull.model.ledger import Entry, Ledger, Standing
from firstpull.reconcile.checks import (
    CHECKS,
    Difference,
    RegistrySnapshot,
    Snapshot,
    StoredSecretState,
    differences,
)
from firstpull.reconcile.plan import snapshot_of
from firstpull.reconcile.preconditions import Blocker, check_preconditions
from local_azure.key_vault.models import Properties
from tests.firstpull.builders import (
    GRANT,
    MADE,
    NOW,
    READY,
    READY_SCOPE_MAP,
    SCOPE_MAP,
    SCOPE_MAP_ID,
    TOKEN_ID,
    World,
    contents,
    desired,
    edited,
    password,
    record,
    token,
)
from tests.firstpull.harness import DEPLOYMENT, PLANT_ONE, REGISTRY, Harness
from tests.world.cloud import PULL, Cloud


def snapshot(world: World = READY, **parts: Any) -> Snapshot:  # noqa: ANN401 - fields of a snapshot
    """The snapshot of a world, with other parts."""
    view, twin = world.view(), world.observed().twin
    found = Snapshot(
        record=world.record,
        grant=GRANT,
        deployment=DEPLOYMENT,
        registry=RegistrySnapshot(
            token=world.token, scope_map=world.scope_map, connected_registry=view.connected_registry
        ),
        ledger=view.ledger,
        secret=StoredSecretState.READABLE,
        twin=twin,
    )
    return replace(found, **parts)


def of(**changes: Any) -> Snapshot:  # noqa: ANN401 - fields of World
    return snapshot(replace(READY, **changes))


def ledger(standing: Standing) -> Ledger:
    return Ledger().with_entry(Entry(token_id=TOKEN_ID, standing=standing, since=MADE))


LATER = LastRequest(at=NOW + timedelta(seconds=1), is_revoke=True)
DIFFERENT: list[tuple[Snapshot, Difference]] = [
    (snapshot(last_request=LATER), Difference.RECORD_OUT_OF_DATE),
    (snapshot(ledger=Ledger()), Difference.LEDGER_ENTRY_MISSING),
    (snapshot(ledger=ledger(Standing.JOINING)), Difference.LEDGER_ENTRY_MISSING),
    (snapshot(ledger=ledger(Standing.RESERVED)), Difference.LEDGER_ENTRY_MISSING),
    (of(scope_map=None), Difference.SCOPE_MAP_MISSING),
    (of(scope_map=ScopeMap(name=SCOPE_MAP, actions=frozenset())), Difference.SCOPE_MAP_CHANGED),
    (
        of(
            scope_map=ScopeMap(
                name=SCOPE_MAP, actions=READY_SCOPE_MAP.actions | {"repositories/b/content/read"}
            )
        ),
        Difference.SCOPE_MAP_CHANGED,
    ),
    (of(token=None), Difference.TOKEN_MISSING),
    (of(token=token(password(), enabled=False)), Difference.TOKEN_DISABLED),
    (of(token=token(password(), scope_map_id=ScopeMapId("another"))), Difference.OTHER_SCOPE_MAP),
    (of(token=token()), Difference.PASSWORD_CHANGED),
    (of(token=token(password(Slot.TWO))), Difference.PASSWORD_CHANGED),
    (of(token=token(password(made=NOW))), Difference.PASSWORD_CHANGED),
    (snapshot(secret=StoredSecretState.MISSING), Difference.SECRET_MISSING),
    (snapshot(secret=StoredSecretState.DISABLED), Difference.SECRET_DISABLED),
    (of(there=False), Difference.CONNECTED_REGISTRY_MISSING),
    (of(listed=()), Difference.NOT_LISTED),
    (of(record=record(hub_device_etag="d0")), Difference.IDENTITY_CHANGED),
    (of(desired={}), Difference.ENTRY_MISSING),
    (of(desired=edited(added=1)), Difference.ENTRY_CHANGED),
    (of(desired=desired(contents(address="another:8000"))), Difference.ENTRY_CHANGED),
    (of(enabled=False), Difference.DEVICE_DISABLED),
]
NOT_DELIVERED = record(delivery=None)
NOT_DIFFERENT: dict[str, Snapshot] = {
    "a request of the same second in the tags": snapshot(
        last_request=replace(LATER, at=READY.record.requested_at + timedelta(milliseconds=999))
    ),
    "as it should be": snapshot(),
    "the id of the scope map in another case": of(
        token=token(password(), scope_map_id=ScopeMapId(str(SCOPE_MAP_ID).upper()))
    ),
    "no part was read": snapshot(registry=None, ledger=None, secret=None, twin=None),
    "no password was delivered": snapshot(
        replace(READY, record=NOT_DELIVERED, token=token(), desired={}, enabled=False),
        secret=StoredSecretState.MISSING,
    ),
    "a second password": of(token=token(password(), password(Slot.TWO, made=NOW))),
}


@pytest.mark.parametrize(
    ("found", "difference"),
    DIFFERENT,
    ids=[f"{number} {row[1].name}" for number, row in enumerate(DIFFERENT)],
)
def test_one_check_finds_the_difference(found: Snapshot, difference: Difference) -> None:
    assert differences(found) == (difference,)


@pytest.mark.parametrize("found", NOT_DIFFERENT.values(), ids=NOT_DIFFERENT)
def test_no_check_finds_a_difference(found: Snapshot) -> None:
    assert differences(found) == ()


def test_each_difference_and_each_check_is_in_the_table() -> None:
    assert {difference for _, difference in DIFFERENT} == set(Difference)
    for check in CHECKS:
        assert any(check(found) for found, _ in DIFFERENT)


def test_differences_come_in_the_order_of_the_checks() -> None:
    every = snapshot(
        replace(READY, scope_map=None, token=None, listed=(), desired={}), ledger=Ledger()
    )
    assert differences(every) == (
        Difference.LEDGER_ENTRY_MISSING,
        Difference.SCOPE_MAP_MISSING,
        Difference.TOKEN_MISSING,
        Difference.NOT_LISTED,
        Difference.ENTRY_MISSING,
    )


type Change = Callable[[Cloud, DeviceKey], object]


def change_scope_map(cloud: Cloud, _: DeviceKey) -> None:
    for name in cloud.scope_maps:
        cloud.registry().update_scope_map(name, actions=["repositories/theirs/content/read"])


def delete_scope_map(cloud: Cloud, _: DeviceKey) -> None:
    """The service keeps one that a token has."""
    for name in cloud.tokens:
        cloud.registry().update_token(name, scope_map_id=str(REGISTRY.scope_map(PULL)))
    for name in cloud.scope_maps:
        cloud.registry().delete_scope_map(name)


def disable_token(cloud: Cloud, _: DeviceKey) -> None:
    for name in cloud.tokens:
        cloud.registry().update_token(name, status="disabled")


def disable_secret(cloud: Cloud, _: DeviceKey) -> None:
    for name in cloud.secrets:
        cloud.vault.update(name, None, Properties(enabled=False))


def edit_twin(cloud: Cloud, device: DeviceKey) -> None:
    cloud.edit_entry(device, PLANT_ONE, {"address": "elsewhere:8000"})


def delete_passwords(cloud: Cloud, _: DeviceKey) -> None:
    for name in cloud.tokens:
        cloud.registry().update_token(name, keep_passwords=())


def clear_list(cloud: Cloud, _: DeviceKey) -> None:
    cloud.put_clients(PLANT_ONE)


def delete_token(cloud: Cloud, _: DeviceKey) -> None:
    for name in cloud.tokens:
        cloud.delete_token(name)


CHANGES: dict[str, Change] = {
    "ledger lost": lambda cloud, _: cloud.ledgers.clear(),
    "scope map deleted": delete_scope_map,
    "scope map changed": change_scope_map,
    "token deleted": delete_token,
    "token disabled": disable_token,
    "passwords deleted": delete_passwords,
    "secret deleted": lambda cloud, _: cloud.purge_secrets(),
    "secret disabled": disable_secret,
    "off the list": clear_list,
    "identity changed": lambda cloud, device: cloud.change_identity(device, enabled=True),
    "twin cleared": lambda cloud, device: cloud.clear_twin(device),
    "twin edited": edit_twin,
}


async def found_by_plan_and_sweep(
    harness: Harness, device: DeviceKey
) -> list[tuple[Difference, ...]]:
    application, now = harness.processes[0].application, harness.cloud.record(device)
    observed = await application.worker.observer.observe(now)
    target = check_preconditions(observed)
    assert not isinstance(target, Blocker)
    inventory = await application.sweeper.inventory_reader.take()
    return [
        differences(snapshot_of(observed, target)),
        drift_of(now, inventory, deployment=DEPLOYMENT),
    ]


@pytest.mark.parametrize(
    "changes",
    [*([change] for change in CHANGES.values()), [change_scope_map, edit_twin, delete_token]],
    ids=[*CHANGES, "several"],
)
async def test_plan_and_sweep_find_the_same_and_it_is_repaired(changes: list[Change]) -> None:
    harness = Harness()
    device = await harness.make_ready()
    harness.clock.advance(timedelta(minutes=1))
    for change in changes:
        change(harness.cloud, device)
    plan, sweep = await found_by_plan_and_sweep(harness, device)
    assert plan == sweep != ()
    await harness.sweep()
    await harness.run_until_quiet()
    harness.clock.advance(timedelta(minutes=1))
    assert await found_by_plan_and_sweep(harness, device) == [(), ()]
