"""What an operator does to single devices, to rejected messages, and with the sweep."""

from __future__ import annotations

import asyncio
import json
import os
import pty
from datetime import timedelta
from pathlib import Path

import pytest
from firstpull_cli.errors import Exit

from local_azure.stack.options import REGISTRY_NAME
from tests.end_to_end.cloud import cloud_registry, site_of
from tests.endpoints.documents import request
from tests.endpoints.endpoints import ONBOARDING, Endpoints

from .command import COMMAND, Operator
from .test_cli_look import onboarded

_TOKEN = "made-by-hand"  # noqa: S105 - a name


async def test_a_rotation_is_planned_then_waited_for(
    service: Endpoints, operator: Operator
) -> None:
    await onboarded(service, "cli-rotate-1", logged_in=True)
    before = await service.device("cli-rotate-1")
    planned = await operator.ok("rotate", "cli-rotate-1", "--dry-run")
    assert "GeneratePassword" in planned.out
    assert await service.device("cli-rotate-1") == before
    async with operator.started("rotate", "cli-rotate-1", "--wait", "--json") as rotating:

        async def awaits_sync() -> bool:
            device = await service.device("cli-rotate-1")
            return bool(device["condition"]["reason"] == "AwaitingSync")

        await service.until(awaits_sync)
        service.stack.kernel.clock.advance(timedelta(seconds=6))
        assert site_of(service.stack, "plant23").backend.sync()
        out, err = await rotating.communicate()
    assert rotating.returncode == 0, err
    (after,) = json.loads(out)
    assert after["generation"] == after["observedGeneration"] == 2
    assert after["delivery"]["slot"] != before["delivery"]["slot"]


async def test_one_device_that_is_refused_stops_no_other(
    service: Endpoints, operator: Operator
) -> None:
    await onboarded(service, "cli-rotate-2", logged_in=True)
    ran = await operator.run("rotate", "nobody-1", "cli-rotate-2")
    assert ran.status == Exit.FAILED
    assert "nobody-1: DeviceNotKnown" in ran.err
    assert ran.out.startswith("cli-rotate-2  ")
    assert (await operator.run("rotate", "nobody-1")).status == Exit.NOT_FOUND


@pytest.mark.slow
async def test_a_device_moves_with_what_it_may_pull(service: Endpoints, operator: Operator) -> None:
    await onboarded(service, "cli-move-1", logged_in=True)
    planned = await operator.ok("move", "cli-move-1", "--to", "plant24", "--dry-run")
    assert f"JoinConnectedRegistry  {REGISTRY_NAME}/plant24" in planned.out
    (moved,) = json.loads(
        (await operator.ok("move", "cli-move-1", "--to", "plant24", "--wait", "--json")).out
    )
    assert moved["connectedRegistry"] == "plant24"
    assert moved["wants"]["repositories"] == ["hello-world"]
    assert [one["connectedRegistry"] for one in moved["leaving"]] == ["plant23"]
    assert (await operator.run("move", "cli-move-1")).status == Exit.USAGE


async def test_a_revoke_shows_what_will_go_and_asks(service: Endpoints, operator: Operator) -> None:
    await onboarded(service, "cli-revoke-1")
    unanswered = await operator.run("revoke", "cli-revoke-1")
    assert unanswered.status == Exit.USAGE
    assert "--yes" in unanswered.err
    assert "DeleteToken" in unanswered.out
    assert (await service.device("cli-revoke-1"))["generation"] == 1
    assert await _answered(operator, "n", "revoke", "cli-revoke-1") == Exit.FAILED
    assert (await service.device("cli-revoke-1"))["generation"] == 1
    assert await _answered(operator, "y", "revoke", "cli-revoke-1", "--wait") == Exit.OK
    assert (await service.device("cli-revoke-1"))["state"] == "Revoked"
    listed = (await operator.ok("devices", "--json", "--state", "Revoked")).document
    assert "cli-revoke-1" in {device["deviceId"] for device in listed["devices"]}


async def _answered(operator: Operator, answer: str, *words: str) -> int:
    """The status of a command whose question somebody answers at a terminal."""
    terminal, its_side = pty.openpty()
    try:
        os.write(terminal, f"{answer}\n".encode())
        process = await asyncio.create_subprocess_exec(
            *(*COMMAND, *words),
            stdin=its_side,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=operator.home,
            env={**os.environ, "HOME": str(operator.home), **operator.variables},
        )
        _, err = await process.communicate()
        assert b"Revoke cli-revoke-1 at" in err
        assert process.returncode is not None
        return process.returncode
    finally:
        os.close(terminal)
        os.close(its_side)


