"""Waiting for the end, for as long as somebody wants to, and watching what happens meanwhile."""

from __future__ import annotations

import asyncio
import os
import pty
import signal
from contextlib import suppress
from pathlib import Path

import pytest
from firstpull_cli.errors import CliError, Exit
from firstpull_cli.journal import Journal
from firstpull_cli.onboarding import ROWS_AT_ONCE, send_rows, wait_for_outcomes
from firstpull_cli.rows import Row
from firstpull_cli.waiting import wait_for_request

from .command import COMMAND, Operator
from .fake_service import FakeService, Told, fake_service
from .test_cli_requests import api_of


def device(device_id: str, state: str, reason: str = "Converging") -> dict[str, object]:
    """A device as the API lists it."""
    return {
        "deviceId": device_id,
        "hub": "h",
        "state": state,
        "generation": 1,
        "condition": {"reason": reason, "message": "a message", "since": "2026-11-29T12:00:00Z"},
        "wants": {"target": "plant01", "repositories": ["hello-world"]},
    }


def listing(*devices: dict[str, object], after: str | None = None) -> Told:
    """A page of the listing."""
    return 200, {}, {"devices": list(devices), **({"next": after} if after else {})}


def taken(*device_ids: str) -> Told:
    """The answer to a batch that was taken."""
    rows = [
        {"row": n, "status": 202, "deviceId": name, "hub": "h", "generation": 1}
        for n, name in enumerate(device_ids)
    ]
    return 200, {}, {"rows": rows}


def operator_of(service: FakeService, home: Path) -> Operator:
    """An operator of a fake service."""
    return Operator(home, {"FIRSTPULL_URL": service.url, "FIRSTPULL_KEY": "sesame"})


def test_the_end_of_a_request_is_asked_for_when_the_service_says() -> None:
    recorded: Told = (
        202,
        {"Operation-Location": "https://elsewhere.test/api/devices:operation?x=1"},
        {},
    )
    running = (200, {"Retry-After": "9"}, {"status": "Running"})
    pauses: list[float] = []
    with fake_service(recorded, running, running, (200, {}, {"status": "Succeeded"})) as service:
        api = api_of(service, pauses)
        wait_for_request(api, api.send("DELETE", "devices/d-1"), seconds=60)
    assert pauses == [9.0, 9.0]
    assert {asked for asked, _ in service.requests[1:]} == {"GET /api/devices:operation?x=1"}


def test_a_request_that_is_not_done_in_time_goes_on_and_has_a_status_of_its_own() -> None:
    condition = {"reason": "AwaitingSync", "message": "The site has not synced."}
    running = (200, {"Retry-After": "9"}, {"status": "Running", "condition": condition})
    recorded: Told = (202, {"Operation-Location": "/api/devices:operation?x=1"}, {})
    with fake_service(recorded, running) as service:
        api = api_of(service)
        with pytest.raises(CliError, match="AwaitingSync: The site has not synced") as raised:
            wait_for_request(api, api.send("DELETE", "devices/d-1"), seconds=8)
    assert raised.value.status is Exit.TIMED_OUT
    assert "firstpull device" in raised.value.advice


def test_a_thousand_devices_are_sent_and_waited_for_in_few_requests(tmp_path: Path) -> None:
    names = [f"d-{number}" for number in range(1000)]
    rows = [Row(line=n, document={"deviceId": name}) for n, name in enumerate(names, start=2)]
    sent = [taken(*names[at : at + ROWS_AT_ONCE]) for at in range(0, 1000, ROWS_AT_ONCE)]
    under_way = [device(name, "Converging") for name in names]
    stuck = device("d-7", "Blocked", "ConnectedRegistryFull")
    looks = [listing(*under_way, after="more"), listing(), listing(stuck)]
    with fake_service(*sent, *looks) as service:
        api = api_of(service)
        journal = Journal(tmp_path / "journal.jsonl")
        outcomes = send_rows(api, rows, journal=journal, at_once=ROWS_AT_ONCE)
        ended, late = wait_for_outcomes(api, outcomes, seconds=60)
    assert len(service.requests) == 10 + 3
    assert all("size=1000" in asked for asked, _ in service.requests[10:])
    assert not late
    assert [one.device_id for one in ended if one.state != "Delivered"] == ["d-7"]


