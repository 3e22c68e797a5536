"""P5: never more clients than the connected registry takes, and the refusal is explicit."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial

from firstpull.model.device_record import State
from firstpull.model.reasons import Reason
from tests.firstpull.harness import PLANT_ONE, PLANT_TWO, Harness, make_policy
from tests.firstpull.promises.test_promise_membership import FOREIGN, with_foreign_clients

SMALL = make_policy(
    connectedRegistries=[{"name": "plantone", "capacity": 8}, {"name": "planttwo", "capacity": 4}]
)


def with_three_clients(*, processes: int = 1) -> Harness:
    """A world in which five more devices fit into the first connected registry."""
    return with_foreign_clients(Harness(policy=SMALL, processes=processes))


async def ask_for_all(harness: Harness, count: int, *, site: str | None = None) -> None:
    for n in range(count):
        harness.register(f"press-{n}")
    name = None if site else "plantone"
    await asyncio.gather(
        *(harness.ask(f"press-{n}", site=site, connectedRegistry=name) for n in range(count))
    )
    await harness.run_for(timedelta(minutes=10))


def states(harness: Harness) -> list[State]:
    return sorted(r.status.condition.state for r in harness.cloud.all_records())


async def test_devices_that_come_too_late_are_refused_and_leave_nothing_behind() -> None:
    harness = with_three_clients(processes=3)
    await ask_for_all(harness, 9)
    assert states(harness) == [State.BLOCKED] * 4 + [State.READY] * 5
    blocked = [r for r in harness.cloud.all_records() if r.status.condition.state is State.BLOCKED]
    assert {r.status.condition.reason for r in blocked} == {Reason.CONNECTED_REGISTRY_FULL}
    assert all(r.status.condition.remedy for r in blocked)
    assert max(harness.cloud.list_sizes) == 8
    assert harness.cloud.lists_refused == 0
    assert len(harness.cloud.tokens) - len(FOREIGN) == len(harness.cloud.secrets) == 5
    assert len(harness.cloud.ledger(PLANT_ONE).entries) == 5


async def test_a_site_overflows_and_then_refuses() -> None:
    harness = with_three_clients(processes=3)
    await ask_for_all(harness, 12, site="plant")
    assert states(harness) == [State.BLOCKED] * 3 + [State.READY] * 9
    reasons = {r.status.condition.reason for r in harness.cloud.all_records()}
    assert reasons == {Reason.ACKNOWLEDGED, Reason.SITE_FULL}
    refs = [r.status.grant.ref for r in harness.cloud.all_records() if r.status.grant]
    assert (refs.count(PLANT_ONE), refs.count(PLANT_TWO)) == (5, 4)
    assert harness.cloud.lists_refused == 0


async def test_the_services_own_limit_counts_though_the_policy_has_a_higher_one() -> None:
    harness = with_three_clients()
    harness.cloud.registry().set_max_clients(PLANT_ONE.name, 6)
    await ask_for_all(harness, 5)
    assert states(harness) == [State.BLOCKED] * 2 + [State.READY] * 3
    assert len(harness.cloud.clients(PLANT_ONE)) == 6
    before = harness.cloud.lists_refused
    await harness.run_for(timedelta(hours=6))
    assert harness.cloud.lists_refused - before < 40


async def test_room_that_becomes_free_goes_to_a_device_that_waits() -> None:
    harness = with_three_clients()
    await ask_for_all(harness, 6)
    assert states(harness).count(State.BLOCKED) == 1
    harness.cloud.put_clients(PLANT_ONE, *harness.cloud.clients(PLANT_ONE)[1:])
    await harness.run_for(timedelta(hours=2))
    assert states(harness) == [State.READY] * 6


async def test_a_foreign_client_that_joins_meanwhile_is_counted() -> None:
    harness = with_three_clients()
    join = partial(harness.cloud.add_foreign_client, PLANT_ONE, "newcomer")
    harness.cloud.act(join, at="locks.acquire")
    await ask_for_all(harness, 5)
    assert states(harness) == [State.BLOCKED] + [State.READY] * 4
    assert max(harness.cloud.list_sizes) == 8
