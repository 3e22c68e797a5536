"""Promise: after any crash, refusal or lost answer a device converges to the same end."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, replace
from itertools import count

import pytest

from firstpull.bootstrap import Application
from local_azure.kernel.faults import Fault, FaultKind
from local_azure.stack import Stack
from tests.firstpull.records import grant_of

from .cloud import cloud_registry, forget_devices, register, secret_versions
from .end_state import check_onboarded
from .faults import ALL, STORAGE, Crashed, Kind, Line, troubled
from .in_process import Firstpull, connected

_PLANTS = tuple(f"plant{number:02}" for number in range(24, 32))
_DEVICES_PER_PLANT = 48
_CLOUD = r"(arm|keyVault|iotHub)\..*"
_POLL = "arm.tokens.operationStatus"
_CASES_AT_LEAST = 15
"""An onboarding makes more calls than this; fewer cases would mean that nothing was tried."""

FAULTS = {
    "503 before any effect": Fault(_CLOUD, FaultKind.STATUS, status=503),
    "429 with Retry-After": Fault(_CLOUD, FaultKind.STATUS, status=429, retry_after="1"),
    "connection reset before any effect": Fault(_CLOUD, FaultKind.RESET),
    "answer lost after the effect": Fault(_CLOUD, FaultKind.ANSWER_LOST),
}


@dataclass(frozen=True)
class Lab:
    """firstpull in this process, and a fresh device for each case."""

    firstpull: Firstpull
    numbers: Iterator[int] = field(default_factory=count)

    @property
    def stack(self) -> Stack:
        """The session's."""
        return self.firstpull.stack

    def fresh(self) -> tuple[str, str]:
        """A registered device, and the connected registry it is for."""
        number = next(self.numbers)
        device_id, plant = f"fault-{number:03}", _PLANTS[number // _DEVICES_PER_PLANT]
        register(self.stack, device_id)
        self._spoil_scope_maps()
        return device_id, plant

    async def onboard(self, application: Application, device_id: str, plant: str) -> None:
        """From the webhook to the delivery."""
        await self.firstpull.ask(application, device_id, plant)
        await self.firstpull.settle(application, device_id, plant)

    async def check(self, device_id: str, plant: str) -> None:
        """The end has to be the same, to a process that knows nothing of the way."""
        await check_onboarded(self.firstpull, self.firstpull.application(), device_id, plant)

    def _spoil_scope_maps(self) -> None:
        """So that each case writes the shared scope map, too."""
        registry = cloud_registry(self.stack)
        for scope_map in registry.scope_maps():
            if scope_map.name.startswith("fp-"):
                registry.update_scope_map(scope_map.name, actions=["repositories/x/content/read"])


@pytest.fixture(scope="module")
async def lab(stack: Stack) -> AsyncIterator[Lab]:
    async with connected(stack) as firstpull:
        lab = Lab(firstpull)
        device_id, plant = lab.fresh()
        await lab.onboard(firstpull.application(), device_id, plant)  # connections are open now
        yield lab
        await forget_devices(stack)


async def _calls_of_one_onboarding(lab: Lab) -> list[str]:
    device_id, plant = lab.fresh()
    lab.stack.kernel.calls.reset()
    await lab.onboard(lab.firstpull.application(), device_id, plant)
    calls = lab.stack.kernel.calls.latest()
    return [f"{c.service}.{c.operation}" for c in calls if c.service != "identity"]


async def test_an_onboarding_calls_what_is_written_here(lab: Lab) -> None:
    writes = [
        "arm.connectedRegistries.update",
        "arm.registries.generateCredentials",
        "arm.scopeMaps.createOrUpdate",
        "arm.tokens.createOrUpdate",
        "iotHub.twins.update",
        "keyVault.secrets.set",
    ]
    calls = await _calls_of_one_onboarding(lab)
    assert [call for call in sorted(calls) if call in writes] == writes
    assert len(calls) <= 20


@pytest.mark.parametrize("name", FAULTS)
async def test_a_device_converges_whichever_call_to_the_cloud_goes_wrong(
    lab: Lab, name: str
) -> None:
    calls = await _calls_of_one_onboarding(lab)
    assert len(calls) >= _CASES_AT_LEAST
    wrong = {}
    for number, operation in enumerate(calls):
        before = calls[:number].count(operation)
        device_id, plant = lab.fresh()
        rule = replace(FAULTS[name], operation=re.escape(operation), skip=before)
        lab.stack.kernel.faults.add(rule)
        try:
            await lab.onboard(lab.firstpull.application(), device_id, plant)
            # How often the SDK asks for the state of a new token is a matter of milliseconds.
            assert rule.hits == 1 or operation == _POLL, "the fault was not met"
            await lab.check(device_id, plant)
        except AssertionError as error:
            wrong[f"{operation} after {before} others"] = str(error).splitlines()[:4]
        lab.stack.kernel.faults.clear()
    assert wrong == {}


async def test_a_password_that_was_stored_twice_is_the_same_in_both_versions(lab: Lab) -> None:
    device_id, plant = lab.fresh()
    lab.stack.kernel.faults.add(Fault("keyVault.secrets.set", FaultKind.ANSWER_LOST))
    application = lab.firstpull.application()
    await lab.onboard(application, device_id, plant)
    await lab.firstpull.look_again(application, device_id)

    record = await lab.firstpull.record(device_id)
    versions = secret_versions(lab.stack, grant_of(record).names.secret)
    assert len(versions) == 2
    assert all(version.enabled for version in versions)
    assert len({version.value.get_secret_value() for version in versions}) == 1


@pytest.mark.parametrize("kind", [Kind.REFUSED, Kind.ANSWER_LOST])
async def test_a_device_converges_whichever_call_to_the_storage_goes_wrong(
    lab: Lab, kind: Kind
) -> None:
    wrong, reached = {}, 0
    for number in count(1):
        device_id, plant = lab.fresh()
        line = Line(kind, at=number)
        application = lab.firstpull.application(troubled(lab.firstpull.ports, line, STORAGE))
        try:
            await lab.onboard(application, device_id, plant)
            if not line.was_reached:
                break
            reached = number
            await lab.check(device_id, plant)
        except AssertionError as error:
            wrong[number] = str(error).splitlines()[:4]
    assert wrong == {}
    assert reached >= _CASES_AT_LEAST


async def test_a_device_converges_whenever_its_process_dies(lab: Lab) -> None:
    wrong, reached = {}, 0
    for number in count(1):
        device_id, plant = lab.fresh()
        line = Line(Kind.CRASH, at=number)
        ports = troubled(lab.firstpull.ports, line, ALL)
        try:
            if await _survives(lab, lab.firstpull.application(ports), device_id, plant):
                break
            reached = number
            await lab.onboard(lab.firstpull.application(), device_id, plant)
            await lab.check(device_id, plant)
        except AssertionError as error:
            wrong[number] = str(error).splitlines()[:4]
    assert wrong == {}
    assert reached >= 2 * _CASES_AT_LEAST


async def _survives(lab: Lab, application: Application, device_id: str, plant: str) -> bool:
    try:
        await lab.onboard(application, device_id, plant)
    except Crashed:
        return False
    return True
