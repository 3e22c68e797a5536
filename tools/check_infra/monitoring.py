"""Alerts and workbook: their queries name what the code has."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from firstpull.model.device_record import State
from firstpull.model.reasons import Reason
from firstpull.observability.log_events import LogEvent
from firstpull.observability.telemetry import METRICS
from tools.check_infra.bicep import Finding

_EVENTS = {event.value for event in LogEvent}
# How a query names something, and the names that there are.
_NAMES = (
    (r'(?:Message !?startswith|Event [!=]=) "([a-z_.]+)', _EVENTS),
    (r"\b(firstpull\.[a-z_.]+)", {metric.name for metric in METRICS}),
    (r'Properties\.state\) [!=]= "(\w+)"', set(State)),
    (r'Fields\.reason\) [!=]= "(\w+)"', set(Reason)),
)


def check_monitoring(folder: Path) -> Iterator[Finding]:
    """The names in infra/monitoring that the code does not have."""
    for path in sorted((folder / "monitoring").glob("*.json")):
        for number, line in enumerate(path.read_text().splitlines(), start=1):
            for name in unknown_names(line.replace('\\"', '"')):
                yield Finding(f"monitoring/{path.name}", number, f"the code has no {name}")


def unknown_names(query: str) -> Iterator[str]:
    """The log events, metrics, states and reasons in a query that the code does not have."""
    for pattern, known in _NAMES:
        for name in re.findall(pattern, query):
            begins_one = name.endswith(".") and any(each.startswith(name) for each in known)
            if name not in known and not begins_one:
                yield name
