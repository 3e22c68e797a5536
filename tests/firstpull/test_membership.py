from __future__ import annotations

import asyncio
from collections import Counter
from datetime import datetime, timedelta

import pytest

from firstpull.membership import REQUEST_DEADLINE
from firstpull.model.azure_resources import ScopeMapId, TokenId
from firstpull.model.errors import Blocked, Conflict, Transient
from firstpull.model.ledger import Standing, to_json
from firstpull.model.reasons import Reason
from tests.firstpull.fakes import Crashed, FakeCloud, FakeToken, Fault, FaultKind, name_in
from tests.firstpull.harness import (
    PLANT_ONE,
    REGISTRY,
    Process,
    make_cloud,
    make_policy,
    make_process,
)
from tests.firstpull.virtual_clock import VirtualClock

WRITE = "registries.replace_client_tokens"
FOREIGN = tuple(REGISTRY.token(f"foreign{n}") for n in range(5))


def token_id(number: int) -> TokenId:
    return REGISTRY.token(f"fp-{number:02}")


@pytest.fixture
def cloud() -> FakeCloud:
    made = make_cloud(VirtualClock())
    for token in FOREIGN:
        made.tokens[name_in(token)] = FakeToken(ScopeMapId("someone's"))
    made.connected[PLANT_ONE].clients = [*FOREIGN]
    return made


def processes(cloud: FakeCloud, count: int) -> list[Process]:
    return [make_process(cloud, make_policy()) for _ in range(count)]


async def reserve(process: Process, number: int, *, capacity: int = 50) -> None:
    """Reserve, and make the token, as a pass does."""
    await process.membership.reserve(PLANT_ONE, token_id(number), capacity=capacity)
    process.line.cloud.tokens[f"fp-{number:02}"] = FakeToken(ScopeMapId("ours"))


async def join(process: Process, number: int, *, capacity: int = 50) -> None:
    """Join, again and again while somebody else is at it, as passes do."""
    while True:
        try:
            await process.membership.join(PLANT_ONE, token_id(number), capacity=capacity)
        except Transient as error:
            await process.membership.clock.sleep(error.retry_after or 1)
        else:
            return


def listed(cloud: FakeCloud) -> list[str]:
    return [name_in(token) for token in cloud.connected[PLANT_ONE].clients]


def standings(cloud: FakeCloud) -> Counter[Standing]:
    return Counter(entry.standing for entry in cloud.ledger(PLANT_ONE).entries.values())


async def test_a_token_joins_after_those_that_are_there(cloud: FakeCloud) -> None:
    (process,) = processes(cloud, 1)
    await reserve(process, 1)
    assert standings(cloud) == {Standing.RESERVED: 1}
    await join(process, 1)
    assert listed(cloud) == [*map(name_in, FOREIGN), "fp-01"]
    assert standings(cloud) == {Standing.MEMBER: 1}


async def test_joining_again_writes_nothing(cloud: FakeCloud) -> None:
    (process,) = processes(cloud, 1)
    await reserve(process, 1)
    await join(process, 1)
    before = cloud.writes()
    await reserve(process, 1)
    await join(process, 1)
    assert cloud.writes() == before


async def test_a_full_connected_registry_refuses_and_names_the_way_out(cloud: FakeCloud) -> None:
    (process,) = processes(cloud, 1)
    await reserve(process, 1, capacity=6)
    with pytest.raises(Blocked) as raised:
        await reserve(process, 2, capacity=6)
    assert raised.value.reason is Reason.CONNECTED_REGISTRY_FULL
    assert raised.value.message == "acrtest/plantone has its 6 clients."
    assert "capacity" in raised.value.remedy
    assert cloud.ledger(PLANT_ONE).get(token_id(2)) is None


async def test_room_that_is_held_is_held_for_the_same_token(cloud: FakeCloud) -> None:
    (process,) = processes(cloud, 1)
    await reserve(process, 1, capacity=6)
    await reserve(process, 1, capacity=6)
    assert standings(cloud) == {Standing.RESERVED: 1}


