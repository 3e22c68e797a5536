"""Every request is carried out or visibly superseded, whatever is asked for before its end."""

from __future__ import annotations

import os
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import product
from typing import Any

import pytest

from firstpull.model.azure_resources import ConnectedRegistryRef
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import State
from firstpull.model.errors import NotKnown, Refused
from firstpull.model.reasons import Reason
from firstpull.model.sweep_report import Kind
from functions.answers.devices import Operation, OperationStatus
from tests.firstpull.harness import (
    OUR_PREFIX,
    PLANT_ONE,
    PLANT_TWO,
    PORT_ONE,
    Harness,
    over_two_registries,
)
from tests.firstpull.scenarios import make_by_hand
from tests.world.calls import Fault

_SETTLED = timedelta(hours=3)
_LOST = (Reason.TOKEN_NOT_OURS, Reason.TWIN_ENTRY_NOT_OURS)
"""Why a device is blocked whose record was lost: firstpull does not know what it has."""


@dataclass
class Expected:
    """What has to be there in the end, by the requests that were accepted, in their order."""

    place: ConnectedRegistryRef | None = None
    repositories: tuple[str, ...] = ()
    adopts: bool = False
    may_be_revoked: bool = False
    """The device was registered anew while its request was carried out."""
    was_lost: bool = False
    may_be_without_token: bool = False
    """The token that somebody made has ended: by a revoke, with its device, or as leaked."""
    ended: set[str] = field(default_factory=set)
    """Passwords that open nothing."""
    ended_at_once: set[str] = field(default_factory=set)
    """Those that open nothing though the device does not answer."""


@dataclass(frozen=True)
class Life:
    """A world with one device, and what is expected of it."""

    harness: Harness
    device: DeviceKey
    expected: Expected
    hand_made: str
    """The password of the token that somebody made."""

    @property
    def recorded_password(self) -> set[str]:
        """The password that the record names as delivered, or the one that somebody made.

        A password that a pass has delivered and not noted yet is newer than a rotation asks for.
        """
        delivery = self.harness.cloud.record(self.device).delivery
        if delivery is None:
            return {self.hand_made}
        return {
            version.value.get_secret_value()
            for versions in self.harness.cloud.secrets.values()
            for version in versions
            if version.version == delivery.secret_version
        }

    @property
    def passwords(self) -> set[str]:
        """Every password that the device may have."""
        made = set(self.harness.cloud.passwords_made)
        stored = self.harness.cloud.records.get(self.device)
        grants = self.harness.cloud.record(self.device).grants if stored else ()
        return made | {self.hand_made for grant in grants if grant.names.token == "by-hand"}  # noqa: S105


type Request = Callable[[Life], Awaitable[None]]


def asking(place: ConnectedRegistryRef, repository: str, **changes: Any) -> Request:  # noqa: ANN401 - JSON
    async def ask(life: Life) -> None:
        try:
            await life.harness.ask(
                connectedRegistry=place.name, repositories=[repository], **changes
            )
        except Refused as refused:
            if refused.reason is not Reason.DEVICE_HAS_TOKEN:
                raise
            return
        expected = life.expected
        expected.place, expected.repositories = place, (repository,)
        expected.adopts, expected.may_be_revoked = expected.adopts or "adopt" in changes, False
        if expected.was_lost:  # the token is taken back, with a password that the twin delivers
            expected.ended -= life.harness.cloud.passwords_in_use()

    return ask


def rotating(*, immediately: bool) -> Request:
    async def rotate(life: Life) -> None:
        stored = life.device in life.harness.cloud.records
        known = life.harness.cloud.record(life.device).spec.generation if stored else 0
        before = life.passwords if immediately or not stored else life.recorded_password
        try:
            record = await life.harness.rotate(life.device, immediately=immediately)
        except NotKnown:
            assert life.device not in life.harness.cloud.records
        except Refused as refused:
            if refused.reason not in (Reason.NOTHING_TO_ROTATE, Reason.DEVICE_REVOKED):
                raise
        else:
            is_repeated = record.spec.generation == known
            life.expected.ended |= set() if is_repeated else before
            if immediately and not is_repeated:
                life.expected.ended_at_once |= before
                life.expected.may_be_without_token |= life.expected.adopts
                life.harness.devices_answer = False

    return rotate


