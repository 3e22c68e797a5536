"""P5: never more clients than the connected registry takes, and the refusal is explicit."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from firstpull.model.azure_resources import ScopeMapId
from firstpull.model.device_record import State
from firstpull.model.reasons import Reason
from tests.firstpull.fakes import FakeToken
from tests.firstpull.harness import PLANT_ONE, PLANT_TWO, REGISTRY, Harness, make_policy
from tests.firstpull.promises.test_promise_membership import FOREIGN, with_foreign_tokens

SMALL = make_policy(
    connectedRegistries=[
        {"name": "plantone", "capacity": 8},
        {"name": "planttwo", "capacity": 4},
    ]
)


async def ask_for_all(harness: Harness, count: int, *, site: str | None = None) -> None:
    for n in range(count):
        harness.register(f"press-{n}")
    ref = None if site else "plantone"
    await asyncio.gather(
        *(harness.ask(f"press-{n}", site=site, connectedRegistry=ref) for n in range(count))
    )
    await harness.run_for(timedelta(minutes=10))


def states(harness: Harness) -> list[State]:
    return sorted(r.status.condition.state for r in harness.cloud.all_records())


async def test_those_who_come_too_late_are_told_so() -> None:
    harness = Harness(policy=SMALL, processes=3)
    with_foreign_tokens(harness)
    await ask_for_all(harness, 9)
    assert states(harness) == [State.BLOCKED] * 4 + [State.READY] * 5
    blocked = [r for r in harness.cloud.all_records() if r.status.condition.state is State.BLOCKED]
    assert {r.status.condition.reason for r in blocked} == {Reason.CONNECTED_REGISTRY_FULL}
    assert all(
        "8 clients" in r.status.condition.message and r.status.condition.remedy for r in blocked
    )
    assert max(harness.cloud.list_sizes) == 8
    assert harness.cloud.lists_refused == 0


async def test_those_who_are_refused_leave_nothing_behind() -> None:
    harness = Harness(policy=SMALL, processes=3)
    with_foreign_tokens(harness)
    await ask_for_all(harness, 9)
    ours = {name for name in harness.cloud.tokens if name.startswith("fp-")}
    assert len(ours) == len(harness.cloud.secrets) == 5
    assert len(harness.cloud.ledger(PLANT_ONE).entries) == 5


async def test_a_site_overflows_and_then_refuses() -> None:
    harness = Harness(policy=SMALL, processes=3)
    with_foreign_tokens(harness)
    await ask_for_all(harness, 12, site="plant")
    assert states(harness) == [State.BLOCKED] * 3 + [State.READY] * 9
    refs = [r.status.grant.ref for r in harness.cloud.all_records() if r.status.grant]
    assert (refs.count(PLANT_ONE), refs.count(PLANT_TWO)) == (5, 4)
    assert harness.cloud.lists_refused == 0


async def test_the_services_own_limit_is_the_truth() -> None:
    """The settings say more than the service takes."""
    harness = Harness(policy=SMALL)
    with_foreign_tokens(harness)
    harness.cloud.connected[PLANT_ONE].limit = 6
    await ask_for_all(harness, 5)
    assert states(harness) == [State.BLOCKED] * 2 + [State.READY] * 3
    assert len(harness.cloud.connected[PLANT_ONE].clients) == 6


async def test_a_refusal_by_the_service_is_reconciled_ever_more_rarely() -> None:
    harness = Harness(policy=SMALL)
    harness.cloud.connected[PLANT_ONE].limit = 2
    await ask_for_all(harness, 3)
    before = harness.cloud.lists_refused
    await harness.run_for(timedelta(hours=12))
    assert harness.cloud.lists_refused - before < 100


async def test_room_that_becomes_free_goes_to_who_waits() -> None:
    harness = Harness(policy=SMALL)
    with_foreign_tokens(harness)
    await ask_for_all(harness, 6)
    assert states(harness).count(State.BLOCKED) == 1
    harness.cloud.connected[PLANT_ONE].clients = harness.cloud.connected[PLANT_ONE].clients[1:]
    await harness.run_for(timedelta(hours=2))
    assert states(harness) == [State.READY] * 6


async def test_a_token_of_somebody_elses_that_comes_meanwhile_is_counted() -> None:
    harness = Harness(policy=SMALL)
    with_foreign_tokens(harness)
    harness.cloud.tokens["newcomer"] = FakeToken(ScopeMapId("someone's"))
    clients = harness.cloud.connected[PLANT_ONE].clients
    come: list[bool] = []

    def come_late(_: int, operation: str) -> None:
        if operation == "locks.acquire" and not come:
            come.append(True)
            clients.append(type(clients[0])(f"{REGISTRY}/Tokens/newcomer"))

    harness.cloud.before_call = come_late
    await ask_for_all(harness, 5)
    assert come
    assert states(harness) == [State.BLOCKED] + [State.READY] * 4
    assert max(harness.cloud.list_sizes) == 8
    assert FOREIGN[0] in str(harness.cloud.connected[PLANT_ONE].clients)