async def test_onboard_ends_with_a_status_of_its_own_when_the_wait_is_over(tmp_path: Path) -> None:
    with fake_service(taken("d-1", "d-2"), listing(device("d-2", "Converging"))) as service:
        ran = await operator_of(service, tmp_path).run(
            *("onboard", "-", "--format", "jsonl", "--wait", "--timeout", 0),
            stdin='{"deviceId": "d-1"}\n{"deviceId": "d-2"}\n',
        )
    assert ran.status == Exit.TIMED_OUT, ran.err
    assert "2 taken, 0 refused, 1 Converging, 1 Delivered." in ran.out


async def test_a_run_that_somebody_interrupts_is_gone_on_with_by_the_same_command(
    tmp_path: Path,
) -> None:
    (tmp_path / "devices.csv").write_text("deviceId,repositories\nd-1,app\nd-2,app\n")
    later: Told = (503, {"Retry-After": "100"}, {"reason": "Throttled", "detail": "slow down"})
    words = ("onboard", "devices.csv", "--batch", 1)
    with fake_service(taken("d-1"), later, taken("d-2")) as service:
        operator = operator_of(service, tmp_path)
        async with operator.started(*words) as interrupted:
            assert interrupted.stderr is not None
            while b"Throttled" not in await interrupted.stderr.readline():
                assert interrupted.returncode is None
            interrupted.send_signal(signal.SIGINT)
            _, said = await interrupted.communicate()
        assert interrupted.returncode == 130
        assert b"The same command goes on where this one stopped." in said
        ran = await operator.ok(*words, "--json")
    assert "Going on after 1 rows" in ran.err
    assert [row["deviceId"] for row in ran.document["rows"]] == ["d-1", "d-2"]
    assert len(service.requests) == 3


async def test_each_refused_row_is_shown_with_its_line_its_reason_and_why(tmp_path: Path) -> None:
    problem = {"reason": "NotAllowed", "detail": "plant09 is not listed in the policy"}
    refused = {"row": 1, "status": 403, "deviceId": "d-2", "problem": problem}
    _, _, document = taken("d-1")
    assert isinstance(document, dict)
    with fake_service((207, {}, {"rows": [*document["rows"], refused]})) as service:
        ran = await operator_of(service, tmp_path).run(
            "onboard", "-", stdin="deviceId,repositories\nd-1,app\nd-2,app\nd-1,app\n"
        )
    assert ran.status == Exit.FAILED
    shown = [" ".join(line.split()) for line in ran.out.splitlines()]
    assert "3 d-2 refused NotAllowed plant09 is not listed in the policy" in shown
    assert "4 d-1 refused NotARequest names the device of line 2 again" in shown
    assert shown[-1] == "1 taken, 2 refused."


async def test_who_watches_by_a_pipe_gets_a_line_for_each_change(tmp_path: Path) -> None:
    same = listing(device("d-1", "Converging"))
    answers = (same, same, listing(device("d-1", "Ready", "Acknowledged")), listing())
    with fake_service(*answers, *[listing()] * 1000) as service:
        operator = operator_of(service, tmp_path)
        async with operator.started("devices", "--watch", "--interval", "0.1") as watching:
            assert watching.stdout is not None
            lines = [(await watching.stdout.readline()).decode().split()[1:] for _ in range(3)]
            watching.send_signal(signal.SIGINT)
            assert await watching.wait() == 130
    assert lines == [
        ["d-1", "Converging", "Converging", "-"],
        ["d-1", "Ready", "Acknowledged", "-"],
        ["d-1", "no", "longer", "listed", "Acknowledged", "-"],
    ]


async def test_who_watches_at_a_terminal_sees_a_table_that_changes(tmp_path: Path) -> None:
    terminal, its_side = pty.openpty()
    first, then = listing(device("d-1", "Converging")), listing(device("d-1", "Ready", "Delivered"))
    try:
        with fake_service(first, *[then] * 1000) as service:
            operator = operator_of(service, tmp_path)
            process = await asyncio.create_subprocess_exec(
                *(*COMMAND, "devices", "--watch", "--interval", "0.1"),
                stdout=its_side,
                cwd=tmp_path,
                env={**os.environ, "TERM": "xterm", "HOME": str(tmp_path), **operator.variables},
            )
            os.close(its_side)
            seen, is_watching = "", True
            with suppress(OSError):  # of a terminal whose program has ended
                while text := await asyncio.to_thread(os.read, terminal, 4096):
                    seen += text.decode(errors="replace")
                    if is_watching and "Ready" in seen.partition("Converging")[2]:
                        process.send_signal(signal.SIGINT)
                        is_watching = False
            assert await process.wait() == 130
    finally:
        os.close(terminal)
    assert "CONNECTED REGISTRY" in seen