async def revoke(life: Life) -> None:
    try:
        await life.harness.revoke(life.device)
    except NotKnown:
        return
    life.expected.ended |= life.passwords
    life.expected.may_be_without_token |= life.expected.adopts
    life.expected.place, life.expected.may_be_revoked = None, False


async def recreate(life: Life) -> None:
    cloud, expected = life.harness.cloud, life.expected
    cloud.register(life.device)
    expected.ended |= life.passwords
    if life.device not in cloud.records:
        return
    record = cloud.record(life.device)
    expected.may_be_without_token |= expected.adopts
    life.harness.make_due(life.device)
    if record.spec.intent_generation in record.pending or record.was_asked_for_since:
        expected.may_be_revoked = True  # by a pass that has seen the former device
    else:
        expected.place = None


async def lose_record(life: Life) -> None:
    life.harness.cloud.lose_record(life.device)
    life.expected.place, life.expected.was_lost = None, True
    life.expected.ended.clear()
    life.expected.ended_at_once.clear()


REQUESTS: dict[str, Request] = {
    "onboard": asking(PLANT_ONE, "plant/app"),
    "other repositories": asking(PLANT_ONE, "plant/b"),
    "move within": asking(PLANT_TWO, "plant/app"),
    "move across": asking(PORT_ONE, "plant/app"),
    "rotate": rotating(immediately=False),
    "rotate at once": rotating(immediately=True),
    "revoke": revoke,
    "adopt": asking(PLANT_ONE, "plant/app", adopt="by-hand"),
    "delete and re-create": recreate,
    "record lost": lose_record,
}
_FROM_NOTHING = ("onboard", "adopt")
"""As a first request these are for a device without a record."""


async def begin(first: str) -> Life:
    harness = over_two_registries()
    harness._sync_every = timedelta(seconds=6)
    password = make_by_hand(harness, "by-hand")
    if first in _FROM_NOTHING:
        life = Life(harness, harness.register(), Expected(), password)
    else:
        device = await harness.make_ready()
        expected = Expected(place=PLANT_ONE, repositories=("plant/app",))
        life = Life(harness, device, expected, password)
    checks = harness.cloud.after_write

    def after_write() -> None:
        """A device forgets at once what its twin has no longer."""
        found = harness.cloud.devices[life.device]
        there = harness.cloud.twin_entries(life.device)
        found.logins = {ref: login for ref, login in found.logins.items() if ref in there}
        if checks is not None:
            checks()

    harness.cloud.after_write = after_write
    await REQUESTS[first](life)
    return life


async def play(names: Sequence[str], calls: Sequence[int], *, crash: bool) -> Life | None:
    """Each request at a call after the one before it; None if there is no such call."""
    life = await begin(names[0])
    cloud, left = life.harness.cloud, list(zip(names[1:], calls, strict=True))

    async def go_on() -> bool:
        if not left:
            return True
        name, call = left.pop(0)

        async def act() -> bool:
            await REQUESTS[name](life)
            return await go_on()

        with life.harness.at_call(call, act) as tasks:
            if crash:
                cloud.inject(Fault.CRASH_AFTER, at=call)
            await life.harness.run_until(lambda: False, timedelta(minutes=2))
        return bool(tasks) and bool(await tasks[0])

    return life if await go_on() else None


