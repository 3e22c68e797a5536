"""Many devices join one list with few writes, and nobody loses a member."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta

import pytest

from firstpull.membership import REQUEST_DEADLINE
from firstpull.model.azure_resources import ConnectedRegistry, ConnectedRegistryRef, TokenId
from firstpull.model.errors import Blocked, Conflict, Transient
from firstpull.model.ledger import Standing, to_json
from firstpull.model.reasons import Reason
from tests.firstpull.harness import (
    PLANT_ONE,
    REGISTRY,
    Process,
    make_cloud,
    make_policy,
    make_process,
)
from tests.firstpull.virtual_clock import VirtualClock
from tests.world.calls import Crashed, Fault
from tests.world.cloud import Cloud
from tests.world.ports import FakeContainerRegistries

WRITE = "registries.replace_client_tokens"
FOREIGN = [f"foreign{n}" for n in range(5)]


def name(number: int) -> str:
    return f"fp-{number:02}"


def names(numbers: Iterable[int]) -> list[str]:
    return list(map(name, numbers))


def token_id(number: int) -> TokenId:
    return REGISTRY.token(name(number))


@pytest.fixture
def cloud() -> Cloud:
    """Five clients of others are in the list."""
    made = make_cloud(VirtualClock())
    for foreign in FOREIGN:
        made.add_foreign_client(PLANT_ONE, foreign)
    return made


@pytest.fixture
def process(cloud: Cloud) -> Process:
    return make_process(cloud, make_policy())


@pytest.fixture
def processes(cloud: Cloud) -> list[Process]:
    return [make_process(cloud, make_policy()) for _ in range(3)]


async def reserve(process: Process, number: int, *, capacity: int = 50) -> None:
    """Reserve, and make the token, as a pass does."""
    await process.membership.reserve(PLANT_ONE, token_id(number), capacity=capacity)
    process.line.cloud.add_token(name(number))


async def join(process: Process, number: int, *, capacity: int = 50) -> None:
    """Join, again and again while somebody else has the lock, as passes do."""
    while True:
        try:
            await process.membership.join(PLANT_ONE, token_id(number), capacity=capacity)
        except Transient as error:
            await process.membership.clock.sleep(error.retry_after or 1)
        else:
            return


async def join_all(
    process: Process, numbers: Iterable[int], *, capacity: int = 50
) -> list[type[BaseException] | None]:
    """Join at once; the errors, in their order."""
    joining = (join(process, n, capacity=capacity) for n in numbers)
    results = await asyncio.gather(*joining, return_exceptions=True)
    return [None if result is None else type(result) for result in results]


def listed(cloud: Cloud) -> list[str]:
    """The clients after those that were there before."""
    clients = cloud.clients(PLANT_ONE)
    assert clients[:5] == FOREIGN
    return clients[5:]


def standings(cloud: Cloud) -> Counter[Standing]:
    return Counter(entry.standing for entry in cloud.ledger(PLANT_ONE).entries.values())


async def test_a_token_joins_after_those_that_are_there(cloud: Cloud, process: Process) -> None:
    await reserve(process, 1)
    assert standings(cloud) == {Standing.RESERVED: 1}
    await join(process, 1)
    assert listed(cloud) == ["fp-01"]
    assert standings(cloud) == {Standing.MEMBER: 1}
    before = cloud.writes()
    await reserve(process, 1)
    await join(process, 1)
    assert cloud.writes() == before


async def test_a_full_connected_registry_blocks_and_holds_its_room_for_who_reserved(
    cloud: Cloud, process: Process
) -> None:
    await reserve(process, 1, capacity=6)
    with pytest.raises(Blocked) as raised:
        await reserve(process, 2, capacity=6)
    assert raised.value.reason is Reason.CONNECTED_REGISTRY_FULL
    assert raised.value.remedy
    await reserve(process, 1, capacity=6)
    assert set(cloud.ledger(PLANT_ONE).entries) == {token_id(1)}


async def test_a_token_that_is_listed_needs_no_more_room(cloud: Cloud, process: Process) -> None:
    cloud.add_token(name(1))
    cloud.put_clients(PLANT_ONE, *FOREIGN, name(1).upper())
    await reserve(process, 1, capacity=6)
    assert standings(cloud) == {Standing.RESERVED: 1}


async def test_those_who_reserve_at_once_are_never_more_than_there_is_room(
    cloud: Cloud, processes: list[Process]
) -> None:
    results = await asyncio.gather(
        *(reserve(processes[n % 3], n, capacity=12) for n in range(20)), return_exceptions=True
    )
    assert results.count(None) == 7
    assert sum(isinstance(result, Blocked) for result in results) == 13
    assert standings(cloud) == {Standing.RESERVED: 7}


async def test_those_who_join_at_once_share_few_writes(
    cloud: Cloud, processes: list[Process]
) -> None:
    await asyncio.gather(*(reserve(processes[n % 3], n) for n in range(30)))
    ledger_writes = cloud.calls.count("ledgers.put")
    await asyncio.gather(*(join(processes[n % 3], n) for n in range(30)))
    assert sorted(listed(cloud)) == names(range(30))
    assert standings(cloud) == {Standing.MEMBER: 30}
    assert cloud.calls.count(WRITE) <= 6
    assert cloud.calls.count("ledgers.put") - ledger_writes <= 20
    assert cloud.violations == []


async def test_where_writes_are_short_a_list_waits_for_the_tokens_that_have_reserved(
    cloud: Cloud, processes: list[Process]
) -> None:
    async def come(number: int) -> None:
        process = processes[number % 3]
        await reserve(process, number)
        await process.membership.clock.sleep(number / 2)
        await join(process, number)

    cloud.is_short_of_writes = True
    await asyncio.gather(*map(come, range(7)))
    assert cloud.calls.count(WRITE) == 1
    assert listed(cloud) == names(range(7))


async def test_what_leaves_waits_for_nobody(cloud: Cloud, process: Process) -> None:
    await join_reserved(process, 1)
    await reserve(process, 2)
    cloud.is_short_of_writes = True
    before = cloud.clock.now()
    await process.membership.leave(PLANT_ONE, token_id(1), capacity=50)
    assert cloud.clock.now() - before < timedelta(seconds=1)
    assert listed(cloud) == []


async def test_a_token_deleted_meanwhile_does_not_hold_up_the_others(
    cloud: Cloud, process: Process
) -> None:
    for n in range(4):
        await reserve(process, n)
    cloud.delete_token("fp-01")
    assert await join_all(process, range(4)) == [None, Conflict, None, None]
    assert listed(cloud) == names([0, 2, 3])
    assert cloud.ledger(PLANT_ONE).get(token_id(1)) is None


async def test_a_member_whose_token_is_gone_leaves_the_ledger(
    cloud: Cloud, process: Process
) -> None:
    for n in range(2):
        await reserve(process, n)
        await join(process, n)
    cloud.delete_token("fp-00")
    await reserve(process, 2)
    await join(process, 2)
    assert listed(cloud) == names([1, 2])
    assert standings(cloud) == {Standing.MEMBER: 2}


async def test_the_services_own_limit_admits_in_the_order_of_reservation(
    cloud: Cloud, process: Process
) -> None:
    cloud.registry().set_max_clients(PLANT_ONE.name, 8)
    for n in range(5):
        await reserve(process, n)
    errors = await join_all(process, reversed(range(5)))
    assert errors == [Blocked, Blocked, None, None, None]
    assert listed(cloud) == names(range(3))
    assert standings(cloud) == {Standing.MEMBER: 3}


async def test_room_that_others_took_meanwhile_is_refused_to_who_reserved_last(
    cloud: Cloud, process: Process
) -> None:
    for n in range(3):
        await reserve(process, n, capacity=8)
    cloud.add_foreign_client(PLANT_ONE, "newcomer")
    assert await join_all(process, range(3), capacity=8) == [None, None, Blocked]
    assert listed(cloud) == ["newcomer", *names(range(2))]
    assert cloud.lists_refused == 0


async def test_a_missing_connected_registry_blocks(cloud: Cloud, process: Process) -> None:
    cloud.registry().delete_connected_registry(PLANT_ONE.name)
    with pytest.raises(Blocked) as raised:
        await reserve(process, 1)
    assert raised.value.reason is Reason.CONNECTED_REGISTRY_NOT_FOUND


async def test_a_connected_registry_that_goes_after_the_reservation_blocks(
    cloud: Cloud, process: Process
) -> None:
    await reserve(process, 1)
    cloud.registry().delete_connected_registry(PLANT_ONE.name)
    with pytest.raises(Blocked) as raised:
        await process.membership.join(PLANT_ONE, token_id(1), capacity=50)
    assert raised.value.reason is Reason.CONNECTED_REGISTRY_NOT_FOUND
    assert not cloud.ledger(PLANT_ONE).entries


async def test_who_never_reserved_does_not_join(cloud: Cloud, process: Process) -> None:
    with pytest.raises(Conflict):
        await join(process, 1)
    assert cloud.calls.count(WRITE) == 0


async def test_who_does_not_get_the_lock_gives_up_after_a_while(
    cloud: Cloud, processes: list[Process]
) -> None:
    first, second, _ = processes
    await reserve(first, 1)
    assert await second.membership.locks.acquire(PLANT_ONE) is not None
    with pytest.raises(Transient) as raised:
        await first.membership.join(PLANT_ONE, token_id(1), capacity=50)
    assert raised.value.reason is Reason.MEMBERSHIP_PENDING
    assert cloud.calls.count(WRITE) == 0


async def test_a_lease_holder_that_vanished_is_waited_out(
    cloud: Cloud, processes: list[Process]
) -> None:
    """Its last write may still be under way when its lease ends."""
    first, second, _ = processes
    await reserve(first, 1)
    await reserve(second, 2)
    cloud.inject(Fault.CRASH_BEFORE, at=WRITE)
    with pytest.raises(Crashed):
        await join(first, 1)
    lease_ends = cloud.locks[PLANT_ONE].until
    written_at: list[datetime] = []
    cloud.act(lambda: written_at.append(cloud.clock.now()), at=WRITE)
    await join(second, 2)
    assert written_at[0] >= lease_ends + timedelta(seconds=REQUEST_DEADLINE)
    assert listed(cloud) == names([1, 2])


async def test_a_lease_that_was_given_back_is_not_waited_for(
    cloud: Cloud, processes: list[Process]
) -> None:
    for n, process in enumerate(processes):
        await reserve(process, n)
        begun = cloud.clock.now()
        await join(process, n)
        assert cloud.clock.now() - begun < timedelta(seconds=1)


async def test_who_lost_the_lease_does_not_write(cloud: Cloud, processes: list[Process]) -> None:
    first, second, _ = processes
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
    assert cloud.calls.count(WRITE) == writes


@pytest.mark.parametrize("fault", [Fault.UNAVAILABLE, Fault.ANSWER_LOST])
async def test_a_write_whose_answer_is_lost_is_found_by_the_next(
    cloud: Cloud, process: Process, fault: Fault
) -> None:
    await reserve(process, 1)
    with cloud.failing(WRITE, fault=fault, times=1):
        await join(process, 1)
    assert listed(cloud) == ["fp-01"]
    assert standings(cloud) == {Standing.MEMBER: 1}


async def test_a_list_that_does_not_take_a_token_is_not_written_without_end(
    cloud: Cloud, process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = FakeContainerRegistries.replace_client_tokens

    async def keep_known(
        registries: FakeContainerRegistries,
        ref: ConnectedRegistryRef,
        token_ids: tuple[TokenId, ...],
        **more: float,
    ) -> ConnectedRegistry:
        known = tuple(token_id for token_id in token_ids if token_id.name in cloud.tokens)
        return await replace(registries, ref, known, **more)

    monkeypatch.setattr(FakeContainerRegistries, "replace_client_tokens", keep_known)
    await process.membership.reserve(PLANT_ONE, token_id(1), capacity=50)

    def stop(_: int, operation: str) -> None:
        if cloud.calls.count(WRITE) > 20:
            raise Crashed(operation)

    cloud.before_call = stop
    with pytest.raises(Blocked):
        await process.membership.join(PLANT_ONE, token_id(1), capacity=50)


def mark_as_leaving(cloud: Cloud, number: int) -> None:
    """Another process wants this token out."""
    ledger = cloud.ledger(PLANT_ONE).standing_at(token_id(number), Standing.LEAVING)
    cloud.ledgers[PLANT_ONE] = to_json(ledger), cloud.ledgers[PLANT_ONE][1] + 1


@pytest.mark.parametrize("meanwhile", [False, True], ids=["before", "during the write"])
async def test_who_leaves_goes_with_the_next_write(
    cloud: Cloud,
    process: Process,
    meanwhile: bool,  # noqa: FBT001 - a table
) -> None:
    await reserve(process, 1)
    await join(process, 1)
    await reserve(process, 2)
    before = cloud.calls.count(WRITE)
    cloud.act(lambda: mark_as_leaving(cloud, 1), at=WRITE if meanwhile else 0)
    await join(process, 2)
    assert listed(cloud) == ["fp-02"]
    assert set(cloud.ledger(PLANT_ONE).entries) == {token_id(2)}
    assert cloud.calls.count(WRITE) == before + (2 if meanwhile else 1)


async def test_a_caller_whose_time_is_over_takes_none_that_wait_for_its_write_along(
    cloud: Cloud, process: Process
) -> None:
    with cloud.hold_call("ledgers.put") as first_write:
        first = asyncio.create_task(reserve(process, 1))
        await first_write.reached.wait()
        writer, waiting = (asyncio.create_task(reserve(process, number)) for number in (2, 3))
        changes = process.membership._writers[PLANT_ONE]._waiting
        while len(changes) < 2:  # noqa: ASYNC110 - both wait for the first write
            await asyncio.sleep(0)
        with cloud.hold_call("ledgers.put") as second_write:
            first_write.release.set()
            await second_write.reached.wait()
            writer.cancel()
            ends = await asyncio.gather(first, writer, waiting, return_exceptions=True)
    assert ends[0] is None
    assert isinstance(ends[1], asyncio.CancelledError)
    assert isinstance(ends[2], Transient)  # its pass tries again
    for number in (1, 2, 3):
        await join_reserved(process, number)
    assert listed(cloud) == names([1, 2, 3])


async def join_reserved(process: Process, number: int) -> None:
    await reserve(process, number)
    await join(process, number)


# A token that is about to exist


async def test_a_list_that_was_read_for_a_token_to_come_is_not_read_again(
    cloud: Cloud, process: Process
) -> None:
    await reserve(process, 1)
    begun = len(cloud.calls)
    process.membership.join_soon(PLANT_ONE, capacity=50)
    await process.membership.join(PLANT_ONE, token_id(1), capacity=50)
    calls = Counter(cloud.calls[begun:])
    assert calls["registries.get_connected_registry"] == calls["locks.acquire"] == 1
    assert name(1) in cloud.clients(PLANT_ONE)


async def test_a_token_that_does_not_come_costs_one_read_and_holds_no_lease(
    cloud: Cloud, process: Process
) -> None:
    await reserve(process, 1)
    process.membership.join_soon(PLANT_ONE, capacity=50)
    await process.membership._commits[PLANT_ONE]
    assert cloud.calls.count("registries.get_connected_registry") == 2  # the reservation's, too
    assert cloud.locks[PLANT_ONE].released
    cloud.add_foreign_client(PLANT_ONE, "later")
    await process.membership.join(PLANT_ONE, token_id(1), capacity=50)
    assert len(cloud.clients(PLANT_ONE)) == len(FOREIGN) + 2


async def test_an_error_that_nobody_waited_for_is_met_by_the_next_who_joins(
    cloud: Cloud, process: Process
) -> None:
    await reserve(process, 1)
    with cloud.failing("locks.acquire", fault=Fault.UNAVAILABLE, times=1):
        process.membership.join_soon(PLANT_ONE, capacity=50)
        with pytest.raises(Transient):
            await process.membership.join(PLANT_ONE, token_id(1), capacity=50)
    await process.membership.join(PLANT_ONE, token_id(1), capacity=50)
    assert name(1) in cloud.clients(PLANT_ONE)
