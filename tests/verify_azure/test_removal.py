"""Removal, where a note was lost, or says more than was made."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from azure.identity import ManagedIdentityCredential

from local_azure.stack import Stack
from local_azure.stack.options import OPERATOR_CLIENT_ID, SUBSCRIPTION_ID
from tools.verify_azure.journal import Journal, journals
from tools.verify_azure.plan import LIFETIME, Run, resources
from tools.verify_azure.remove import remove, remove_leftovers
from tools.verify_azure.rest import Arm, Refused

from .runs import left

NOW = datetime.now(UTC)


@pytest.fixture
def waits() -> list[float]:
    """The pauses that were asked for. None is made."""
    return []


@pytest.fixture
def arm(stack: Stack, waits: list[float]) -> Arm:
    credential = ManagedIdentityCredential(client_id=OPERATOR_CLIENT_ID)
    return Arm(credential, endpoint=stack.arm_endpoint, wait=waits.append)


def a_run(stack: Stack, *, started: datetime = NOW) -> Run:
    return Run(
        id="0123456789",
        endpoint=stack.arm_endpoint,
        subscription=SUBSCRIPTION_ID,
        region="westeurope",
        started=started.isoformat(),
    )


def say_to(lines: list[str]) -> Callable[[str], None]:
    return lines.append


async def test_the_group_of_an_expired_run_without_a_note_is_removed(
    stack: Stack, arm: Arm, tmp_path: Path
) -> None:
    run = a_run(stack, started=NOW - LIFETIME - timedelta(minutes=1))
    stack.resource_groups.put(
        SUBSCRIPTION_ID,
        run.group.rpartition("/")[2],
        {"location": run.region, "tags": run.tags()},
    )
    await asyncio.to_thread(
        remove_leftovers, arm, tmp_path, subscription=SUBSCRIPTION_ID, say=say_to([])
    )
    assert left(stack) == []
    assert journals(tmp_path) == []


async def test_the_group_of_a_run_that_may_be_under_way_elsewhere_is_left_alone(
    stack: Stack, arm: Arm, tmp_path: Path
) -> None:
    name = a_run(stack).group.rpartition("/")[2]
    body = {"location": "westeurope", "tags": a_run(stack).tags()}
    stack.resource_groups.put(SUBSCRIPTION_ID, name, body)
    await asyncio.to_thread(
        remove_leftovers, arm, tmp_path, subscription=SUBSCRIPTION_ID, say=say_to([])
    )
    assert left(stack) == [name]
    group = stack.resource_groups.delete(name)
    assert group is not None
    assert group.removal is not None
    await group.removal


async def test_what_was_noted_and_never_made_is_looked_for_a_while(
    stack: Stack, arm: Arm, tmp_path: Path, waits: list[float]
) -> None:
    run = a_run(stack)
    journal = Journal.start(tmp_path, run)
    journal.note(run.group)
    journal.note(run.vault)
    await asyncio.to_thread(remove, arm, journal, say=say_to([]))
    assert sum(waits) >= 30
    assert journals(tmp_path) == []


async def test_a_run_at_another_endpoint_is_left_alone_and_named(
    stack: Stack, arm: Arm, tmp_path: Path
) -> None:
    run = Run(**(a_run(stack).to_json() | {"endpoint": "https://elsewhere.test"}))
    journal = Journal.start(tmp_path, run)
    lines: list[str] = []
    await asyncio.to_thread(
        remove_leftovers, arm, tmp_path, subscription=SUBSCRIPTION_ID, say=say_to(lines)
    )
    assert lines == [f"Left alone: {journal.path} is about https://elsewhere.test"]
    assert [found.run for found in journals(tmp_path)] == [run]


async def test_what_is_in_a_subscription_that_the_caller_does_not_see_is_not_taken_for_gone(
    stack: Stack, arm: Arm, tmp_path: Path
) -> None:
    unseen = {"subscription": "0b1f6471-1bf0-4dda-aec3-cb9272f09590"}
    run = Run(**(a_run(stack).to_json() | unseen))
    journal = Journal.start(tmp_path, run)
    journal.note(run.group)
    with pytest.raises(Refused, match="SubscriptionNotFound"):
        await asyncio.to_thread(remove, arm, journal, say=say_to([]))
    assert [found.run for found in journals(tmp_path)] == [run]


def test_names_fit_into_azures_limits_and_follow_from_the_id() -> None:
    run = Run.new(endpoint="https://arm.test", subscription=SUBSCRIPTION_ID, region="westeurope")
    again = Run(**run.to_json())
    assert 3 <= len(run.name) <= 24
    assert run.name.isalnum()
    assert run.role_assignments == again.role_assignments
    assert len(run.role_assignments) == 5
    assert run.to_json() == again.to_json()


def test_the_vault_of_a_run_can_be_purged() -> None:
    run = Run.new(endpoint="https://arm.test", subscription=SUBSCRIPTION_ID, region="westeurope")
    (vault,) = (each for each in resources(run, tenant="t") if each.path == run.vault)
    assert "enablePurgeProtection" not in vault.body["properties"]
    assert vault.body["properties"]["softDeleteRetentionInDays"] == 7
