"""Microsoft's language service finds mistakes that are planted in the queries."""

from __future__ import annotations

import re

from tools.check_infra.__main__ import REPOSITORY
from tools.check_kql import check_queries, read_queries

# A query, what is there, what is written instead, a part of the finding.
MISTAKES = [
    ("alert devices-blocked", "AppTraces", "AppTrace", "'AppTrace' does not refer to any known"),
    ("alert faults", "| summarize", "| sumarize", ":3: KS"),
    ("alert sweep-overdue", "maxif(", "maxiff(", "'maxiff' does not refer"),
    ("alert throttling", "parse_json(", "parse_jsn(", "'parse_jsn' does not refer"),
    ("alert site-nearly-full", "Properties.site", "Property.site", "'Property' does not refer"),
    ("workbook audit", "OperationId", "OperationID", "'OperationID' does not refer"),
    ("workbook first-pull", "on Device, Hub", "on Device, Hubs", "KS"),
    ("docs/observability.md 2", "DurationMs", "Duration", "'Duration' does not refer"),
]


def test_planted_mistakes_are_found_and_nothing_else() -> None:
    queries = dict(read_queries(REPOSITORY))
    planted = {}
    for number, (where, right, wrong, _) in enumerate(MISTAKES):
        assert right in queries[where]
        planted[f"{number} {where}"] = re.sub(rf"(?<!\w){re.escape(right)}", wrong, queries[where])
    findings = check_queries(queries | planted)
    for number, (where, _, _, expected) in enumerate(MISTAKES):
        found = [finding for finding in findings if finding.startswith(f"{number} {where}:")]
        assert [finding for finding in found if expected in finding], (where, found)
    assert [finding for finding in findings if not finding[0].isdigit()] == []
