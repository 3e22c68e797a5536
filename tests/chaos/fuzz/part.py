"""Odd input gets a clear answer: by Hypothesis and Atheris, each target for a time."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.chaos.fuzz.mutations import changed
from tests.chaos.fuzz.targets import TARGETS, Target
from tests.chaos.tally import Chaos

KEPT = Path(__file__).parent / "kept"
"""Input that once broke something, by target: it is tried first, each time."""
ROOT = Path(__file__).parents[3]
ATHERIS = ROOT / ".local" / "atheris"
SECONDS = 20.0
"""For each target and fuzzer, in a whole run."""
_BATCH = 200
_EXECUTED = re.compile(r"stat::number_of_executed_units:\s+(\d+)")
_SETTINGS = settings(
    max_examples=_BATCH,
    deadline=None,
    database=None,
    report_multiple_bugs=False,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)


async def fuzz(chaos: Chaos) -> None:
    """All targets."""
    seconds = max(1.0, SECONDS * chaos.share)
    has_atheris = ATHERIS.exists()
    for number, (name, target) in enumerate(TARGETS.items()):
        fuzz_one(chaos, name, seconds=seconds)
        if has_atheris:
            _by_coverage(chaos, name, target, seconds, chaos.seed + number)
    if not has_atheris:
        chaos.note("without Atheris: make fuzz-tools installs it")


def fuzz_one(chaos: Chaos, name: str, *, seconds: float) -> None:
    """One target: the kept input, then changed documents for a time."""
    _try_kept(chaos, name, TARGETS[name])
    _by_properties(chaos, name, TARGETS[name], seconds)


def kept_for(name: str) -> Iterator[Path]:
    """The files with input that is kept for a target."""
    return (path for path in sorted((KEPT / name.replace(" ", "-")).glob("*")))


def _try_kept(chaos: Chaos, name: str, target: Target) -> None:
    for data in (*target.bodies, *(path.read_bytes() for path in kept_for(name))):
        with chaos.case(f"{name}, kept input"):
            _check(target, data)
    chaos.count({}, {"P10": len(target.bodies)})


def _by_properties(chaos: Chaos, name: str, target: Target, seconds: float) -> None:
    """Changed documents, in batches, until the time is over."""
    give_up, tried, valid = time.monotonic() + seconds, 0, 0
    samples = tuple(body for body in target.bodies if body[:1] in (b"{", b"["))
    number = 0
    while time.monotonic() < give_up:
        number += 1

        @seed(chaos.seed * 1000 + number)
        @_SETTINGS
        @given(data=changed(samples))
        def one(data: bytes) -> None:
            nonlocal tried, valid
            tried += 1
            valid += _check(target, data)

        with chaos.case(f"{name}, batch {number}"):
            one()
    chaos.count({f"odd {name}": tried - valid}, {"P10": tried})
    chaos.note(f"{name}: {tried} by Hypothesis, {valid} of them valid")


def _check(target: Target, data: bytes) -> bool:
    try:
        return target.check(data)
    except Exception as defect:
        raise AssertionError(
            f"P10: {type(defect).__name__}: {str(defect)[:200]} by {data[:300]!r}"
        ) from defect


def _by_coverage(chaos: Chaos, name: str, target: Target, seconds: float, number: int) -> None:
    with tempfile.TemporaryDirectory(prefix="firstpull-fuzz-") as folder:
        corpus = Path(folder, "corpus")
        corpus.mkdir()
        for index, body in enumerate(target.bodies):
            (corpus / f"sample-{index}").write_bytes(body)
        options = (
            *(f"-seed={number}", f"-max_total_time={max(1, int(seconds))}", "-print_final_stats=1"),
            *(f"-artifact_prefix={folder}/", "-max_len=8192", "-verbosity=0", str(corpus)),
        )
        done = subprocess.run(  # noqa: S603 - this interpreter
            [sys.executable, "-m", "tests.chaos.fuzz.by_coverage", name, *options],
            env={**os.environ, "PYTHONPATH": f"{ATHERIS}{os.pathsep}{ROOT}"},
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds * 20 + 120,
        )
        found = sorted(Path(folder).glob("crash-*")) + sorted(Path(folder).glob("timeout-*"))
        executed = _EXECUTED.search(done.stderr)
        with chaos.case(f"{name}, by coverage"):
            said = done.stdout.strip().splitlines()[-1:]
            assert done.returncode == 0, (
                f"P10: {' '.join(said)} by {[path.read_bytes()[:300] for path in found]} "
                f"{done.stderr[-300:] if not found else ''}"
            )
            count = int(executed.group(1)) if executed else 0
            chaos.count({f"odd {name}": count}, {"P10": count})
            chaos.note(f"{name}: {count} by Atheris")
