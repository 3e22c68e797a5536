"""The command `firstpull` as its users get it: a wheel, where nothing of this repository is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import ROOT

UV = Path(sys.executable).with_name("uv")
HEAVY = {"requests", "azure.identity", "rich.console", "rich.markdown", "urllib3"}
"""What `--help` does not need. Its time below 0.5 s depends on it: 0.3 s of CPU without these."""

pytestmark = pytest.mark.slow


def _run(*command: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    kept = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"]}
    return subprocess.run(  # noqa: S603 - fixed commands
        [str(part) for part in command],
        env={**kept, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel; what it needs is that of this one, of the locked versions."""
    folder = tmp_path_factory.mktemp("cli")
    built = _run(
        *(UV, "build", "--wheel", "--no-build-isolation", "--python", sys.executable),
        *("--offline", "--out-dir", folder, ROOT / "cli"),
    )
    assert built.returncode == 0, built.stderr
    (wheel,) = folder.glob("firstpull_cli-*.whl")
    environment = folder / "environment"
    made = _run(UV, "venv", "--offline", "--python", sys.executable, environment)
    assert made.returncode == 0, made.stderr
    done = _run(*(UV, "pip", "install", "--offline", "--no-deps", "--python", environment, wheel))
    assert done.returncode == 0, done.stderr
    here = next(path for path in sys.path if path.endswith("site-packages"))
    (inside,) = environment.glob("lib/*/site-packages")
    # A path in a .pth is not searched for further .pth files, so this tree's own stay unknown.
    (inside / "needed.pth").write_text(f"{here}\n")
    return environment / "bin"


def test_the_wheel_s_command_runs_without_this_repository(installed: Path) -> None:
    done = _run(installed / "firstpull", "--help")
    assert done.returncode == 0, done.stderr
    assert "onboard" in done.stdout
    where = "import firstpull_cli; print(firstpull_cli.__file__)"
    assert str(ROOT) not in _run(installed / "python", "-I", "-c", where).stdout
    assert _run(installed / "python", "-I", "-c", "import firstpull").returncode != 0


def test_help_imports_nothing_that_takes_long(installed: Path) -> None:
    done = _run(installed / "python", "-X", "importtime", installed / "firstpull", "--help")
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "typer" in imported
    assert not imported & HEAVY
