"""What the release before stored is read, worked on, and handed back to it.

The release before is there in two forms: `release_before/` has the worlds that it wrote and its
own rules of what is stored. Where git has its history, all of it runs on what this release wrote.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.chaos.tally import Chaos
from tests.chaos.upgrade.carry_on import carry_on, taken_over, worlds_in
from tests.chaos.upgrade.moments import MOMENTS, file_of, new_world
from tests.chaos.upgrade.snapshots import dump
from tests.world.calls import Fault

COMMIT = "c83aa74"
HERE = Path(__file__).parent
BEFORE = HERE / "release_before"
RULES = BEFORE / "model.zip"
_ROOT = HERE.parents[2]
_PACKAGES = ("firstpull", "functions", "local_azure", "tests", "infra", "pyproject.toml")
_SECONDS = 600
_MOST_CALLS = 60

type Stored = dict[str, Any]


async def upgrade(chaos: Chaos) -> None:
    """Forward, and back from each moment and from a crash on the way."""
    await forward(chaos)
    await back(chaos, with_release=has_history())


async def forward(chaos: Chaos) -> None:
    """This release reads what the release before stored, and works on it."""
    worlds = worlds_in(BEFORE)
    assert worlds.keys() == MOMENTS.keys(), "not every moment was stored"
    for name in chaos.some(list(worlds), name="forward", least=4):
        with chaos.case(f"read and worked on: {name}"):
            harness = await carry_on(name, worlds[name])
            chaos.count(["another release takes over"], harness.cloud.watch.checked)


async def back(chaos: Chaos, *, with_release: bool = False) -> None:
    """The release before reads what this one writes; with git's history it also works on it."""
    worlds = worlds_in(BEFORE)
    names = chaos.some(list(worlds), name="back", least=4)
    with _release_before() if with_release else nullcontext() as release:
        written = {name: await _written(name) for name in names}
        _check(chaos, "written by this release", written, release)
        for call in chaos.some(range(1, _MOST_CALLS), name="crashes"):
            died = {name: await _half_done(worlds[name], call) for name in names}
            half_done = {name: world for name, world in died.items() if world is not None}
            _check(chaos, f"half done by it, to call {call}", half_done, release)
    if not with_release:
        chaos.note("the release before did not run: git does not have it here")


async def _written(name: str) -> Stored:
    """A world that came to a moment under this release."""
    harness = new_world()
    await MOMENTS[name].reach(harness)
    return dump(harness)


async def _half_done(stored: Stored, call: int) -> Stored | None:
    """A world of the release before, in which this one has died; None if it has not."""
    harness, _ = taken_over(stored)
    harness.cloud.inject(Fault.CRASH_AFTER, at=call)
    await harness.run_until(lambda: harness.crashes > 0, timedelta(minutes=30))
    return dump(harness) if harness.crashes else None


def _check(chaos: Chaos, what: str, worlds: dict[str, Stored], release: Path | None) -> None:
    """The release before, or its rules alone, takes the worlds back."""
    _check_rules(chaos, what, worlds)
    if release is not None:
        _check_release(chaos, what, worlds, release)


def _check_rules(chaos: Chaos, what: str, worlds: dict[str, Stored]) -> None:
    """The stored rules of the release before read everything, and keep each field they know."""
    texts = [(name, kind, text) for name, world in worlds.items() for kind, text in _texts(world)]
    answers = read_by_rules([(kind, text) for _, kind, text in texts])
    for (name, kind, _), answer in zip(texts, answers, strict=True):
        with chaos.case(f"{what}, read back: {name}, {kind}"):
            assert not answer, f"P3: the release before cannot read it: {answer}"
            chaos.count(["handed back"], {"P3": 1})


def read_by_rules(texts: Iterable[tuple[str, str]]) -> list[str]:
    """What the rules of the release before say: an error or nothing for each text."""
    done = subprocess.run(  # noqa: S603 - this interpreter
        [sys.executable, "-P", str(HERE / "stored_rules.py"), str(RULES)],
        input=json.dumps(list(texts)),
        capture_output=True,
        text=True,
        check=True,
        timeout=_SECONDS,
    )
    answers: list[str] = json.loads(done.stdout)
    return answers


def _texts(world: Stored) -> list[tuple[str, str]]:
    texts = [("record", text) for text in world["records"].values()]
    texts += [("ledger", text) for text in world["ledgers"].values()]
    for found in world["hub"]:
        desired = found["twin"]["desired"]["values"]
        entries = desired.get("firstpull", {}).get("registryCredentials", {})
        texts += [(place, json.dumps(desired)) for place in entries]
    return texts


def _check_release(chaos: Chaos, what: str, worlds: dict[str, Stored], release: Path) -> None:
    """The release before itself brings the worlds to their end."""
    with tempfile.TemporaryDirectory(prefix="firstpull-worlds-") as folder:
        for moment, world in worlds.items():
            (Path(folder) / f"{file_of(moment)}.json").write_text(json.dumps(world))
        done = subprocess.run(  # noqa: S603 - this interpreter
            [sys.executable, "-m", "tests.chaos.upgrade.carry_on", folder],
            cwd=release,
            env={**os.environ, "PYTHONPATH": str(release)},
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
        )
    failed = done.stdout.splitlines() or done.stderr.splitlines()[-3:] if done.returncode else []
    for moment in worlds:
        with chaos.case(f"{what}, carried on by the release before: {moment}"):
            wrong = [line for line in failed if line.startswith(f"{moment}: ")]
            assert not wrong, wrong[0]
            chaos.count(["the release before takes over"], {"P3": 2})
    with chaos.case(f"{what}, carried on by the release before"):
        assert not failed, "\n".join(failed)


def has_history() -> bool:
    """Whether git has the release before: a shallow clone has not."""
    git = shutil.which("git")
    if git is None or not (_ROOT / ".git").exists():
        return False
    asked = [git, "-C", str(_ROOT), "cat-file", "-e", f"{COMMIT}^{{commit}}"]
    return subprocess.run(asked, capture_output=True, check=False).returncode == 0  # noqa: S603


@contextmanager
def _release_before() -> Iterator[Path]:
    """A folder with the release before, and with this module's way to load a world."""
    git = shutil.which("git") or "git"
    with tempfile.TemporaryDirectory(prefix="firstpull-before-") as name:
        folder = Path(name)
        archive = folder / "before.tar"
        asked = [git, "-C", str(_ROOT), "archive", "-o", str(archive), COMMIT, *_PACKAGES]
        subprocess.run(asked, check=True)  # noqa: S603
        shutil.unpack_archive(archive, folder, filter="data")
        chaos = folder / "tests" / "chaos"
        chaos.mkdir(exist_ok=True)
        (chaos / "__init__.py").touch()
        shutil.copytree(HERE, chaos / "upgrade", ignore=shutil.ignore_patterns("release_before"))
        yield folder
