"""Thousands of rows from a file: planned, onboarded, killed, and gone on with."""

from __future__ import annotations

import csv
import re
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from firstpull_cli.errors import Exit

from local_azure.stack import Stack
from local_azure.stack.options import REGISTRY_NAME
from tests.endpoints.documents import Document
from tests.endpoints.endpoints import Endpoints, open_endpoints, policy_for

from .command import Operator
from .conftest import connected_registries, operator_of

pytestmark = pytest.mark.timeout(300)

_COLUMNS = ("deviceId", "connectedRegistry", "repositories")
_BAD = (
    ("{0}", "nowhere", "hello-world", "NotAllowed"),
    ("{0}", "plant01", "Upper", "InvalidRequest"),
    ("{0}", "plant01", "stranger", "NotAllowed"),
    ("not an id {0}", "plant01", "hello-world", "InvalidRequest"),
    ("{1}-0000", "plant02", "hello-world", "NotARequest"),
)


@pytest.fixture(scope="module")
async def recording(stack: Stack, ca_file: Path) -> AsyncIterator[Endpoints]:
    """An app with 20 connected registries that records requests, and leaves it at that."""
    names = [f"plant{number:02}" for number in range(1, 21)]
    policy = policy_for(stack, connectedRegistries=connected_registries(stack, names), sites=[])
    async with open_endpoints(
        stack,
        ca_file=str(ca_file),
        policy=policy,
        system_key=secrets.token_urlsafe(32),
        more_settings={"AzureWebJobs__reconcile_device__Disabled": "true"},
    ) as opened:
        yield opened


def write_csv(file: Path, rows: list[tuple[str, ...]]) -> None:
    """A CSV of requests; its first row is line 2."""
    with file.open("w", newline="") as opened:
        csv.writer(opened).writerows([_COLUMNS, *rows])


@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=pytest.mark.slow)])
async def test_a_killed_run_goes_on_and_reports_exactly(
    recording: Endpoints, tmp_path: Path, count: int
) -> None:
    operator, name, batch = operator_of(recording, tmp_path), f"of-{count}", count // 20
    devices = {f"{name}-{n:04}" for n in range(count - 20)}
    rows: list[tuple[str, ...]] = [
        (device_id, f"plant{n % 20 + 1:02}", "hello-world line/app")
        for n, device_id in enumerate(sorted(devices))
    ]
    expected = {}
    for number in range(20):
        *bad, reason = _BAD[number % len(_BAD)]
        place = 2 + number * batch
        rows.insert(place, tuple(part.format(f"bad-{number}", name) for part in bad))
        expected[place + 2] = reason
    write_csv(tmp_path / "devices.csv", rows)
    command = ("onboard", "devices.csv", "--batch", batch)
    half = re.compile(rf"onboard: (\d+) of {count}, [\d.]+/s, \d+ s left")
    async with operator.started(*command) as killed:
        assert killed.stderr is not None
        sent = 0
        while sent < count // 2:
            line = (await killed.stderr.readline()).decode()
            assert line, "it ended before it could be killed"
            sent = int(found[1]) if (found := half.search(line)) else 0
        killed.kill()
        await killed.wait()

    async def records() -> dict[str, Document]:
        return {key: one for key, one in (await recording.records()).items() if key in devices}

    assert sent - 20 <= len(await records()) < len(devices)
    again = await operator.run(*command, "--json", "--refused", "refused.csv")
    assert again.status == Exit.FAILED, again.err
    gone_on = re.search(r"Going on after (\d+) rows", again.err)
    assert gone_on is not None
    assert int(gone_on[1]) >= sent - 20
    report = again.document
    assert (report["taken"], report["refused"]) == (count - 20, 20)
    refused = [row for row in report["rows"] if row["status"] >= 400]
    assert {row["line"]: row["reason"] for row in refused} == expected
    assert all(row["why"] for row in refused)
    recorded = await records()
    assert recorded.keys() == devices
    assert {record["generation"] for record in recorded.values()} == {1}
    with (tmp_path / "refused.csv").open() as file:
        assert [int(row["line"]) for row in csv.DictReader(file)] == sorted(expected)
    assert not list((tmp_path / ".local/state/firstpull").iterdir())


