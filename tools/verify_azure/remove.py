"""Removes everything of a run, and of runs that died."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from tools.verify_azure.journal import Journal, journals
from tools.verify_azure.plan import EXPIRES, GROUP_VERSION, ROLE_VERSION, TAG, VAULT_VERSION, Run
from tools.verify_azure.rest import Arm

_UNDER_WAY_SECONDS = 10.0
"""A request of a process that was killed may take effect so much later."""
_VAULT_LOOKS = 4


def remove(arm: Arm, journal: Journal, *, say: Callable[[str], None]) -> None:
    """Remove everything of a run and then its note; harmless when repeated. Raises Refused."""
    run = journal.run
    if journal.has_begun(run.group):
        say(f"Removing the resource group {run.group.rpartition('/')[2]}")
        for assignment in run.role_assignments:
            if journal.has_begun(assignment):
                arm.delete(assignment, api_version=ROLE_VERSION)
        _delete_group(arm, run)
    if journal.has_begun(run.vault):
        _purge_vault(arm, run, say=say)
    journal.close()


def remove_leftovers(
    arm: Arm, folder: Path, *, subscription: str, say: Callable[[str], None]
) -> None:
    """Remove what runs left that have no process any more. Raises Refused.

    Finds them by their notes, and by the tags of resource groups where a note was lost.
    """
    noted = journals(folder) if folder.exists() else []
    for journal in noted:
        if journal.run.endpoint != arm.endpoint:
            say(f"Left alone: {journal.path} is about {journal.run.endpoint}")
            continue
        with journal.locked(wait=False) as is_ours:
            if is_ours:
                remove(arm, journal, say=say)
            else:
                say(f"Left alone: the run {journal.run.id} is under way, or being removed")
    for run in _expired_runs(arm, subscription):
        if run.id not in {journal.run.id for journal in noted}:
            journal = Journal.start(folder, run)
            for resource in (run.group, run.vault, *run.role_assignments):
                journal.note(resource)
            remove(arm, journal, say=say)


def _delete_group(arm: Arm, run: Run) -> None:
    if not arm.delete(run.group, api_version=GROUP_VERSION):
        arm.wait(_UNDER_WAY_SECONDS)
        arm.delete(run.group, api_version=GROUP_VERSION)
    arm.until_gone(run.group, api_version=GROUP_VERSION)


def _purge_vault(arm: Arm, run: Run, *, say: Callable[[str], None]) -> None:
    for look in range(_VAULT_LOOKS):
        if arm.get(run.deleted_vault, api_version=VAULT_VERSION) is not None:
            say("Purging the vault")
            arm.post(f"{run.deleted_vault}/purge", api_version=VAULT_VERSION)
            arm.until_gone(run.deleted_vault, api_version=VAULT_VERSION)
            return
        if look < _VAULT_LOOKS - 1:
            arm.wait(_UNDER_WAY_SECONDS)


def _expired_runs(arm: Arm, subscription: str) -> list[Run]:
    groups = arm.list(
        f"/subscriptions/{subscription}/resourceGroups",
        api_version=GROUP_VERSION,
        **{"$filter": f"tagName eq '{TAG}'"},
    )
    now = datetime.now(UTC)
    runs = [
        (
            Run(
                id=group["tags"][TAG],
                endpoint=arm.endpoint,
                subscription=subscription,
                region=group["location"],
                started=group["tags"][EXPIRES],
            ),
            group["name"],
        )
        for group in groups
        if EXPIRES in group["tags"] and datetime.fromisoformat(group["tags"][EXPIRES]) < now
    ]
    return [run for run, name in runs if run.group.endswith(f"/{name}")]
