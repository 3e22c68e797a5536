"""The results of a run as a page, charts, and JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import charts
from benchmarks.alternatives import AZ, FIRSTPULL, PLAIN, TUNED
from benchmarks.charts import Bar, Line, Value
from benchmarks.floor import ONBOARD, longest_chain
from benchmarks.profile import Profile

_WAYS = {
    FIRSTPULL: "firstpull",
    TUNED: "tuned SDK script",
    PLAIN: "plain SDK script",
    AZ: "az, by the quickstart",
}
_RATIOS = ("rotation", "move", "revoke")

type Figures = Mapping[str, Any]


def write_report(figures: Figures, folder: Path) -> None:
    """Write README.md, latest.json and the charts."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "latest.json").write_text(f"{json.dumps(figures, indent=2)}\n")
    (folder / "README.md").write_text(_page(figures))
    (folder / "waterfall.svg").write_text(_waterfall(figures["waterfall"]))
    (folder / "alternatives.svg").write_text(_alternatives(figures["peers"]))
    (folder / "full-registry.svg").write_text(_full_registry(figures["full_registry"]))


def _page(figures: Figures) -> str:
    run = figures["run"]
    machine = run["machine"]
    shared = ", shared with other work all the time" if machine["shared"] else ""
    parts = [
        "# Results of `make bench`",
        (
            f"`{run['command']}` at {run['ended']}, commit `{run['commit']}`, "
            f"{run['seconds']} s, on {machine['processors']} processors{shared} "
            f"(load {machine['load']}). "
            "[How to read this](../../docs/performance.md)."
        ),
        "## Against the goals",
        _table(("Figure", "Measured", "Goal", ""), _goals(figures)),
        "## One onboarding",
        "![Every call of one onboarding, in order](waterfall.svg)",
        "Why each step has to wait, in bold the longest chain:",
        _table(("Step", "Seconds", "Waits for"), _floor()),
        "## Beside the alternatives",
        "![One device and fifty by each way](alternatives.svg)",
        _table(("Way", "One device", "Fifty", "Over firstpull"), _ways(figures["peers"])),
        "## A full container registry",
        "![Deliveries over time](full-registry.svg)",
        _table(("Figure", "Value"), _listed(figures["full_registry"])),
        "## Sweeps of a fleet in order",
        _table(
            ("Devices", "Seconds", "ARM", "Key Vault", "IoT Hub", "Storage", "Writes", "MiB"),
            [_sweep(sweep) for sweep in figures["sweep"]["sizes"]],
        ),
        "## A minute of rest",
        _table(
            ("Devices", "Storage transactions", "Calls to Azure", "Polls of queues"),
            [
                (
                    rest["devices"],
                    rest["transactions_per_minute"],
                    rest["azure_calls_per_minute"],
                    rest["polls_per_minute"],
                )
                for rest in figures["idle"]["by_devices"].values()
            ],
        ),
        "## The start of a host",
        _table(("Figure", "Value"), _listed(figures["cold_start"])),
        "## Versions",
        _table(("Package", "Version"), run["versions"].items()),
    ]
    return "\n\n".join(parts) + "\n"


def _goals(figures: Figures) -> list[tuple[object, ...]]:
    """Each goal: what it is, what was measured, whether it is met."""
    one, fifty, full = (figures[name] for name in ("one_device", "fifty_devices", "full_registry"))
    ratios = [(f"A {name}, over its floor", figures[name]["floor_ratio"], 1.25) for name in _RATIOS]
    most: list[tuple[str, float, float]] = [
        ("One device, over its floor", one["floor_ratio"], 1.15),
        ("Fifty at once, over one device", fifty["ratio_to_one"], 2),
        ("Fifty at once, writes of the list", fifty["patches"], 4),
        ("Fifty at once, tokens lost from the list", fifty["lost"], 0),
        ("Fifty at once, ARM reads a device", fifty["arm_reads_per_device"], 4),
        ("2,500 devices, over the throttle's floor", full["floor_ratio"], 1.15),
        ("2,500 devices, failed", full["failed"], 0),
        *ratios,
        ("A sweep, writes", figures["sweep"]["writes"], 0),
    ]
    rows: list[tuple[object, ...]] = [
        (name, value, f"≤ {goal:g}" if goal else "0", "met" if value <= goal else "**missed**")
        for name, value, goal in most
    ]
    rows.append(_memory_of_sweeps(figures["sweep"]["sizes"]))
    peers = figures["peers"]
    for size in ("one", "fifty"):
        others = {w: r for w, r in peers[f"{size}_over_firstpull"].items() if w != FIRSTPULL}
        way, ratio = min(others.items(), key=lambda item: item[1])
        name = "One device" if size == "one" else "Fifty"
        met = "met" if ratio > 1 else "**missed**"
        rows.append((f"{name}, {_WAYS[way]} over firstpull", ratio, "> 1", met))
    rests = [each["transactions_per_minute"] for each in figures["idle"]["by_devices"].values()]
    # One transaction less or more: a page may end where a fleet does.
    equal = max(rests) - min(rests) <= 1
    spread = " / ".join(f"{each:g}" for each in rests)
    rows.append(
        (
            "Storage transactions of a minute of rest",
            spread,
            "equal",
            "met" if equal else "**missed**",
        )
    )
    return rows


