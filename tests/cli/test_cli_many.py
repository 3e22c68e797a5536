"""Revoking and rotating many devices: of a file and of filters, in few requests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from firstpull_cli import many
from firstpull_cli.errors import CliError, Exit
from firstpull_cli.many import Selection
from firstpull_cli.rows import read_devices

from tests.endpoints.endpoints import Endpoints

from .command import Operator
from .fake_service import Told, fake_service
from .test_cli_requests import api_of


def answer(*statuses: int) -> dict[str, object]:
    """To a batch."""
    refused = {"problem": {"reason": "TooManyRevokes", "detail": "no"}}
    rows = [
        {"row": number, "status": status, **(refused if status == 409 else {"deviceId": "d"})}
        for number, status in enumerate(statuses)
    ]
    return {"rows": rows}


def test_a_thousand_devices_are_ten_requests_and_wait_as_the_service_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    file = tmp_path / "devices.txt"
    file.write_text("".join(f"d-{number}\n" for number in range(1000)))
    pauses: list[float] = []
    later = (503, {"Retry-After": "7"}, {"reason": "Throttled", "detail": "slow down"})
    taken: Told = (200, {}, answer(*[202] * 100))
    limited: Told = (207, {}, answer(*[202] * 90, *[409] * 10))
    with fake_service(later, *[taken] * 9, limited) as service:
        api = api_of(service, pauses)
        rows = Selection(file=str(file), filters={}).rows(api)
        outcomes, late = many.carry_out(api, rows, work=many.REVOKE, seconds=None)
    assert {asked for asked, _ in service.requests} == {"POST /api/devices:batchRevoke"}
    assert len(service.requests) == 11
    assert 7.0 <= pauses[0] <= 9.0
    refused = [one for one in outcomes if one.is_refused]
    assert [one.device_id for one in refused] == [f"d-{number}" for number in range(990, 1000)]
    assert {one.reason for one in refused} == {"TooManyRevokes"}
    assert not late


@pytest.mark.parametrize(
    "text",
    [
        "d-1\n\n d-2 \n",
        "deviceId,hub,repositories\nd-1,,hello-world\nd-2,,\n",
        '{"deviceId": "d-1", "repositories": ["hello-world"]}\n{"deviceId": "d-2"}\n',
    ],
    ids=["ids", "csv", "jsonl"],
)
def test_a_file_of_any_form_names_devices(tmp_path: Path, text: str) -> None:
    file = tmp_path / "devices"
    file.write_text(text)
    assert [row.document for row in read_devices(str(file), hub=None)] == [
        {"deviceId": "d-1"},
        {"deviceId": "d-2"},
    ]
    assert [row.document["hub"] for row in read_devices(str(file), hub="h")] == ["h", "h"]


@pytest.mark.parametrize(
    "selection",
    [
        Selection(filters={"state": None}),
        Selection(filters={"state": "Ready"}, file="devices.txt"),
        Selection(filters={"state": "Ready"}, device_ids=["d-1"]),
    ],
)
def test_devices_are_selected_in_one_way(selection: Selection) -> None:
    with fake_service() as service, pytest.raises(CliError, match="in one way") as raised:
        selection.rows(api_of(service))
    assert raised.value.status is Exit.USAGE


@pytest.mark.slow
async def test_a_connected_registry_is_rotated_then_revoked_to_its_end(
    service: Endpoints, operator: Operator
) -> None:
    wish = {"connectedRegistry": "plant24", "repositories": ["hello-world"]}
    for number in range(2):
        await service.onboarded(f"cli-many-{number}", logged_in=True, **wish)
    file = operator.home / "ids.txt"
    file.write_text("cli-many-0\ncli-many-1\nnobody-9\n")
    rotated = await operator.run("rotate", "--file", file, "--yes", "--json")
    assert rotated.status == Exit.FAILED
    assert (rotated.document["taken"], rotated.document["refused"]) == (2, 1)
    assert [row.get("reason") for row in rotated.document["rows"]][-1] == "DeviceNotKnown"
    assert (await service.device("cli-many-0"))["generation"] == 2
    unanswered = await operator.run("revoke", "-c", "plant24")
    assert unanswered.status == Exit.USAGE
    assert "revoke 2: " in unanswered.out
    assert "cli-many-0" in unanswered.out
    ran = await operator.ok("revoke", "-c", "plant24", "--yes", "--wait", "--json")
    assert [row["state"] for row in json.loads(ran.out)["rows"]] == ["Revoked", "Revoked"]
    assert (await service.device("cli-many-1"))["state"] == "Revoked"
