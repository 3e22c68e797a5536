"""The workbook, the alert rules and the documents query only what firstpull records."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from firstpull.model.device_record import State
from firstpull.model.reasons import Reason
from firstpull.observability.log_events import LogEvent
from firstpull.observability.telemetry import METRICS
from tests.docs.test_documents import anchors, rows, text_of
from tools.check_kql import read_queries

ROOT = Path(__file__).parents[2]
ALERTS = {alert["name"]: alert for alert in json.loads(text_of("infra/monitoring/alerts.json"))}
WORKBOOK = json.loads(text_of("infra/monitoring/workbook.json"))
MODULE = text_of("infra/modules/monitoring.bicep")
_TABLES = {"AppTraces", "AppMetrics", "AppRequests", "AppDependencies"}
_METRICS = {metric.name for metric in METRICS}
_WINDOWS = {"PT5M", "PT10M", "PT15M", "PT30M", "PT45M", "P1D", "P2D"}
_WINDOWS |= {f"PT{hours}H" for hours in range(1, 7)}
"""The windows that Azure takes for a log alert."""


QUERIES = dict(read_queries(ROOT))
each_query = pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
each_alert = pytest.mark.parametrize("name", ALERTS)


def _is_known(event: str) -> bool:
    """Whether there is an event of this name, or one that begins with it."""
    return event in set(LogEvent) or (
        event.endswith(".") and any(known.startswith(event) for known in LogEvent)
    )


@each_query
def test_a_query_names_only_what_exists(query: str) -> None:
    assert set(re.findall(r"firstpull\.[a-z_.]+", query)) <= _METRICS
    events = re.findall(r'Message !?startswith "([a-z_.]+)', query)
    events += re.findall(r'Event [!=]= "([a-z_.]+)"', query)
    assert [event for event in events if not _is_known(event)] == []
    tables = set(re.findall(r"\bApp[A-Z][a-z]+\b", query)) - {"AppRoleName"}
    assert set() < tables <= _TABLES
    assert set(re.findall(r'Properties\.state\) == "(\w+)"', query)) <= set(State)
    assert set(re.findall(r'Fields\.reason\) == "(\w+)"', query)) <= set(Reason)


@each_query
def test_a_query_that_reads_fields_skips_the_events_of_spans(query: str) -> None:
    beginnings = re.findall(r'Message startswith "([a-z][^"]+)"', query)
    bare = [beginning for beginning in beginnings if not beginning.endswith(" {")]
    assert not bare or 'Message contains " {"' in query


@each_alert
def test_an_alert_has_its_part_of_the_runbook(name: str) -> None:
    assert name in anchors(ROOT / "docs/runbook.md")


@each_alert
def test_an_alert_is_one_that_azure_takes(name: str) -> None:
    alert = ALERTS[name]
    assert alert.keys() == {"name", "title", "severity", "every", "window", "dimensions", "query"}
    assert alert["severity"] in range(5)
    assert {alert["window"], alert["every"]} <= _WINDOWS
    thresholds = set(re.findall(r"\{(\w+)\}", "\n".join(alert["query"])))
    assert {name for name in thresholds if f"'{{{name}}}'" not in MODULE} == set()


@each_alert
def test_an_alert_has_a_dimension_for_each_column_that_its_query_groups_by(name: str) -> None:
    alert = ALERTS[name]
    summarized = [line for line in alert["query"] if line.startswith("| summarize")]
    by = summarized[-1].partition(" by ")[2] if summarized else ""
    assert re.findall(r"(?:^|, )([A-Z][A-Za-z]+)", by) == alert["dimensions"]


def test_what_a_person_has_to_act_on_has_an_alert() -> None:
    queries = "\n".join("\n".join(alert["query"]) for alert in ALERTS.values())
    for watched in (
        LogEvent.DEVICE_RECONCILE_BLOCKED,
        LogEvent.SWEEP_REVOKES_HELD,
        LogEvent.MESSAGE_REJECTED,
        LogEvent.SCHEDULE_TIMER_FAILED,
        LogEvent.SCHEDULE_TIMER_CRASHED,
        LogEvent.ENDPOINT_REQUEST_CRASHED,
        "firstpull.delivery.oldest_unacknowledged",
        "firstpull.sweep.age",
        "firstpull.site.free",
        f'"{Reason.THROTTLED}"',
    ):
        assert watched in queries


def test_every_alert_is_documented_with_its_dimensions_and_interval() -> None:
    documented = rows("docs/observability.md", section="## Workbook and alerts")
    listed = {name: cells[1:] for name, cells in documented.items() if name in ALERTS}
    assert listed == {
        name: [", ".join(alert["dimensions"]) or "none", f"`{alert['every']}`"]
        for name, alert in ALERTS.items()
    }


def test_the_documented_thresholds_are_the_defaults() -> None:
    defaults = dict(re.findall(r"^param (\w+) int = (\d+)$", MODULE, re.MULTILINE))
    of_a_stage = dict(
        re.findall(r"^param alert(\w+) int = (\d+)$", text_of("infra/main.bicep"), re.MULTILINE)
    )
    assert {name[0].upper() + name[1:]: value for name, value in defaults.items()} == of_a_stage
    assert defaults == dict(re.findall(r"`(\w+)` \((\d+)\)", text_of("docs/observability.md")))


def test_the_workbook_shows_every_metric_and_names_no_item_twice() -> None:
    names = [item["name"] for item in WORKBOOK["items"]]
    assert len(names) == len(set(names))
    shown = json.dumps(WORKBOOK)
    assert {name for name in _METRICS if name not in shown} == set()
