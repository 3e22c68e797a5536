"""The workbook and the alert rules name what there is, and lead to the runbook."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from firstpull.model import schedule
from firstpull.model.device_record import State
from firstpull.model.reasons import Reason
from firstpull.observability.log_events import EVENTS as LISTED
from tests.docs.test_documents import anchors, rows, text_of

from .names import names_of_metrics

ROOT = Path(__file__).parents[2]
EVENTS = {
    *LISTED,
    *(f"device.convergence.{state.value.lower()}" for state in State),
}
ALERTS = {alert["name"]: alert for alert in json.loads(text_of("infra/monitoring/alerts.json"))}
WORKBOOK = json.loads(text_of("infra/monitoring/workbook.json"))
MODULE = text_of("infra/modules/monitoring.bicep")
TOPICS = text_of("infra/modules/events.bicep")
MAIN = text_of("infra/main.bicep")
DOCUMENTS = ("docs/observability.md", "docs/operating-limits.md", "docs/runbook.md")
_TABLES = {"AppTraces", "AppMetrics", "AppRequests", "AppDependencies"}
_WINDOWS = {
    *("PT5M", "PT10M", "PT15M", "PT30M", "PT45M", "PT1H", "PT2H", "PT3H", "PT4H", "PT5H", "PT6H"),
    *("P1D", "P2D"),
}


def queries() -> Iterator[tuple[str, str]]:
    """Every query there is, by where it stands."""
    for name, alert in ALERTS.items():
        yield f"alert {name}", "\n".join(alert["query"])
    for item in WORKBOOK["items"]:
        if item["type"] == 3:
            yield f"workbook {item['name']}", item["content"]["query"]
    for document in DOCUMENTS:
        found = re.findall(r"^```kusto\n(.*?)^```$", text_of(document), re.MULTILINE | re.DOTALL)
        for number, query in enumerate(found, start=1):
            yield f"{document} {number}", query


QUERIES = dict(queries())


def is_known(event: str) -> bool:
    """Whether there is an event of this name, or one that begins with it."""
    return event in EVENTS or (event[-1] == "." and any(e.startswith(event) for e in EVENTS))


def test_there_are_queries_in_every_connected_registry() -> None:
    assert {ref.split()[0] for ref in QUERIES} == {*("alert", "workbook", *DOCUMENTS)}


@pytest.mark.parametrize("place", QUERIES)
def test_a_query_names_metrics_events_and_tables_that_exist(ref: str) -> None:
    query = QUERIES[ref]
    assert set(re.findall(r"firstpull\.[a-z_.]+", query)) <= names_of_metrics()
    started = re.findall(r'Message !?startswith "([a-z_.]+)', query)
    started += re.findall(r'Event [!=]= "([a-z_.]+)"', query)
    assert [event for event in started if not is_known(event)] == []
    tables = set(re.findall(r"\bApp[A-Z][a-z]+\b", query)) - {"AppRoleName"}
    assert tables
    assert tables <= _TABLES


@pytest.mark.parametrize("place", QUERIES)
def test_a_query_that_reads_fields_passes_over_the_events_of_spans(ref: str) -> None:
    query = QUERIES[ref]
    beginnings = re.findall(r'Message startswith "([^"]+)"', query)
    bare = [beginning for beginning in beginnings if not beginning.endswith(" {")]
    assert not bare or 'Message contains " {"' in query


@pytest.mark.parametrize("place", QUERIES)
def test_a_query_compares_with_states_and_reasons_that_exist(ref: str) -> None:
    query = QUERIES[ref]
    assert set(re.findall(r'Properties\.state\) == "(\w+)"', query)) <= set(State)
    assert set(re.findall(r'Fields\.reason\) == "(\w+)"', query)) <= set(Reason)


@pytest.mark.parametrize("place", QUERIES)
def test_a_query_is_well_formed_as_far_as_can_be_seen(ref: str) -> None:
    without_text = re.sub(r"\"[^\"\n]*\"|'[^'\n]*'", "", QUERIES[ref])
    for opening, closing in ("()", "[]"):
        assert without_text.count(opening) == without_text.count(closing)
    assert not re.search(r"[\"']", without_text)
    for line in QUERIES[ref].splitlines():
        assert re.match(r"\| \w|let \w+ = |App\w+|union ", line), line


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_leads_to_its_page_of_the_runbook(name: str) -> None:
    assert name in anchors(ROOT / "docs/runbook.md")
    assert "#${alert.name}" in MODULE


@pytest.mark.parametrize("alert", ALERTS.values(), ids=ALERTS)
def test_an_alert_is_one_that_azure_takes(alert: dict[str, Any]) -> None:
    assert alert.keys() == {"name", "title", "severity", "every", "window", "dimensions", "query"}
    assert alert["severity"] in range(5)
    assert alert["window"] in _WINDOWS
    assert alert["every"] in _WINDOWS
    thresholds = set(re.findall(r"\{(\w+)\}", "\n".join(alert["query"])))
    assert {name for name in thresholds if f"'{{{name}}}'" not in MODULE} == set()


@pytest.mark.parametrize("alert", ALERTS.values(), ids=ALERTS)
def test_an_alert_has_a_dimension_for_each_thing_that_its_rows_tell_apart(
    alert: dict[str, Any],
) -> None:
    summarized = [line for line in alert["query"] if line.startswith("| summarize")]
    by = summarized[-1].rpartition(" by ")[2] if " by " in "".join(summarized[-1:]) else ""
    assert re.findall(r"(?:^|, )([A-Z][A-Za-z]+)", by) == alert["dimensions"]
    assert "dimensions: map(alert.dimensions, column => {" in MODULE


def test_a_blocked_device_is_seen_between_two_reconciles_it() -> None:
    at_least_every = schedule._LOOKS[State.BLOCKED][1]
    assert hours(ALERTS["devices-blocked"]["window"]) * timedelta(hours=1) > at_least_every


def hours(window: str) -> int:
    found = re.fullmatch(r"PT(\d+)H", window)
    assert found is not None
    return int(found[1])


@pytest.mark.parametrize(
    ("free", "used", "alerts"),
    [
        ((0, 40, 50), (50, 10, 0), False),  # filled in order, as it should be
        ((0, 0, 14), (50, 50, 36), True),
        ((5,), (0,), False),  # small and empty
        ((0,), (5,), True),
        ((0,), (0,), True),  # what the policy lists does not exist
    ],
)
def test_a_site_is_nearly_full_by_its_sum(
    free: tuple[int, ...], used: tuple[int, ...], *, alerts: bool
) -> None:
    condition = ALERTS["site-nearly-full"]["query"][-1].removeprefix("| where ")
    default = re.search(r"^param freePercent int = (\d+)$", MODULE, re.MULTILINE)
    assert default is not None
    assert condition == "Free * 100 <= {freePercent} * (Used + Free)"
    assert (sum(free) * 100 <= int(default[1]) * (sum(used) + sum(free))) is alerts


def test_events_that_are_lost_are_told_of_at_every_topic() -> None:
    (metrics,) = re.findall(r"for metric in \[([^]]+)\]", TOPICS)
    assert metrics == "'DeadLetteredCount', 'DroppedEventCount'"
    assert "metricNamespace: 'Microsoft.EventGrid/systemTopics'" in TOPICS
    (anchor,) = re.findall(r"runbookUrl\}#([\w-]+)'", TOPICS)
    assert anchor in anchors(ROOT / "docs/runbook.md")


def test_every_rule_tells_whoever_is_named_in_a_setting_of_the_stage() -> None:
    for module in ("modules/events.bicep", "modules/monitoring.bicep"):
        called = re.findall(rf"'{module}' =.*?\n  \}}\n", MAIN, re.DOTALL)
        assert called
        for call in called:
            assert "actionGroupId: actionGroupId" in call
            assert "runbookUrl: runbookUrl" in call


def test_what_has_to_be_watched_is() -> None:
    watched = "\n".join("\n".join(alert["query"]) for alert in ALERTS.values())
    for part in (
        "device.convergence.blocked",
        "oldest_unacknowledged",
        "sweep.age",
        "site.free",
        "schedule.timer.failed",
        "schedule.timer.crashed",
        '"Throttled"',
        "sweep.revokes.held",
        "message.rejected",
    ):
        assert part in watched


def test_every_alert_is_listed_with_how_often_it_is_looked_for() -> None:
    documented = rows("docs/observability.md", section="## Workbook and alerts")
    listed = {name: cells[1:] for name, cells in documented.items() if name in ALERTS}
    assert listed == {
        name: [", ".join(alert["dimensions"]) or "none", f"`{alert['every']}`"]
        for name, alert in ALERTS.items()
    }


def test_the_defaults_of_the_thresholds_are_those_in_the_documents() -> None:
    defaults = dict(re.findall(r"^param (\w+) int = (\d+)$", MODULE, re.MULTILINE))
    of_a_stage = dict(re.findall(r"^param alert(\w+) int = (\d+)$", MAIN, re.MULTILINE))
    assert {name[0].upper() + name[1:]: value for name, value in defaults.items()} == of_a_stage
    documented = dict(re.findall(r"`(\w+)` \((\d+)\)", text_of("docs/observability.md")))
    assert documented == defaults


def test_the_workbook_shows_every_metric_and_names_no_item_twice() -> None:
    names = [item["name"] for item in WORKBOOK["items"]]
    assert len(names) == len(set(names))
    shown = json.dumps(WORKBOOK)
    assert {name for name in names_of_metrics() if name not in shown} == set()
    assert WORKBOOK["version"] == "Notebook/1.0"


def test_the_workbook_is_of_the_workspace_that_it_is_deployed_to() -> None:
    assert WORKBOOK["fallbackResourceIds"] == ["WORKSPACE_ID"]
    assert "replace(workbookData, 'WORKSPACE_ID', workspaceId)" in MODULE
