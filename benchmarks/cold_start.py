"""The start of a host: `python -m benchmarks cold_start`.

From the import of function_app to the first answer that needs storage, over the import of
azure.functions alone, which any app in Python needs. Each in new processes, with bytecode.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median

from benchmarks.apps import Bench, running_bench
from benchmarks.command import parser_of, print_json
from benchmarks.trust import Trust
from local_azure.commands.processes import inherited
from local_azure.stack import ConnectedRegistryOptions

_IMPORT = re.compile(r"^import time:\s+(\d+) \|\s+\d+ \| +(\S+)$", re.MULTILINE)
_MOST_SHOWN = 6


class AppNotStarted(Exception):
    """The app did not start, or refused its first request."""


@dataclass(frozen=True, kw_only=True)
class ColdStart:
    """Medians of new processes. Sizes in MiB of resident memory."""

    repetitions: int
    base_seconds: float
    import_seconds: float
    first_answer_seconds: float
    ratio: float
    base_cpu_seconds: float
    cpu_seconds: float
    cpu_ratio: float
    """Of processor time, which other work on the machine hardly changes."""
    base_mib: float
    mib: float
    dominated_by: dict[str, float]
    """Seconds of imports by package, where a module itself took the time."""


def main(trust: Trust, arguments: Sequence[str]) -> int:
    """Print the figures."""
    parser = parser_of("cold_start")
    parser.add_argument("--repetitions", type=int, default=9)
    parsed = parser.parse_args(arguments)
    found = asyncio.run(measure(trust, repetitions=parsed.repetitions))
    print_json(asdict(found), for_programs=parsed.json)
    return 0


async def measure(trust: Trust, *, repetitions: int) -> ColdStart:
    """Start the app, and azure.functions alone, in turn. Raises AppNotStarted."""
    registries = [ConnectedRegistryOptions(name="plantone")]
    async with running_bench(trust, registries) as bench:  # its host has made bytecode and tables
        starts, bases = [], []
        for _ in range(repetitions):
            bases.append(json.loads((await _python(bench, "base"))[0]))
            starts.append(json.loads((await _python(bench))[0]))
        if any(start["status"] != 200 for start in starts):
            raise AppNotStarted(f"the first answers were {[start['status'] for start in starts]}")
        _, errors = await _python(bench, options=("-X", "importtime"))
    base = median(each["seconds"] for each in bases)
    seconds = median(each["seconds"] for each in starts)
    base_cpu = median(each["cpuSeconds"] for each in bases)
    cpu = median(each["cpuSeconds"] for each in starts)
    return ColdStart(
        repetitions=repetitions,
        base_seconds=round(base, 3),
        import_seconds=round(median(each["importSeconds"] for each in starts), 3),
        first_answer_seconds=round(seconds, 3),
        ratio=round(seconds / base, 2),
        base_cpu_seconds=round(base_cpu, 3),
        cpu_seconds=round(cpu, 3),
        cpu_ratio=round(cpu / base_cpu, 2),
        base_mib=round(median(each["mib"] for each in bases), 1),
        mib=round(median(each["mib"] for each in starts), 1),
        dominated_by=_by_package(errors),
    )


async def _python(bench: Bench, *arguments: str, options: Sequence[str] = ()) -> tuple[str, str]:
    """The output and the errors of a new process with the app's settings."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *options, "-m", "benchmarks.one_start", *arguments),
        env={**bench.app.environment, **inherited("PATH")},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = (text.decode() for text in await process.communicate())
    if process.returncode != 0:
        raise AppNotStarted(errors)
    return output, errors


def _by_package(import_times: str) -> dict[str, float]:
    """The packages whose modules take the longest, in seconds."""
    spent: defaultdict[str, int] = defaultdict(int)
    for found in _IMPORT.finditer(import_times):
        parts = found[2].split(".")
        spent[".".join(parts[: 3 if parts[0] == "azure" else 1])] += int(found[1])
    longest = sorted(spent.items(), key=lambda item: -item[1])[:_MOST_SHOWN]
    return {name: round(microseconds / 1e6, 3) for name, microseconds in longest}
