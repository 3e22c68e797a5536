"""What is in the deployment package, and what is not."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from importlib.metadata import distributions
from pathlib import Path

import pytest

from local_azure.commands.function_app import app_settings
from local_azure.stack import Stack
from tools import package as packaging
from tools.package import SITE_PACKAGES, NotProductionCode, app_files, build

from .conftest import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]  # the first test waits for the build
_LOAD_THE_APP = """
import json, sys
from importlib.machinery import SourceFileLoader

sys.path[:0] = sys.argv[1:]
compiled = []
compile_it = SourceFileLoader.source_to_code

def watch(self, data, path, **options):
    compiled.append(path)
    return compile_it(self, data, path, **options)

SourceFileLoader.source_to_code = watch
import function_app

files = [module.__file__ for module in sys.modules.values() if getattr(module, "__file__", None)]
print(json.dumps({"compiled": compiled, "files": files, "standard": json.__file__}))
"""


@pytest.fixture(scope="module")
def entries(package: Path) -> list[zipfile.ZipInfo]:
    with zipfile.ZipFile(package) as archive:
        return archive.infolist()


def test_it_holds_the_app_and_its_dependencies_and_nothing_else(
    entries: list[zipfile.ZipInfo],
) -> None:
    names = {entry.filename for entry in entries}
    assert {name.split("/")[0] for name in names} == {
        *("function_app.py", "host.json", "requirements.txt", "functions", "firstpull"),
        *("__pycache__", SITE_PACKAGES.parts[0]),
    }
    assert {str(path) for path in app_files(ROOT)} < names
    assert not {name for name in names if "/tests/" in name or "local_azure" in name}


def test_its_dependencies_are_the_pinned_ones(unpacked: Path) -> None:
    pinned = re.findall(
        r"^([\w.-]+)==([\w.]+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE
    )
    installed = distributions(path=[str(unpacked / SITE_PACKAGES)])
    found = {(one.name.lower().replace("_", "-"), one.version) for one in installed}
    assert found == {(name.lower().replace("_", "-"), version) for name, version in pinned}


def test_order_times_and_modes_of_its_files_do_not_depend_on_the_machine(
    entries: list[zipfile.ZipInfo],
) -> None:
    assert [entry.filename for entry in entries] == sorted(entry.filename for entry in entries)
    assert {(entry.date_time, entry.external_attr >> 16) for entry in entries} == {
        ((1980, 1, 1, 0, 0, 0), 0o100644)
    }


def test_the_app_loads_from_it_alone_and_compiles_nothing(stack: Stack, unpacked: Path) -> None:
    loaded = subprocess.run(  # noqa: S603 - no input
        (
            *(sys.executable, "-I", "-S", "-c", _LOAD_THE_APP),
            *(str(unpacked), str(unpacked / SITE_PACKAGES)),
        ),
        env=app_settings(stack),
        capture_output=True,
        text=True,
        check=False,
    )
    assert loaded.returncode == 0, loaded.stderr
    found = json.loads(loaded.stdout)
    standard = Path(found["standard"]).parents[1]
    elsewhere = [path for path in found["files"] if not Path(path).is_relative_to(unpacked)]
    assert [path for path in elsewhere if not Path(path).is_relative_to(standard)] == []
    assert [path for path in found["compiled"] if Path(path).is_relative_to(unpacked)] == []


@pytest.mark.parametrize("other", ["notes.txt", "firstpull/device.pem", ".python-version.bak"])
def test_a_file_that_is_not_code_stops_the_build_unless_it_is_ignored(
    tmp_path: Path, other: str
) -> None:
    (tmp_path / "firstpull").mkdir()
    for name in ("function_app.py", "host.json", "firstpull/plan.py", other):
        (tmp_path / name).touch()
    (tmp_path / ".funcignore").write_text(".funcignore\n")
    with pytest.raises(NotProductionCode, match=re.escape(other)):
        app_files(tmp_path)
    (tmp_path / ".funcignore").write_text(f".funcignore\n{other}\n")
    left = [str(path) for path in app_files(tmp_path)]
    assert left == ["firstpull/plan.py", "function_app.py", "host.json"]


def test_a_dependency_without_a_hash_stops_the_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("six==1.17.0\n")
    monkeypatch.setattr(packaging, "REQUIREMENTS", str(requirements))
    with pytest.raises(subprocess.CalledProcessError):
        build(tmp_path / "firstpull.zip")
