"""What the log says of a device that is blocked, and of one that has a warning."""

from __future__ import annotations

import json
import logging
from datetime import timedelta

import pytest

from firstpull.model.reasons import Reason
from firstpull.observability.log_events import LogEvent
from tests.firstpull.harness import PLANT_ONE, Harness


def _logged(caplog: pytest.LogCaptureFixture, event: LogEvent) -> list[tuple[int, str]]:
    """The level and the reason of each log event of this name."""
    messages = [(record.levelno, record.getMessage().split(" ", 1)) for record in caplog.records]
    return [
        (level, json.loads(fields)["reason"]) for level, (name, fields) in messages if name == event
    ]


async def test_a_blocked_device_is_logged_once_as_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    harness = Harness()
    harness.cloud.registry().delete_connected_registry(PLANT_ONE.name)
    harness.register()
    with caplog.at_level(logging.INFO, logger="firstpull"):
        await harness.ask()
        await harness.run_for(timedelta(seconds=30))
    assert _logged(caplog, LogEvent.DEVICE_RECONCILE_BLOCKED) == [
        (logging.WARNING, Reason.CONNECTED_REGISTRY_NOT_FOUND)
    ]


async def test_a_warning_of_a_record_is_logged_once_as_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    harness = Harness()
    harness.devices_answer = False
    harness.register()
    await harness.ask()
    await harness.run_until_quiet()
    harness.clock.advance(timedelta(days=80))  # of the password's 90
    with caplog.at_level(logging.INFO, logger="firstpull"):
        await harness.run_for(timedelta(hours=2))
    assert _logged(caplog, LogEvent.DEVICE_WARNING_RAISED) == [
        (logging.WARNING, Reason.PASSWORD_EXPIRES_SOON)
    ]
