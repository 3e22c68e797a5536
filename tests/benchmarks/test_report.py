"""The report of a run: what it says of the figures, and that its charts can be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from benchmarks.report import write_report

LATEST = Path(__file__).parents[2] / "benchmarks" / "results" / "latest.json"


@pytest.fixture
def figures() -> dict[str, Any]:
    """Those of the latest run."""
    latest: dict[str, Any] = json.loads(LATEST.read_text())
    return latest


def row_of(folder: Path, figure: str) -> str:
    """The row of a figure in the table of goals."""
    page = (folder / "README.md").read_text()
    return next(line for line in page.splitlines() if line.startswith(f"| {figure} |"))


@pytest.mark.parametrize(("patches", "word"), [(4, "met"), (5, "**missed**")])
def test_a_goal_is_met_or_missed_by_its_figure(
    figures: dict[str, Any], tmp_path: Path, patches: int, word: str
) -> None:
    figures["fifty_devices"]["patches"] = patches
    write_report(figures, tmp_path)
    assert row_of(tmp_path, "Fifty at once, writes of the list") == (
        f"| Fifty at once, writes of the list | {patches} | ≤ 4 | {word} |"
    )


def test_rest_that_costs_more_for_a_larger_fleet_is_missed(
    figures: dict[str, Any], tmp_path: Path
) -> None:
    largest = max(figures["idle"]["by_devices"].values(), key=lambda rest: rest["devices"])
    largest["transactions_per_minute"] += 100
    write_report(figures, tmp_path)
    assert "**missed**" in row_of(tmp_path, "Storage transactions of a minute of rest")


def test_a_way_that_was_cut_off_has_a_ratio_that_is_at_least(
    figures: dict[str, Any], tmp_path: Path
) -> None:
    peers = figures["peers"]
    peers["one"]["az"] = peers["fifty"]["az"] = 840.0
    peers["one_over_firstpull"]["az"], peers["fifty_over_firstpull"]["az"] = 200.0, 150.0
    peers["fifty_done"]["az"] = 31
    write_report(figures, tmp_path)
    row = row_of(tmp_path, "az, by the quickstart")
    assert "31 done" in row
    assert "> 150" in row


def test_the_charts_are_well_formed(figures: dict[str, Any], tmp_path: Path) -> None:
    write_report(figures, tmp_path)
    charts = sorted(tmp_path.glob("*.svg"))
    assert [chart.name for chart in charts] == [
        "alternatives.svg",
        "full-registry.svg",
        "waterfall.svg",
    ]
    for chart in charts:
        assert ET.parse(chart).getroot().tag.endswith("svg")  # noqa: S314 - made here


def test_the_latest_results_are_those_of_the_code_that_writes_them(
    figures: dict[str, Any], tmp_path: Path
) -> None:
    write_report(figures, tmp_path)
    for file in tmp_path.iterdir():
        assert file.read_text() == LATEST.with_name(file.name).read_text(), file.name
