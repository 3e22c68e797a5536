"""The deployment package, built once for the session, and a host that runs the app from it."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from local_azure.stack import Stack
from tests.end_to_end.api import Api

from .host import packaged_app

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Built:
    """An archive as `make package` left it, and what the command said."""

    archive: Path
    output: str


@pytest.fixture(scope="session")
def built_twice(tmp_path_factory: pytest.TempPathFactory) -> tuple[Built, Built]:
    """Two builds side by side, which have nothing in common but the checkout."""
    folders = [tmp_path_factory.mktemp(name) for name in ("first", "second")]
    builds = [
        subprocess.Popen(  # noqa: S603 - no input
            (sys.executable, "-m", "tools.package", "--output", folder / "firstpull.zip"),
            cwd=ROOT,
            env={**os.environ, "TMPDIR": str(folder), "PYTHONHASHSEED": str(number)},
            stdout=subprocess.PIPE,
            text=True,
            umask=0o022 if number else 0o077,
        )
        for number, folder in enumerate(folders)
    ]
    outputs = [build.communicate()[0] for build in builds]
    assert [build.returncode for build in builds] == [0, 0]
    first, second = (
        Built(folder / "firstpull.zip", output)
        for folder, output in zip(folders, outputs, strict=True)
    )
    return first, second


@pytest.fixture(scope="session")
def built(built_twice: tuple[Built, Built]) -> Built:
    """The package."""
    return built_twice[0]


@pytest.fixture(scope="session")
def unpacked(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as it is on Azure: files in a folder, with times of their own."""
    folder = tmp_path_factory.mktemp("wwwroot")
    with zipfile.ZipFile(built.archive) as package:
        package.extractall(folder)
    return folder


@pytest.fixture(scope="module")
async def api(
    stack: Stack, ca_file: Path, unpacked: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Api]:
    """The app, run from the package by the local host."""
    empty = tmp_path_factory.mktemp("local_azure_alone")
    async with packaged_app(stack, ca_file, package=unpacked, empty=empty) as api:
        yield api
