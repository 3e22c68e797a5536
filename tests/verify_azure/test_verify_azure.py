"""`make verify-azure` on the local Azure: what it finds, and that nothing is left behind."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from local_azure.container_registry.models import AT_ONCE
from local_azure.kernel.faults import Fault, FaultKind
from local_azure.stack import ConnectedRegistryOptions, Stack, StackOptions, start_stack
from local_azure.stack.options import SUBSCRIPTION_ID

from .runs import VerifyRun, is_empty, left, verify_azure

EARLY = "Making a container registry"
"""Before the storage account, which is an Azurite to start."""
LAST_BEFORE_THE_CONTRACT = "Waiting until the roles take effect"


@pytest.fixture(scope="module")
async def stack() -> AsyncIterator[Stack]:
    """A local Azure at the machine's time, which the command keeps. Others move the session's."""
    options = StackOptions(
        seed=20261130, connected_registries=(), operation_lengths=AT_ONCE, throttled=False
    )
    async with start_stack(options) as started:
        started.vault.settings.moving_seconds = (0.0, 0.0)
        yield started


@pytest.fixture(scope="module")
def ca_file(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command trusts."""
    path = tmp_path_factory.mktemp("authority") / "ca.pem"
    path.write_text(stack.ca_pem)
    return path


@pytest.fixture(scope="module")
async def whole_run(
    stack: Stack, ca_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[VerifyRun]:
    """A run from its plan to its end. One answer of the hub is wrong on purpose."""
    stack.kernel.faults.add(
        Fault(operation="iotHub.twins.get", kind=FaultKind.STATUS, status=410, code="Gone")
    )
    folder = tmp_path_factory.mktemp("verify-azure")
    async with verify_azure(stack, ca_file, folder, "--yes") as run:
        await run.ends()
        yield run


@pytest.mark.slow
async def test_a_whole_run_leaves_results_and_nothing_else(whole_run: VerifyRun) -> None:
    assert left(whole_run.stack) == []
    assert whole_run.journals == []
    assert [file.name for file in (whole_run.folder / "journals").iterdir()] == []
    assert whole_run.results["failure"] is None


async def test_price_and_time_are_told_before_anything_is_made(whole_run: VerifyRun) -> None:
    before, _, after = whole_run.screen.partition("Making the resource group")
    assert "Price: at most a day of each" in before
    assert "not verified" in before
    assert "Time: " in before
    assert "Removing the resource group" in after


async def test_a_device_is_onboarded_rotated_and_revoked(whole_run: VerifyRun) -> None:
    steps = {step["title"]: step for step in whole_run.results["lifetime"]}
    assert list(steps) == ["onboarding", "rotation", "revoke"]
    assert [step["problems"] for step in steps.values()] == [[], [], []]
    assert "until the password is refused" in steps["revoke"]["measured"]


async def test_an_answer_that_is_not_as_the_contract_says_is_in_the_results(
    whole_run: VerifyRun,
) -> None:
    (hub,) = (each for each in whole_run.results["contract"] if each["service"] == "iotHub")
    (found,) = (each for each in hub["differences"] if each["id"] == "twins.get")
    assert "status 410" in found["problems"][0]
    assert "### `twins.get`" in whole_run.page
    assert whole_run.process.returncode == 1


async def test_the_results_name_no_subscription_and_no_resource(whole_run: VerifyRun) -> None:
    for text in (str(whole_run.results), whole_run.page):
        assert SUBSCRIPTION_ID not in text
        assert "fpverify" not in text


@pytest.mark.slow
async def test_the_local_azure_with_its_own_timings_is_as_the_contract_says(
    tmp_path: Path,
) -> None:
    site = ConnectedRegistryOptions(name="plantone")
    async with start_stack(StackOptions(seed=20261129, connected_registries=(site,))) as stack:
        ca_file = tmp_path / "ca.pem"
        ca_file.write_text(stack.ca_pem)
        async with verify_azure(stack, ca_file, tmp_path, "--yes") as run:
            assert await run.ends() == 0, run.screen
            contract = {each["service"]: each for each in run.results["contract"]}
            assert not any(each["differences"] for each in contract.values())
            asked = [name for name, each in contract.items() if each["not_asked"] is None]
            assert asked == ["containerRegistry", "iotHub", "keyVault", "registry"]
            assert left(stack) == []


@pytest.mark.parametrize(
    "at",
    [
        EARLY,
        pytest.param("Making its sync token", marks=pytest.mark.slow),
        pytest.param("A device: rotation", marks=pytest.mark.slow),
    ],
)
async def test_a_run_that_is_killed_leaves_nothing_behind(
    stack: Stack, ca_file: Path, tmp_path: Path, at: str
) -> None:
    async with verify_azure(stack, ca_file, tmp_path, "--yes") as run:
        await run.says(at)
        assert left(stack)
        run.process.kill()
        await is_empty(run)


@pytest.mark.parametrize(
    ("number", "at"),
    [
        (signal.SIGINT, EARLY),
        pytest.param(signal.SIGINT, LAST_BEFORE_THE_CONTRACT, marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, LAST_BEFORE_THE_CONTRACT, marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, LAST_BEFORE_THE_CONTRACT, marks=pytest.mark.slow),
    ],
)
async def test_a_run_that_is_interrupted_removes_everything(
    stack: Stack, ca_file: Path, tmp_path: Path, number: signal.Signals, at: str
) -> None:
    async with verify_azure(stack, ca_file, tmp_path, "--yes") as run:
        await run.says(at)
        run.process.send_signal(number)
        assert await run.ends() == 128 + number, run.screen
        assert "Removing the resource group" in run.screen
        assert left(stack) == []
        assert run.journals == []


@pytest.mark.slow
async def test_the_next_start_removes_what_a_run_left_whose_watcher_died_too(
    stack: Stack, ca_file: Path, tmp_path: Path
) -> None:
    async with verify_azure(stack, ca_file, tmp_path, "--yes") as run:
        await run.says("Making a connected registry")
        os.kill(run.watcher, signal.SIGKILL)
        run.process.kill()
        await run.process.wait()
        assert len(run.journals) == 1
    async with verify_azure(stack, ca_file, tmp_path) as following:
        assert await following.ends() == 2
        assert "Nothing is made." in following.screen
        assert left(stack) == []
        assert following.journals == []


@pytest.mark.slow
async def test_a_run_under_way_is_left_alone_by_another_start(
    stack: Stack, ca_file: Path, tmp_path: Path
) -> None:
    async with verify_azure(stack, ca_file, tmp_path, "--yes") as run:
        await run.says("Making its sync token")
        async with verify_azure(stack, ca_file, tmp_path) as other:
            await other.ends()
            assert "is under way, or being removed" in other.screen
        assert left(stack)
        run.process.kill()
        await is_empty(run)


@pytest.mark.parametrize(
    ("operation", "role"),
    [
        pytest.param("resourceGroups.put", "Contributor", marks=pytest.mark.slow),
        ("roleAssignments.write", "Role Based Access Control Administrator"),
        pytest.param("vaults.createOrUpdate", "Contributor", marks=pytest.mark.slow),
    ],
)
async def test_a_refusal_names_the_missing_role_and_leaves_nothing(
    stack: Stack, ca_file: Path, tmp_path: Path, operation: str, role: str
) -> None:
    refusal = Fault(
        operation=f"arm.{operation}", kind=FaultKind.STATUS, status=403, code="AuthorizationFailed"
    )
    stack.kernel.faults.add(refusal)
    async with verify_azure(stack, ca_file, tmp_path, "--yes") as run:
        assert await run.ends() == 1
        assert f"You need the role {role} (or Owner)" in run.screen
        assert left(stack) == []
        assert run.journals == []
        assert "AuthorizationFailed" in run.results["failure"]


async def test_without_an_answer_nothing_is_made(
    stack: Stack, ca_file: Path, tmp_path: Path
) -> None:
    stack.kernel.calls.reset()
    async with verify_azure(stack, ca_file, tmp_path) as run:
        assert await run.ends() == 2
        assert "Price: " in run.screen
    await asyncio.sleep(0)
    assert {call.method for call in stack.kernel.calls.latest() if call.service == "arm"} == {"GET"}