def _memory_of_sweeps(sweeps: Sequence[Figures]) -> tuple[object, ...]:
    """How much more memory the largest fleet takes than the smallest."""
    least, most = (by(sweeps, key=lambda sweep: sweep["devices"]) for by in (min, max))
    devices, memory = (most[name] / least[name] for name in ("devices", "peak_mib"))
    name = f"A sweep's memory, {most['devices']:,} devices over {least['devices']:,}"
    met = "met" if memory < devices else "**missed**"
    return (name, round(memory, 1), f"< {devices:g}", met)


def _floor() -> list[tuple[object, ...]]:
    operation = Profile().mean_operation_seconds
    chain = longest_chain(ONBOARD, operation_seconds=operation).steps
    rows: list[tuple[object, ...]] = []
    for step in ONBOARD:
        name = f"**{step.name}**" if step.name in chain else step.name
        reasons = "<br>".join(f"{before}: {why}" for before, why in step.after.items())
        rows.append((name, f"{step.seconds:g}" if step.seconds else "drawn", reasons))
    return rows


def _ways(peers: Figures) -> list[tuple[object, ...]]:
    return [
        (
            _WAYS[way],
            f"{peers['one'][way]:.2f} s",
            _fifty(peers, way),
            " and ".join(_over(peers, size, way) for size in ("one", "fifty")),
        )
        for way in _WAYS
        if way in peers["one"]
    ]


def _over(peers: Figures, size: str, way: str) -> str:
    ratio = peers[f"{size}_over_firstpull"].get(way)
    if ratio is None:
        return "—"
    at_least = size == "fifty" and peers["fifty_done"].get(way, 50) < 50
    return f"{'> ' if at_least else ''}{ratio:g}"


def _fifty(peers: Figures, way: str) -> str:
    if way not in peers["fifty"]:
        return "—"
    done = peers["fifty_done"].get(way, 50)
    cut = f", {done} done" if done < 50 else ""
    return f"{peers['fifty'][way]:.1f} s{cut}"


def _listed(figures: Figures) -> list[tuple[object, ...]]:
    """Single values by their names; lists are in the JSON."""
    rows: list[tuple[object, ...]] = []
    for name, value in figures.items():
        words = name.replace("_", " ")
        if isinstance(value, Mapping):
            rows.append((words, ", ".join(f"{key} {each:g}" for key, each in value.items())))
        elif not isinstance(value, list):
            rows.append((words, value))
    return rows


def _sweep(sweep: Figures) -> tuple[object, ...]:
    calls = sweep["calls"]

    def of(*services: str) -> int:
        return sum(n for name, n in calls.items() if name.partition(".")[0] in services)

    return (
        sweep["devices"],
        sweep["seconds"],
        of("arm"),
        of("keyVault"),
        of("iotHub"),
        of("table", "blob", "queue"),
        sweep["writes"],
        sweep["peak_mib"],
    )


def _waterfall(figures: Figures) -> str:
    return charts.waterfall(
        [Bar(**bar) for bar in figures["bars"]],
        title="One onboarding, from the webhook's acceptance to the device twin",
        ends_at=figures["seconds"],
        floor=figures["floor_seconds"],
    )


def _alternatives(peers: Figures) -> str:
    groups = [
        (
            heading,
            [
                Value(
                    label=_WAYS[way],
                    value=peers[size][way],
                    text=_behind(peers, size, way),
                    is_ours=way == FIRSTPULL,
                )
                for way in _WAYS
                if way in peers[size]
            ],
        )
        for heading, size in (("One device", "one"), ("Fifty at one connected registry", "fifty"))
    ]
    return charts.bars(groups, title="Seconds until the twin, or the list, has the last credential")


def _behind(peers: Figures, size: str, way: str) -> str:
    done = peers["fifty_done"].get(way, 50) if size == "fifty" else 50
    cut = f", {done} of 50 done" if done < 50 else ""
    return f"{peers[size][way]:.1f} s{cut}"


def _full_registry(full: Figures) -> str:
    devices, at = full["devices"], full["delivered_at"]
    delivered = ((0.0, 0.0), *((t, devices * (n + 1) / 20) for n, t in enumerate(at)))
    return charts.lines(
        [
            Line(label="delivered", points=tuple(delivered)),
            Line(
                label="what ARM's writes allow",
                points=_allowed(full),
                colour="floor",
                is_dashed=True,
            ),
        ],
        title=f"{devices} devices at {full['connected_registries']} connected registries",
        across="seconds",
        up="devices",
    )


def _allowed(full: Figures) -> tuple[tuple[float, float], ...]:
    """What the bucket of writes holds at first goes at once, the rest at its rate."""
    at_once = 200 / (2 * full["devices"] + full["connected_registries"]) * full["devices"]
    return ((0.0, at_once), (full["floor_seconds"], full["devices"]))


def _table(heading: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [" | ".join(heading), "|".join("---" for _ in heading)]
    lines += [" | ".join(map(str, row)) for row in rows]
    return "\n".join(f"| {line} |" if line[0] != "-" else f"|{line}|" for line in lines)