async def test_a_token_that_is_listed_needs_no_more_room(cloud: FakeCloud) -> None:
    (process,) = processes(cloud, 1)
    cloud.connected[PLANT_ONE].clients.append(TokenId(str(token_id(1)).upper()))
    await reserve(process, 1, capacity=6)
    assert standings(cloud) == {Standing.RESERVED: 1}


async def test_many_who_reserve_at_once_are_never_more_than_there_is_room(cloud: FakeCloud) -> None:
    workers = processes(cloud, 3)
    results = await asyncio.gather(
        *(reserve(workers[n % 3], n, capacity=12) for n in range(20)), return_exceptions=True
    )
    assert results.count(None) == 7
    assert sum(isinstance(r, Blocked) for r in results) == 13
    assert standings(cloud) == {Standing.RESERVED: 7}


async def test_many_who_join_at_once_share_few_writes(cloud: FakeCloud) -> None:
    workers = processes(cloud, 3)
    await asyncio.gather(*(reserve(workers[n % 3], n) for n in range(30)))
    ledger_writes = cloud.calls.count("ledgers.put")
    await asyncio.gather(*(join(workers[n % 3], n) for n in range(30)))
    assert sorted(listed(cloud)) == sorted(
        [*map(name_in, FOREIGN), *(f"fp-{n:02}" for n in range(30))]
    )
    assert standings(cloud) == {Standing.MEMBER: 30}
    assert cloud.calls.count(WRITE) <= 6
    assert cloud.calls.count("ledgers.put") - ledger_writes <= 20
    assert cloud.violations == []


async def test_joins_survive_somebody_who_overwrites_the_list(cloud: FakeCloud) -> None:
    """Another writer read the list long ago, adds itself, and writes it whole, twice."""
    workers = processes(cloud, 3)
    newcomer = REGISTRY.token("newcomer")
    cloud.tokens["newcomer"] = FakeToken(ScopeMapId("someone's"))
    overwrite_after = {1, 2}

    def overwrite(_: int, operation: str) -> None:
        written = cloud.calls.count(WRITE)
        if operation == "ledgers.get" and written in overwrite_after:
            overwrite_after.remove(written)
            cloud.connected[PLANT_ONE].clients = [*FOREIGN, newcomer]

    cloud.before_call = overwrite
    await asyncio.gather(*(reserve(workers[n % 3], n) for n in range(30)))
    await asyncio.gather(*(join(workers[n % 3], n) for n in range(30)))
    assert not overwrite_after
    for n in range(30):  # what the next look at each device does
        if f"fp-{n:02}" not in listed(cloud):
            await join(workers[n % 3], n)
    assert {f"fp-{n:02}" for n in range(30)} <= set(listed(cloud))
    assert {*map(name_in, FOREIGN), "newcomer"} <= set(listed(cloud))
    assert len(listed(cloud)) == len(set(listed(cloud)))
    assert cloud.calls.count(WRITE) <= 10
    assert cloud.violations == []


async def test_what_was_overwritten_is_mended_by_the_first_who_passes(cloud: FakeCloud) -> None:
    (process,) = processes(cloud, 1)
    for n in range(4):
        await reserve(process, n)
        await join(process, n)
    cloud.connected[PLANT_ONE].clients = [*FOREIGN]
    await join(process, 2)
    assert {f"fp-{n:02}" for n in range(4)} <= set(listed(cloud))


async def test_a_token_deleted_meanwhile_does_not_hold_up_the_others(cloud: FakeCloud) -> None:
    (process,) = processes(cloud, 1)
    for n in range(4):
        await reserve(process, n)
    del cloud.tokens["fp-01"]
    results = await asyncio.gather(*(join(process, n) for n in range(4)), return_exceptions=True)
    assert [type(r) for r in results] == [type(None), Conflict, type(None), type(None)]
    assert listed(cloud)[5:] == ["fp-00", "fp-02", "fp-03"]
    assert cloud.ledger(PLANT_ONE).get(token_id(1)) is None