async def test_a_token_made_by_hand_is_adopted(service: Endpoints, operator: Operator) -> None:
    registry = cloud_registry(service.stack)
    registry.put_scope_map("by-hand", actions=["repositories/hello-world/content/read"])
    scope_map_id = registry.registry_id.child("scopeMaps", "by-hand")
    registry.put_token(_TOKEN, scope_map_id=scope_map_id)
    registry.generate_credentials(registry.registry_id.child("tokens", _TOKEN), name="password1")
    service.register("cli-adopt-1")
    words = ("adopt", "cli-adopt-1", _TOKEN, "-c", "plant23", "-r", "hello-world")
    (adopted,) = json.loads((await operator.ok(*words, "--wait", "--json")).out)
    assert adopted["token"] == _TOKEN


@pytest.mark.slow
async def test_what_is_blocked_fails_the_wait_with_its_remedy(
    service: Endpoints, operator: Operator
) -> None:
    service.register("cli-adopt-2")
    words = ("adopt", "cli-adopt-2", "no-such-token", "-c", "plant23", "-r", "hello-world")
    ran = await operator.run(*words, "--wait")
    assert ran.status == Exit.FAILED
    device = await service.device("cli-adopt-2")
    assert device["condition"]["reason"] == "TokenNotFound"
    assert device["condition"]["remedy"] in ran.err


@pytest.mark.slow
async def test_rejected_messages_are_shown_corrected_and_discarded(
    service: Endpoints, operator: Operator, tmp_path: Path
) -> None:
    await service.discard_all()
    bad = request("cli-poison-1", connectedRegistry="plant23", repositories=["Bad"])
    await service.put_message(ONBOARDING, bad)
    message = await service.until_kept(ONBOARDING)
    listed = await operator.ok("poison", "list")
    assert "/repositories/0: must be in lower case" in listed.out
    assert "cli-poison-1" in (await operator.ok("poison", "show", message["id"])).out
    good = tmp_path / "good.json"
    good.write_text(json.dumps({**bad, "repositories": ["hello-world"]}))
    await operator.ok("poison", "resend", message["id"], "--body", good)
    await service.until_state("cli-poison-1", "Waiting")
    await service.put_message(ONBOARDING, bad)
    await service.until_kept(ONBOARDING)
    await operator.ok("poison", "discard", "--queue", ONBOARDING, "--dry-run")
    assert len(await service.poison()) == 1
    unanswered = await operator.run("poison", "discard", "--queue", ONBOARDING)
    assert unanswered.status == Exit.USAGE
    gone = await operator.ok("poison", "discard", "--queue", ONBOARDING, "--yes", "--json")
    assert gone.document == {"discarded": 1}
    assert await service.poison() == []
    assert (await operator.run("poison", "discard", "gone", "--yes")).status == Exit.NOT_FOUND
    assert (await operator.run("poison", "discard")).status == Exit.USAGE


@pytest.mark.slow
async def test_a_sweep_is_run_and_what_it_holds_is_approved(
    service: Endpoints, operator: Operator
) -> None:
    devices = {f"cli-swept-{number}" for number in range(3)}
    for device_id in devices:
        await onboarded(service, device_id)
    for device_id in devices:
        service.stack.hub.delete_device(device_id, etag=None)
    report = json.loads((await operator.ok("sweep", "run", "--wait", "--json")).out)
    held = {device["deviceId"] for device in report["held"]}
    assert held >= devices
    shown = await operator.ok("sweep", "show")
    assert "to approve or to register again" in shown.out
    assert (await operator.run("sweep", "approve")).status == Exit.USAGE
    assert (await operator.ok("sweep", "show", "--json")).document["approved"] == []
    approved = await operator.ok("sweep", "approve", "--yes")
    assert f"{len(held)} approved" in approved.err


async def test_the_sweep_needs_the_master_key(service: Endpoints, tmp_path: Path) -> None:
    variables = {"FIRSTPULL_URL": service.app.url, "FIRSTPULL_KEY": service.app.key}
    ran = await Operator(tmp_path, variables).run("sweep", "run")
    assert ran.status == Exit.DENIED
    assert "FIRSTPULL_MASTER_KEY" in ran.err