async def check(life: Life) -> None:
    """Raise AssertionError where a request was neither carried out nor visibly superseded."""
    harness, cloud, expected = life.harness, life.harness.cloud, life.expected
    await harness.run_until(lambda: False, timedelta(minutes=10))
    assert not {p for p in expected.ended_at_once if cloud.opens(p)}
    harness.devices_answer = True
    report = await harness.sweep()
    await harness.run_until(lambda: False, _SETTLED)
    harness.check_promises()
    still_opens = {p for p in expected.ended if cloud.opens(p)}
    if life.device not in cloud.records:  # nobody has asked since: the sweep tells a person
        assert expected.place is None
        assert not still_opens or Kind.TOKEN in {orphan.kind for orphan in report.orphans}
        return
    assert not still_opens
    record = cloud.record(life.device)
    reason = record.status.condition.reason
    if expected.was_lost and reason in _LOST:
        assert record.status.condition.remedy
        return
    if expected.may_be_without_token and reason is Reason.TOKEN_NOT_FOUND:
        assert "by-hand" not in cloud.tokens
        assert record.status.condition.remedy
        return
    operations = [
        Operation.of(record, generation=n).status for n in range(1, record.spec.generation + 1)
    ]
    assert set(operations) <= {OperationStatus.SUCCEEDED, OperationStatus.CANCELED}, operations
    assert (record.claim, record.spec.rotation) == (None, None)
    assert record.status.observed_generation == record.spec.generation
    is_revoked = record.spec.revocation is not None
    assert is_revoked is (expected.place is None) or expected.may_be_revoked
    if is_revoked:
        assert record.is_tombstone
        assert not cloud.entries(life.device)
        assert expected.was_lost or not any(t.startswith(OUR_PREFIX) for t in cloud.tokens)
    else:
        check_access(life)
    before = cloud.writes()
    await harness.reconcile(life.device)
    assert cloud.writes() == before
    if not is_revoked and not record.status.adopted and not expected.was_lost:
        await harness.rotate(life.device)  # a slot is free
        await harness.run_until(lambda: False, _SETTLED)
        assert cloud.record(life.device).spec.rotation is None


def check_access(life: Life) -> None:
    """Raise AssertionError unless the device can pull what was asked for last, and only there."""
    cloud, expected, record = (
        life.harness.cloud,
        life.expected,
        life.harness.cloud.record(life.device),
    )
    status, grant = record.status, record.status.grant
    assert status.condition.state is State.READY
    assert grant is not None
    assert (grant.ref, status.retiring, status.retained_actions) == (
        expected.place,
        (),
        frozenset(),
    )
    actions = cloud.actions(grant.names.token, registry=grant.ref.registry)
    assert actions == {f"repositories/{name}/content/read" for name in expected.repositories}
    if status.condition.reason is Reason.ADOPTED:
        assert expected.adopts
        return
    held = cloud.devices[life.device].held
    assert set(held) == {grant.ref.name} or expected.was_lost
    assert cloud.site_accepts(grant.ref, grant.names.token, held[grant.ref.name])


PAIRS = list(product(REQUESTS, repeat=2))
_EVERY_CALL = "EVERY_CALL" in os.environ
"""Whether everything is tried, as `make test-every-call` does, and not a share of it."""
_CHANCE = random.Random(7)  # noqa: S311 - chance, not secrets
SOME = [(pair, (_CHANCE.randrange(1, 25),), bool(_CHANCE.getrandbits(1))) for pair in PAIRS]
TRIPLES = [
    (
        tuple(_CHANCE.choices(list(REQUESTS), k=3)),
        (_CHANCE.randrange(1, 25), _CHANCE.randrange(1, 25)),
        bool(_CHANCE.getrandbits(1)),
    )
    for _ in range(400 if _EVERY_CALL else 100)
]


def quick(count: int, *, every: int) -> list[Any]:
    """The numbers of the cases; all but a share are slow."""
    return [n if n % every == 1 else pytest.param(n, marks=pytest.mark.slow) for n in range(count)]


@pytest.mark.parametrize("number", quick(len(SOME), every=6))
async def test_two_requests_are_both_kept(number: int) -> None:
    names, calls, crash = SOME[number]
    life = await play(names, calls, crash=crash)
    if life is not None:
        await check(life)


@pytest.mark.parametrize("number", quick(len(TRIPLES), every=10))
async def test_three_requests_are_all_kept(number: int) -> None:
    names, calls, crash = TRIPLES[number]
    life = await play(names, calls, crash=crash)
    if life is not None:
        await check(life)


@pytest.mark.slow
@pytest.mark.parametrize("names", PAIRS, ids=" then ".join)
async def test_a_request_at_each_call_of_another_keeps_both(names: tuple[str, str]) -> None:
    """The worker goes on at every other call, and crashes after the others."""
    number = PAIRS.index(names)
    step = 1 if _EVERY_CALL else 10
    for call in range(1 + number % step, 80, step):
        life = await play(names, (call,), crash=bool((call + number) % 2))
        if life is None:
            assert call > 1
            break
        await check(life)
