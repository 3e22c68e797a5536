"""What is told has the names, fields and attributes that the lists of the code have."""

from __future__ import annotations

import ast
import json
import logging
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from firstpull.model.device_record import State
from firstpull.observability import telemetry
from firstpull.observability.log_events import EVENTS
from tests.firstpull.harness import PLANT_ONE, Harness

ROOT = Path(__file__).parents[2]
_OF_A_DEVICE = ("hub", "device_id")
"""Fields that the journal of a worker's pass adds."""
_TELLERS = {
    "emit": (),
    "emit_warning": (),
    "emit_crash": ("error", "at"),
    "note": _OF_A_DEVICE,
    "_note": _OF_A_DEVICE,
}
"""What tells an event, with the fields that it adds to those that it is called with."""


def modules() -> Iterator[tuple[Path, ast.Module]]:
    for folder in ("firstpull", "functions"):
        for path in (ROOT / folder).rglob("*.py"):
            yield path, ast.parse(path.read_text())


def calls() -> Iterator[tuple[str, set[str]]]:
    """Each event that the code names where it tells it, with its fields."""
    for _, tree in modules():
        for call in ast.walk(tree):
            if isinstance(call, ast.Call) and call.args and isinstance(call.args[0], ast.Constant):
                teller = getattr(call.func, "attr", getattr(call.func, "id", ""))
                if teller in _TELLERS and call.args[0].value in EVENTS:
                    fields = {str(keyword.arg) for keyword in call.keywords}
                    yield str(call.args[0].value), fields | {*_TELLERS[teller]}


CALLS = list(calls())


def fields_of(event: str) -> set[str]:
    """Those of the list, of a state's event those of any state."""
    state = event.removeprefix("device.convergence.")
    is_state = state in {state.value.lower() for state in State}
    return set(EVENTS["device.convergence.<state>" if is_state else event].fields)


def test_most_events_are_named_where_they_are_told() -> None:
    assert len({event for event, _ in CALLS}) > 0.8 * len(EVENTS)


@pytest.mark.parametrize(("event", "fields"), CALLS, ids=[event for event, _ in CALLS])
def test_an_event_is_told_with_the_fields_of_the_list(event: str, fields: set[str]) -> None:
    assert fields == fields_of(event)


async def test_so_are_all_events_of_a_whole_life(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="firstpull"):
        harness = Harness()
        device = await harness.make_ready()
        await harness.ask(connectedRegistry="planttwo")
        await harness.run_for(timedelta(hours=1))
        harness.cloud.connected[PLANT_ONE].clients.clear()
        await harness.sweep()
        await harness.rotate(device)
        await harness.run_for(timedelta(hours=1))
        await harness.revoke(device)
        await harness.run_until_quiet()
    told = [record.getMessage().split(" ", 1) for record in caplog.records]
    for event, fields in told:
        assert set(json.loads(fields)) == fields_of(event), event
    assert {"device.credential.acknowledged", "device.access.revoked"} <= {e for e, _ in told}


def test_every_instrument_is_in_the_list_of_metrics_and_is_used() -> None:
    kinds = (telemetry.Gauge, telemetry.Histogram)
    made = {name: one for name, one in vars(telemetry).items() if isinstance(one, kinds)}
    assert list(made.values()) == list(telemetry.METRICS)
    used = {
        name
        for path, _ in modules()
        if path != Path(telemetry.__file__)
        for name in re.findall(r"telemetry\.([A-Z_]+)\.(?:set|record)", path.read_text())
    }
    assert used == made.keys()


@pytest.mark.parametrize("told", [None, {}, {"state": "Ready", "more": "1"}, {"more": "1"}])
def test_a_metric_takes_the_attributes_that_it_is_declared_with_and_no_others(
    told: dict[str, str] | None,
) -> None:
    with pytest.raises(AssertionError, match=r"firstpull\.devices is told with state"):
        telemetry.DEVICES.set(1, told)


async def test_a_device_that_becomes_blocked_is_told_of_once_and_as_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    harness = Harness()
    del harness.cloud.connected[PLANT_ONE]
    harness.register()
    with caplog.at_level(logging.INFO, logger="firstpull"):
        await harness.ask()
        await harness.run_for(timedelta(seconds=30))
    (told,) = (r for r in caplog.records if r.getMessage().startswith("device.convergence.blocked"))
    assert told.levelno == logging.WARNING
    assert '"reason":"ConnectedRegistryNotFound"' in told.getMessage()


async def test_a_warning_is_told_as_one_with_its_reason_whoever_finds_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    harness = Harness()
    harness.devices_answer = False
    harness.register()
    await harness.ask()
    with caplog.at_level(logging.INFO, logger="firstpull"):
        await harness.run_for(timedelta(days=80))  # of the password's 90
    (told,) = (r for r in caplog.records if r.getMessage().startswith("device.warning.raised"))
    assert told.levelno == logging.WARNING
    assert '"reason":"PasswordExpiresSoon"' in told.getMessage()