async def test_a_member_whose_token_is_gone_leaves_the_list(cloud: FakeCloud) -> None:
    (process,) = processes(cloud, 1)
    for n in range(2):
        await reserve(process, n)
        await join(process, n)
    del cloud.tokens["fp-00"]
    await reserve(process, 2)
    await join(process, 2)
    assert listed(cloud)[5:] == ["fp-01", "fp-02"]
    assert standings(cloud) == {Standing.MEMBER: 2}


async def test_the_services_own_limit_admits_in_the_order_of_reservation(cloud: FakeCloud) -> None:
    cloud.connected[PLANT_ONE].limit = 8
    (process,) = processes(cloud, 1)
    for n in range(5):
        await reserve(process, n)
    results = await asyncio.gather(
        *(join(process, n) for n in reversed(range(5))), return_exceptions=True
    )
    assert listed(cloud)[5:] == ["fp-00", "fp-01", "fp-02"]
    assert [r is None for r in reversed(results)] == [True, True, True, False, False]
    assert all(isinstance(r, Blocked) for r in results if r is not None)
    assert standings(cloud) == {Standing.MEMBER: 3}


async def test_room_that_others_took_meanwhile_is_refused_to_the_last(cloud: FakeCloud) -> None:
    (process,) = processes(cloud, 1)
    for n in range(3):
        await reserve(process, n, capacity=8)
    newcomer = REGISTRY.token("newcomer")
    cloud.tokens["newcomer"] = FakeToken(ScopeMapId("someone's"))
    cloud.connected[PLANT_ONE].clients.append(newcomer)
    results = await asyncio.gather(
        *(join(process, n, capacity=8) for n in range(3)), return_exceptions=True
    )
    assert [type(r) for r in results] == [type(None), type(None), Blocked]
    assert listed(cloud)[5:] == ["newcomer", "fp-00", "fp-01"]
    assert cloud.lists_refused == 0


async def test_a_missing_connected_registry_blocks(cloud: FakeCloud) -> None:
    (process,) = processes(cloud, 1)
    del cloud.connected[PLANT_ONE]
    with pytest.raises(Blocked) as raised:
        await reserve(process, 1)
    assert raised.value.reason is Reason.CONNECTED_REGISTRY_NOT_FOUND


async def test_who_never_reserved_does_not_join(cloud: FakeCloud) -> None:
    (process,) = processes(cloud, 1)
    with pytest.raises(Conflict):
        await process.membership.join(PLANT_ONE, token_id(1), capacity=50)
    assert cloud.calls.count(WRITE) == 0


async def test_a_follower_gives_up_after_a_while(cloud: FakeCloud) -> None:
    first, second = processes(cloud, 2)
    await reserve(first, 1)
    assert await second.membership.locks.acquire(PLANT_ONE) is not None
    with pytest.raises(Transient) as raised:
        await first.membership.join(PLANT_ONE, token_id(1), capacity=50)
    assert raised.value.reason is Reason.MEMBERSHIP_PENDING
    assert cloud.calls.count(WRITE) == 0


async def test_a_holder_that_vanished_is_waited_out(cloud: FakeCloud) -> None:
    """Its last write may still be under way when its lease ends."""
    first, second = processes(cloud, 2)
    await reserve(first, 1)
    await reserve(second, 2)
    write_at: list[datetime] = []

    def crash_at_the_write(_: int, operation: str) -> None:
        if operation == WRITE:
            write_at.append(cloud.clock.now())
            if len(write_at) == 1:
                first.line.dead = True
                raise Crashed(operation)

    cloud.before_call = crash_at_the_write
    with pytest.raises(Crashed):
        await join(first, 1)
    lease_ends = cloud.locks[PLANT_ONE].until
    await join(second, 2)
    assert write_at[1] >= lease_ends + timedelta(seconds=REQUEST_DEADLINE)
    assert listed(cloud)[5:] == ["fp-01", "fp-02"]


