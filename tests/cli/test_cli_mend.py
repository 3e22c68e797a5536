"""The doctor, the audit, lost records and the limit of revokes, as an operator works with them."""

from __future__ import annotations

import csv
import io
import json
import re

import pytest
from firstpull_cli.errors import Exit

from tests.endpoints.endpoints import Endpoints

from .command import Operator
from .fake_service import fake_service
from .test_cli_look import onboarded

_FINDING = {
    "name": "LockForbidsChanges",
    "severity": "error",
    "subject": "contosoregistry",
    "what": "The lock keep is ReadOnly.",
    "why": "The lock forbids to write tokens.",
    "command": f"az lock delete --ids /subscriptions/{'x' * 300}",
}


async def test_a_command_that_mends_is_on_one_line_to_be_copied(operator: Operator) -> None:
    document = {"at": "2026-11-29T12:00:00Z", "findings": [_FINDING], "notChecked": []}
    with fake_service((200, {}, document), (200, {}, document)) as service:
        somebody = Operator(operator.home, {"FIRSTPULL_URL": service.url, "FIRSTPULL_KEY": "k"})
        ran = await somebody.run("doctor")
        assert ran.status == Exit.FAILED
        assert f"  $ {_FINDING['command']}\n" in ran.out
        assert (await somebody.run("doctor", "--json")).document == document


async def test_where_nothing_is_wrong_the_doctor_succeeds(operator: Operator) -> None:
    not_checked = [{"subject": "sites", "why": "The app cannot reach into sites."}]
    document = {"at": "2026-11-29T12:00:00Z", "findings": [], "notChecked": not_checked}
    with fake_service((200, {}, document)) as service:
        somebody = Operator(operator.home, {"FIRSTPULL_URL": service.url, "FIRSTPULL_KEY": "k"})
        ran = await somebody.ok("doctor")
    assert "Nothing is wrong." in ran.out
    assert "Not checked: sites." in ran.out


async def test_the_doctor_of_the_running_app_is_shown(operator: Operator) -> None:
    found = (await operator.run("doctor", "--json")).document
    assert "sites" in {one["subject"] for one in found["notChecked"]}


@pytest.mark.slow
async def test_the_audit_is_exported_as_csv_and_json_lines(
    service: Endpoints, operator: Operator
) -> None:
    await onboarded(service, "cli-audited-1")
    await operator.ok("revoke", "cli-audited-1", "--yes")
    lines = (await operator.ok("audit", "--since", "1h", "--format", "jsonl")).out.splitlines()
    entries = [e for e in map(json.loads, lines) if e["deviceId"] == "cli-audited-1"]
    assert [e["event"] for e in entries] == ["device.intent.recorded", "device.revoke.recorded"]
    assert entries[0]["detail"] == "plant23: hello-world"
    table = (await operator.ok("audit", "--since", "1h", "--format", "csv")).out
    rows = [r for r in csv.DictReader(io.StringIO(table)) if r["deviceId"] == "cli-audited-1"]
    assert [{k: v for k, v in row.items() if v} for row in rows] == entries
    shown = await operator.ok("audit", "--by", "function key")
    assert "cli-audited-1" in shown.out
    assert "0 requests." in (await operator.ok("audit", "--by", "nobody")).err
    assert (await operator.run("audit", "--since", "soon")).status == Exit.USAGE
    assert (await operator.run("audit", "--format", "xml")).status == Exit.USAGE


@pytest.mark.slow
async def test_records_are_rebuilt_after_a_question(service: Endpoints, operator: Operator) -> None:
    await onboarded(service, "cli-rebuilt-1")
    devices = service.tables.get_table_client("devices")
    (lost,) = [e async for e in devices.list_entities() if e["deviceId"] == "cli-rebuilt-1"]
    await devices.delete_entity(lost["PartitionKey"], lost["RowKey"])
    assert (await operator.run("rebuild")).status == Exit.USAGE
    planned = json.loads((await operator.run("rebuild", "--dry-run", "--json")).out)
    assert "cli-rebuilt-1" in {one["deviceId"] for one in planned["rebuilt"]}
    assert (await operator.run("device", "cli-rebuilt-1")).status == Exit.NOT_FOUND
    made = await operator.ok("rebuild", "cli-rebuilt-1", "--yes")
    assert "1 rebuilt" in made.err
    assert (await operator.ok("device", "cli-rebuilt-1")).out.startswith("cli-rebuilt-1")


async def test_more_revokes_are_approved_than_the_limit_of_an_hour_allows(
    service: Endpoints, operator: Operator
) -> None:
    before = (await operator.ok("revokes", "show", "--json")).document
    assert (await operator.run("revokes", "approve", 7)).status == Exit.USAGE
    planned = await operator.ok("revokes", "approve", 7, "--dry-run")
    assert "ApproveRevokes" in planned.out
    assert (await operator.ok("revokes", "show", "--json")).document == before
    approved = (await operator.ok("revokes", "approve", 7, "--yes", "--json")).document
    assert (approved["approved"], approved["room"]) == (7, before["room"] + 7)
    assert "approvedBy" in (await operator.ok("revokes", "show")).out
    assert any("revokes.approved" in line for line in service.lines)


async def test_a_revoke_beyond_the_limit_says_how_it_is_approved(operator: Operator) -> None:
    problem = {"type": "x", "status": 409, "reason": "TooManyRevokes", "detail": "50 an hour."}
    with fake_service((409, {}, problem)) as service:
        somebody = Operator(operator.home, {"FIRSTPULL_URL": service.url, "FIRSTPULL_KEY": "k"})
        ran = await somebody.run("revoke", "press-1", "--yes")
    assert ran.status == Exit.FAILED
    assert "firstpull revokes approve" in ran.err


async def test_the_address_of_the_fleet_page_has_no_key(
    service: Endpoints, operator: Operator
) -> None:
    shown = await operator.ok("open", "--show")
    assert shown.out == f"{service.app.url}/api/fleet\n"


async def test_completion_is_printed_for_each_shell(operator: Operator) -> None:
    for shell in ("bash", "zsh", "fish"):
        # The shell is asked for by name, whatever shell has started the tests.
        by_name = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
        somebody = Operator(operator.home, {"SHELL": f"/bin/{shell}", **by_name})
        ran = await somebody.run("--show-completion", shell)
        assert re.search("firstpull|firstpull_cli", ran.out, re.IGNORECASE), ran
