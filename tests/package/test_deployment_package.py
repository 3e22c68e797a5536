"""What is in the deployment package, and what is not."""

from __future__ import annotations

import hashlib
import json
import marshal
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path
from types import CodeType

import pytest

from local_azure.commands.function_app import app_settings
from local_azure.stack import Stack
from tools.package import SITE_PACKAGES, NotProductionCode, app_files

from .conftest import ROOT, Built

pytestmark = pytest.mark.timeout(300)  # the first test waits for two builds
_UNCHECKED_HASH = 0b01
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
def entries(built: Built) -> list[zipfile.ZipInfo]:
    with zipfile.ZipFile(built.archive) as package:
        return package.infolist()


@pytest.fixture(scope="module")
def names(entries: list[zipfile.ZipInfo]) -> set[str]:
    return {entry.filename for entry in entries}


def _bytecode_of(source: str) -> str:
    path = Path(source)
    return str(path.parent / "__pycache__" / f"{path.stem}.{sys.implementation.cache_tag}.pyc")


def _pinned() -> Iterator[tuple[str, str]]:
    for line in (ROOT / "requirements.txt").read_text().splitlines():
        if found := re.match(r"([\w.-]+)==([\w.]+)", line):
            yield found[1], found[2]


def _normal(name: str) -> str:
    return name.lower().replace("_", "-")


def test_building_it_twice_gives_the_same_bytes(built_twice: tuple[Built, Built]) -> None:
    first, second = (build.archive.read_bytes() for build in built_twice)
    assert first == second


def test_the_command_says_how_large_it_is_and_what_its_digest_is(built: Built) -> None:
    content = built.archive.read_bytes()
    assert f"{len(content) / 2**20:.1f} MiB" in built.output
    assert hashlib.sha256(content).hexdigest() in built.output


def test_it_is_about_as_large_as_the_documents_say(built: Built) -> None:
    said = re.search(r"about (\d+) MiB", (ROOT / "docs/releasing.md").read_text())
    assert said is not None
    assert built.archive.stat().st_size / 2**20 == pytest.approx(int(said[1]), rel=0.1)


def test_the_app_is_what_funcignore_leaves_and_its_bytecode(names: set[str]) -> None:
    left = {str(path) for path in app_files(ROOT)}
    bytecode = {_bytecode_of(name) for name in left if name.endswith(".py")}
    assert {name for name in names if not name.startswith(f"{SITE_PACKAGES}/")} == left | bytecode
    assert {"function_app.py", "host.json", "firstpull/bootstrap.py"} < left


def test_everything_else_of_the_checkout_stays_out(names: set[str]) -> None:
    top = {name.split("/")[0] for name in names}
    assert top == {
        *("function_app.py", "host.json", "requirements.txt", "functions", "firstpull"),
        *("__pycache__", SITE_PACKAGES.parts[0]),
    }


def test_its_dependencies_are_the_pinned_ones_and_no_others(unpacked: Path) -> None:
    installed = distributions(path=[str(unpacked / SITE_PACKAGES)])
    assert {(_normal(found.name), found.version) for found in installed} == set(_pinned())


def test_dependencies_bring_no_tests_commands_or_sources_of_extensions(names: set[str]) -> None:
    assert not {name for name in names if "/tests/" in name}
    assert not {name for name in names if name.startswith(f"{SITE_PACKAGES}/bin/")}
    assert not {name for name in names if name.endswith((".c", ".h", ".pyx", ".pyi"))}


def test_every_module_has_bytecode_and_all_bytecode_has_its_module(names: set[str]) -> None:
    sources = {name for name in names if name.endswith(".py")}
    assert {_bytecode_of(name) for name in sources} == {n for n in names if n.endswith(".pyc")}


def test_bytecode_is_taken_without_a_look_at_the_source_and_names_its_place_on_azure(
    built: Built,
) -> None:
    with zipfile.ZipFile(built.archive) as package:
        for name in package.namelist():
            if name.endswith(".py"):
                content = package.read(_bytecode_of(name))
                assert int.from_bytes(content[4:8], "little") == _UNCHECKED_HASH, name
                code = marshal.loads(content[16:])  # noqa: S302 - made by this very build
                assert isinstance(code, CodeType)
                assert code.co_filename == f"/home/site/wwwroot/{name}"


def test_its_files_are_in_order_and_have_one_time_and_one_mode(
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
    strangers = [f for f in found["files"] if not Path(f).is_relative_to(unpacked)]
    assert [f for f in strangers if not Path(f).is_relative_to(standard)] == []
    assert [path for path in found["compiled"] if Path(path).is_relative_to(unpacked)] == []
    assert str(unpacked / "firstpull/bootstrap.py") in found["files"]


@pytest.mark.parametrize("stranger", ["notes.txt", "firstpull/device.pem", ".python-version.bak"])
def test_a_file_that_is_no_production_code_is_refused_unless_ignored(
    tmp_path: Path, stranger: str
) -> None:
    (tmp_path / "firstpull").mkdir()
    for name in ("function_app.py", "host.json", "firstpull/plan.py", stranger):
        (tmp_path / name).touch()
    (tmp_path / ".funcignore").write_text(".funcignore\n")
    with pytest.raises(NotProductionCode, match=re.escape(stranger)):
        app_files(tmp_path)
    (tmp_path / ".funcignore").write_text(f".funcignore\n{stranger}\n")
    left = [str(path) for path in app_files(tmp_path)]
    assert left == ["firstpull/plan.py", "function_app.py", "host.json"]


def test_folders_are_ignored_wherever_they_are(tmp_path: Path) -> None:
    for name in ("firstpull/__pycache__/plan.pyc", "tests/test_plan.py", "firstpull/plan.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / ".funcignore").write_text((ROOT / ".funcignore").read_text())
    assert [str(path) for path in app_files(tmp_path)] == ["firstpull/plan.py"]
