"""The systemd unit, judged by systemd."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[2] / "device_agent/firstpull-agent.service"
MOST_EXPOSURE = 4.0

pytestmark = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd is not installed"
)


def _exposure(unit: Path) -> float:
    said = subprocess.run(  # noqa: S603 - fixed command
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)],  # noqa: S607
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", said)
    assert found is not None, said
    return float(found[1])


def test_the_service_is_hardened() -> None:
    assert _exposure(UNIT) < MOST_EXPOSURE


def test_it_is_more_exposed_without_its_filter_of_system_calls(tmp_path: Path) -> None:
    weaker = tmp_path / UNIT.name
    lines = UNIT.read_text().splitlines()
    weaker.write_text("\n".join(line for line in lines if not line.startswith("SystemCallFilter")))

    assert _exposure(weaker) > _exposure(UNIT) + 1


def test_systemd_understands_every_line(tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    # The command and its folder are on devices only.
    unit.write_text(re.sub(r"(?m)^(ExecStart=)\S+", r"\1/bin/true", UNIT.read_text()))
    done = subprocess.run(  # noqa: S603 - fixed command
        ["systemd-analyze", "verify", "--man=no", str(unit)],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    ours = [line for line in done.stderr.splitlines() if UNIT.name in line]
    assert ours == []


def test_it_may_write_the_agents_state() -> None:
    text = UNIT.read_text()
    assert "StateDirectory=firstpull-agent\n" in text
    assert "StateDirectoryMode=0700\n" in text