async def test_a_holder_that_gave_its_lease_back_is_not_waited_for(cloud: FakeCloud) -> None:
    first, second = processes(cloud, 2)
    for process, n in ((first, 1), (second, 2)):
        await reserve(process, n)
        begun = cloud.clock.now()
        await join(process, n)
        assert cloud.clock.now() - begun < timedelta(seconds=1)


async def test_who_lost_the_lease_does_not_write(cloud: FakeCloud) -> None:
    first, second = processes(cloud, 2)
    await reserve(first, 1)
    await reserve(second, 2)
    with cloud.hold_call("registries.get_connected_registry", answer=True) as read:
        late = asyncio.create_task(first.membership.join(PLANT_ONE, token_id(1), capacity=50))
        await read.reached.wait()
        cloud.clock.advance(timedelta(minutes=2))
        await join(second, 2)
        writes = cloud.calls.count(WRITE)
        read.release.set()
        with pytest.raises(Conflict):
            await late
    assert cloud.calls.count("lease.renew") == 1
    assert cloud.calls.count(WRITE) == writes


@pytest.mark.parametrize("after", [False, True])
async def test_a_write_whose_answer_is_lost_is_found_by_the_next(
    cloud: FakeCloud,
    after: bool,  # noqa: FBT001 - a table
) -> None:
    (process,) = processes(cloud, 1)
    await reserve(process, 1)

    def fail_once(number: int, operation: str) -> None:
        if operation == WRITE and cloud.calls.count(WRITE) == 1:
            cloud.faults[number] = Fault(kind=FaultKind.TRANSIENT, after=after)

    cloud.before_call = fail_once
    await join(process, 1)
    assert listed(cloud)[5:] == ["fp-01"]
    assert standings(cloud) == {Standing.MEMBER: 1}


async def test_a_list_that_does_not_take_a_token_is_not_written_without_end(
    cloud: FakeCloud,
) -> None:
    cloud.connected[PLANT_ONE].forgets_unknown = True
    (process,) = processes(cloud, 1)
    await process.membership.reserve(PLANT_ONE, token_id(1), capacity=50)

    def enough(_: int, operation: str) -> None:
        if cloud.calls.count(WRITE) > 20:
            raise Crashed(operation)

    cloud.before_call = enough
    with pytest.raises((Blocked, Conflict, Transient)):
        await process.membership.join(PLANT_ONE, token_id(1), capacity=50)


async def test_who_leaves_goes_with_the_next_write(cloud: FakeCloud) -> None:
    (process,) = processes(cloud, 1)
    await reserve(process, 1)
    await join(process, 1)
    stored = await process.membership.ledgers.get(PLANT_ONE)
    assert stored is not None
    retiring = stored.value.standing_at(token_id(1), Standing.LEAVING)
    await process.membership.ledgers.put(PLANT_ONE, retiring, etag=stored.etag)
    await reserve(process, 2)
    before = cloud.calls.count(WRITE)
    await join(process, 2)
    assert listed(cloud)[5:] == ["fp-02"]
    assert cloud.ledger(PLANT_ONE).get(token_id(1)) is None
    assert cloud.calls.count(WRITE) == before + 1


async def test_who_wants_out_while_a_list_is_written_is_not_taken_for_gone(
    cloud: FakeCloud,
) -> None:
    (process,) = processes(cloud, 1)
    await reserve(process, 1)
    await join(process, 1)
    await reserve(process, 2)
    marked: list[str] = []

    def another_process_marks_it(_: int, operation: str) -> None:
        if operation == WRITE and not marked:
            marked.append(operation)
            ledger = cloud.ledger(PLANT_ONE).standing_at(token_id(1), Standing.LEAVING)
            version = cloud.ledgers[PLANT_ONE][1]
            cloud.ledgers[PLANT_ONE] = to_json(ledger), version + 1

    cloud.before_call = another_process_marks_it
    await join(process, 2)
    assert marked
    assert "fp-01" not in listed(cloud)
    assert "fp-02" in listed(cloud)
    assert cloud.ledger(PLANT_ONE).get(token_id(1)) is None