async def test_after_a_plan_is_carried_out_the_next_one_is_empty(
    recording: Endpoints, tmp_path: Path
) -> None:
    operator = operator_of(recording, tmp_path)
    before = [(f"plan-{n:03}", "plant05", "hello-world") for n in range(60)]
    write_csv(tmp_path / "before.csv", list(before))
    await operator.ok("onboard", "before.csv")
    moved = [(f"plan-{n:03}", "plant06", "hello-world") for n in range(20)]
    changed = [(f"plan-{n:03}", "plant05", "line/app") for n in range(20, 50)]
    same = before[50:]
    new = [(f"plan-{n:03}", "plant07", "hello-world") for n in range(60, 110)]
    write_csv(tmp_path / "after.csv", [*moved, *changed, *same, *new])
    written = await recording.records()
    shown = await operator.run("plan", "after.csv", "--exit-code")
    assert shown.status == Exit.CHANGES
    assert "Plan: 50 to add, 50 to change, 10 unchanged, 0 refused." in shown.out
    assert "+ plan-060  + " in shown.out
    assert "repositories: - hello-world" in shown.out
    assert await recording.records() == written
    planned = (await operator.ok("plan", "after.csv", "--json")).document
    assert len(planned["changes"]) == 100
    room = {one["connectedRegistry"].partition("/")[2]: one for one in planned["room"]}
    assert (room["plant06"]["joins"], room["plant07"]["joins"]) == (20, 50)
    assert (await operator.ok("onboard", "after.csv", "--json")).document["taken"] == 110
    empty = await operator.ok("plan", "after.csv", "--exit-code")
    assert empty.out.strip() == ("No changes. All 110 devices are asked for as the file has them.")


async def test_a_plan_tells_which_devices_find_no_room(operator: Operator) -> None:
    lines = [f"crowd-{n},small,hello-world" for n in range(3)]
    text = "\n".join(["deviceId,site,repositories", *lines])
    planned = (await operator.ok("plan", "-", "--json", stdin=text)).document
    assert [change.get("finding") for change in planned["changes"]] == [None, None, "SiteFull"]
    assert [room["freeAfter"] for room in planned["room"]] == [0, 0]
    shown = await operator.ok("plan", "-", stdin=text)
    assert "+ crowd-2  will wait: SiteFull" in shown.out
    assert "1 will wait for room." in shown.out


async def test_who_waits_sees_each_device_delivered_or_stuck(
    service: Endpoints, operator: Operator
) -> None:
    for number in range(3):
        service.register(f"wait-{number}")
    lines = [f'{{"deviceId": "wait-{n}", "site": "works"}}' for n in range(4)]
    given, text = ("-", "--repository", "hello-world"), "\n".join(lines)
    assert (await operator.run("plan", *given, "--exit-code", stdin=text)).status == Exit.CHANGES
    ran = await operator.ok("onboard", *given, "--wait", "--json", stdin=text)
    states = {row["deviceId"]: row["state"] for row in ran.document["rows"]}
    assert states == {**{f"wait-{n}": "Delivered" for n in range(3)}, "wait-3": "Waiting"}
    assert ran.document["rows"][3]["reason"] == "DeviceNotRegistered"
    assert "delivered: 3 of 4" in ran.err
    again = await operator.ok("plan", *given, "--exit-code", stdin=text)
    assert "No changes. All 4 devices" in again.out
    moved = await operator.ok("plan", *given, stdin='{"deviceId": "wait-0", "site": "small"}')
    assert f"~ wait-0  - {REGISTRY_NAME}/plant23 + {REGISTRY_NAME}/plant25" in moved.out
