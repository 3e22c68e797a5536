"""`make bench`: all figures in one run, into benchmarks/results/.

Each figure is measured in a process of its own. Those of time follow one another; fifty devices by
the plain script, which only waits, run beside them from the beginning. What is counted and not
timed comes last, together, and beside it fifty by `az`, which computes for a second a command.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.alternatives import AZ, FIRSTPULL, PLAIN, TUNED
from benchmarks.command import LOCAL, ROOT, parser_of
from benchmarks.peers.azure_cli import installed
from benchmarks.report import write_report

_KEPT = LOCAL / "figures"
_PACKAGES = (
    "azure-functions",
    "azure-functions-runtime",
    "azure-mgmt-containerregistry",
    "azure-identity",
    "azure-keyvault-secrets",
    "azure-iot-hub",
    "azure-data-tables",
    "azure-storage-blob",
    "azure-storage-queue",
    "aiohttp",
)

type Figures = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """The repetitions and sizes of a run."""

    one: int = 9
    times: int = 5
    bursts: int = 3
    full: int = 2500
    at_most: int = 840
    """Seconds, of fifty by the plain script, and of a full container registry."""
    az_at_most: int = 120
    """Seconds of fifty by `az`, which are cut off: about as long as all else then takes."""
    is_shared: bool = False
    at_rest: tuple[int, ...] = (250, 2500, 25000)
    swept: tuple[int, ...] = (250, 1000, 2500, 10000)
    results: Path = ROOT / "benchmarks" / "results"


_SHORT = _Plan(
    one=1,
    times=1,
    bursts=1,
    full=110,
    at_most=60,
    az_at_most=30,
    at_rest=(50, 100),
    swept=(50, 100),
    results=LOCAL,
)
"""Whether everything runs, in some minutes: its figures say nothing."""


async def bench(plan: _Plan) -> Figures:
    """Measure everything, write the results, and return them."""
    began, at_most = time.monotonic(), ("--at-most", plan.at_most)
    cold_start = await _figure("cold_start", "--repetitions", plan.one)
    plainly = asyncio.create_task(_figure("alternatives", "--fifty-slowly", PLAIN, *at_most))
    onboarding = await _figure("onboarding", "--one", plan.one, "--bursts", plan.bursts)
    lifecycle = await _figure("lifecycle", "--times", plan.times)
    repeated = ("--times", min(plan.times, 3), "--bursts", plan.bursts)
    alternatives = await _figure("alternatives", *repeated)
    waterfall = await _figure("waterfall")
    full = await _figure("full_registry", "--devices", plan.full, *at_most)
    slowly = {PLAIN: plainly}
    if installed() is not None:
        cut_off = ("--at-most", plan.az_at_most)
        by_az = _figure("alternatives", "--fifty-slowly", AZ, *cut_off)
        slowly[AZ] = asyncio.create_task(by_az)
    *rests, sweeps = await asyncio.gather(
        *(_figure("at_rest", "--devices", size) for size in plan.at_rest),
        _figure("sweeps", "--devices", ",".join(map(str, plan.swept))),
    )
    slow = {way: await figure for way, figure in slowly.items()}
    figures = {
        "run": _run(plan, seconds=time.monotonic() - began),
        **onboarding,
        "full_registry": full,
        **lifecycle,
        "peers": _peers(alternatives, slow),
        "sweep": {"writes": max(sweep["writes"] for sweep in sweeps), "sizes": sweeps},
        "idle": _idle(rests),
        "cold_start": {**cold_start, "host_mib_at_full_registry": full["host_mib"]},
        "waterfall": waterfall,
    }
    write_report(figures, plan.results)
    return figures


async def _figure(name: str, *arguments: object) -> Any:  # noqa: ANN401 - JSON
    """Run a figure's process, and return what it prints. A figure that fails ends the run.

    What it prints stays in `.local/bench`, so that a run that ends early has not measured in vain.
    """
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks", name, *map(str, arguments), "--json"),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.terminate()
    if not output:
        raise SystemExit(f"The figure {name} failed; its output has the reason.")
    _KEPT.mkdir(parents=True, exist_ok=True)
    (_KEPT / f"{'-'.join((name, *map(str, arguments)))}.json").write_bytes(output)
    sys.stderr.write(f"{name} {' '.join(map(str, arguments))}: {time.monotonic() - began:.0f} s\n")
    return json.loads(output)


def _peers(alternatives: Figures, slow: Figures) -> Figures:
    """Medians by way, each over firstpull's of the same run."""
    one = {way: round(median(took), 2) for way, took in alternatives["one"].items()}
    fifty = {way: round(median(took), 2) for way, took in alternatives["fifty"].items()}
    done = {way: slow[way]["done"] for way in slow}
    fifty |= {way: slow[way]["seconds"] for way in slow}
    ways = [way for way in (FIRSTPULL, TUNED, PLAIN, AZ) if way in one]
    return {
        "one": one,
        "fifty": fifty,
        "fifty_done": done,
        "one_over_firstpull": {way: round(one[way] / one[FIRSTPULL], 2) for way in ways},
        "fifty_over_firstpull": {
            way: round(fifty[way] / fifty[FIRSTPULL], 2) for way in ways if way in fifty
        },
        "runs": alternatives,
    }


def _idle(rests: Sequence[Figures]) -> Figures:
    by_devices = {str(rest["devices"]): rest for rest in rests}
    return {
        "transactions_per_minute": max(rest["transactions_per_minute"] for rest in rests),
        "by_devices": by_devices,
    }


def _run(plan: _Plan, *, seconds: float) -> Figures:
    commit = subprocess.run(
        ("git", "describe", "--always", "--dirty", "--exclude=*"),  # noqa: S607 - whichever git
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return {
        "command": " ".join(("python -m benchmarks all", *sys.argv[2:])),
        "ended": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds),
        "commit": commit.stdout.strip(),
        "machine": {
            "processors": os.cpu_count(),
            "load": round(os.getloadavg()[2], 1),
            "shared": plan.is_shared,
            "system": platform.platform(),
        },
        "versions": {
            "python": platform.python_version(),
            **{package: version(package) for package in _PACKAGES},
        },
    }


def main(arguments: Sequence[str]) -> int:
    """Measure everything; or write the report of the last run's figures again."""
    parser = parser_of("all")
    parser.add_argument("--short", action="store_true", help="whether it runs, in some minutes")
    parser.add_argument("--report", action="store_true", help="write the last run's report again")
    parser.add_argument("--shared", action="store_true", help="say that the machine was shared")
    parser.add_argument("--one", type=int, default=_Plan.one, help="repetitions of a device")
    parser.add_argument("--times", type=int, default=_Plan.times, help="of a change")
    parser.add_argument("--bursts", type=int, default=_Plan.bursts, help="of a burst")
    parser.add_argument("--at-most", type=int, default=_Plan.at_most, help="seconds of the long")
    parsed = parser.parse_args(arguments)
    plan = _Plan(
        one=parsed.one,
        times=parsed.times,
        bursts=parsed.bursts,
        at_most=parsed.at_most,
        is_shared=parsed.shared,
    )
    plan = _SHORT if parsed.short else plan
    if parsed.report:
        write_report(json.loads((plan.results / "latest.json").read_text()), plan.results)
    else:
        asyncio.run(bench(plan))
    sys.stdout.write((plan.results / "README.md").read_text())
    return 0
