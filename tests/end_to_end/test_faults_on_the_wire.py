"""Promise: after any crash, refusal or lost answer a device converges to the same end."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, replace
from itertools import count

import pytest

from firstpull.bootstrap import Application
from local_azure.container_registry.models import AT_ONCE
from local_azure.kernel.faults import Fault, FaultKind
from local_azure.stack import Stack
from tests.firstpull.records import grant_of

from .cloud import cloud_registry, register, secret_versions
from .deployments import deployed
from .end_state import check_onboarded
from .faults import ALL, STORAGE, Crashed, Kind, Line, with_faults
from .in_process import Firstpull

_PLANTS = tuple(f"plant{number:02}" for number in range(24, 32))
_DEVICES_PER_PLANT = 48
_CLOUD = r"(arm|keyVault|iotHub)\..*"

FAULTS = {
    "503 before any effect": Fault(_CLOUD, FaultKind.STATUS, status=503),
    "429 with Retry-After": Fault(_CLOUD, FaultKind.STATUS, status=429, retry_after="1"),
    "connection reset before any effect": Fault(_CLOUD, FaultKind.RESET),
    "answer lost after the effect": Fault(_CLOUD, FaultKind.ANSWER_LOST),
}

step = pytest.mark.parametrize(
    "step",
    [
        pytest.param(9, id="some calls"),
        pytest.param(1, id="every call", marks=[pytest.mark.slow, pytest.mark.timeout(1200)]),
    ],
)
"""The distance between the calls that fail, each for a device of its own."""


@dataclass(frozen=True)
class Lab:
    """firstpull in this process, and a new device for each fault."""

    firstpull: Firstpull
    numbers: Iterator[int] = field(default_factory=count)

    @property
    def stack(self) -> Stack:
        """Where it runs."""
        return self.firstpull.stack

    @property
    def is_quick(self) -> bool:
        """Whether each device needs the same calls: how often a slow operation is read varies."""
        return self.stack.cloud.settings.operation_lengths == AT_ONCE

    def new_device(self) -> tuple[str, str]:
        """A registered device, and the connected registry that it is for."""
        number = next(self.numbers)
        device_id, plant = f"fault-{number:03}", _PLANTS[number // _DEVICES_PER_PLANT]
        register(self.stack, device_id)
        registry = cloud_registry(self.stack)
        for scope_map in registry.scope_maps():
            if scope_map.name.startswith("fp-"):  # so that each device has the shared one written
                registry.update_scope_map(scope_map.name, actions=["repositories/x/content/read"])
        return device_id, plant

    async def onboard(self, application: Application, device_id: str, plant: str) -> None:
        """From the request to the delivery."""
        await self.firstpull.ask(application, device_id, plant)
        await self.firstpull.settle(application, device_id, plant)

    async def check(self, device_id: str, plant: str) -> None:
        """The end is the same, for a process that knows nothing of the fault."""
        await check_onboarded(self.firstpull, self.firstpull.application(), device_id, plant)


@pytest.fixture(scope="module")
async def lab(stack: Stack) -> AsyncIterator[Lab]:
    async with deployed(stack, "faults", *_PLANTS) as deployment:
        lab = Lab(deployment.firstpull)
        await lab.onboard(deployment.application, *lab.new_device())  # opens the connections
        yield lab


async def _calls_of_one_onboarding(lab: Lab) -> list[str]:
    device_id, plant = lab.new_device()
    lab.stack.kernel.calls.reset()
    await lab.onboard(lab.firstpull.application(), device_id, plant)
    calls = lab.stack.kernel.calls.latest()
    return [f"{c.service}.{c.operation}" for c in calls if c.service != "identity"]


@step
@pytest.mark.parametrize("name", FAULTS)
async def test_a_device_converges_whichever_call_to_azure_fails(
    lab: Lab, name: str, step: int
) -> None:
    calls = await _calls_of_one_onboarding(lab)
    first = list(FAULTS).index(name) % step  # so that the kinds share the calls out
    wrong = {}
    for number in range(first, len(calls), step):
        operation, before = calls[number], calls[:number].count(calls[number])
        device_id, plant = lab.new_device()
        fault = replace(FAULTS[name], operation=re.escape(operation), skip=before)
        lab.stack.kernel.faults.add(fault)
        try:
            await lab.onboard(lab.firstpull.application(), device_id, plant)
            assert fault.hits == 1 or not lab.is_quick, "the fault was not met"
            await lab.check(device_id, plant)
        except AssertionError as error:
            wrong[f"{operation} after {before} others"] = str(error).splitlines()[:4]
        lab.stack.kernel.faults.clear()
    assert wrong == {}


@step
@pytest.mark.parametrize("kind", [Kind.REFUSED, Kind.ANSWER_LOST])
async def test_a_device_converges_whichever_call_to_storage_fails(
    lab: Lab, kind: Kind, step: int
) -> None:
    wrong, reached = {}, 0
    for number in count(1, step):
        device_id, plant = lab.new_device()
        line = Line(kind, at=number)
        application = lab.firstpull.application(with_faults(lab.firstpull.ports, line, STORAGE))
        try:
            await lab.onboard(application, device_id, plant)
            if not line.was_reached:
                break
            reached = number
            await lab.check(device_id, plant)
        except AssertionError as error:
            wrong[number] = str(error).splitlines()[:4]
    assert wrong == {}
    assert reached > step


@step
async def test_a_device_converges_after_whichever_call_its_process_dies(
    lab: Lab, step: int
) -> None:
    wrong, reached = {}, 0
    for number in count(1, step):
        device_id, plant = lab.new_device()
        ports = with_faults(lab.firstpull.ports, Line(Kind.CRASH, at=number), ALL)
        try:
            await lab.onboard(lab.firstpull.application(ports), device_id, plant)
            break
        except Crashed:
            reached = number
        try:
            await lab.onboard(lab.firstpull.application(), device_id, plant)
            await lab.check(device_id, plant)
        except AssertionError as error:
            wrong[number] = str(error).splitlines()[:4]
    assert wrong == {}
    assert reached > step


async def test_a_password_that_was_stored_twice_is_the_same_in_both_versions(lab: Lab) -> None:
    device_id, plant = lab.new_device()
    lab.stack.kernel.faults.add(Fault("keyVault.secrets.set", FaultKind.ANSWER_LOST))
    application = lab.firstpull.application()
    await lab.onboard(application, device_id, plant)
    await lab.firstpull.reconcile_again(application, device_id)

    record = await lab.firstpull.record(device_id)
    versions = secret_versions(lab.stack, grant_of(record).names.secret)
    assert len(versions) == 2
    assert all(version.enabled for version in versions)
    assert len({version.value.get_secret_value() for version in versions}) == 1
