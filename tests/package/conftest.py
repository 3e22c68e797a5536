"""The deployment package, built once for the session, and a host that runs the app from it."""

from __future__ import annotations

import os
import shutil
import subprocess
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from local_azure.stack import Stack
from tests.end_to_end.api import Api
from tools.package import build

from .host import packaged_app

ROOT = Path(__file__).parents[2]


def run(
    *command: str | Path, stdin: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """What became of a program that trusts what the machine trusts, as uv and pip have to."""
    unset = {"SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PYTHONPATH"}
    kept = {name: value for name, value in os.environ.items() if name not in unset}
    return subprocess.run(  # noqa: S603 - fixed commands
        [str(part) for part in command],
        input=stdin,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def python_of(version: str) -> str | None:
    """An interpreter of this version on this machine, None if there is none."""
    places = [shutil.which(f"python{version}"), f"/usr/bin/python{version}"]
    places += map(str, Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    asks = "import sys, venv; print('%d.%d' % sys.version_info[:2])"
    for place in places:
        if place and Path(place).exists() and run(place, "-c", asks).stdout.strip() == version:
            return place
    return None


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive that `make package` writes."""
    with pytest.MonkeyPatch.context() as patch:
        # pip trusts what the machine trusts, and not the session's own authority only.
        for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
            patch.delenv(name)
        return build(tmp_path_factory.mktemp("package") / "firstpull.zip").archive


@pytest.fixture(scope="session")
def unpacked(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as Azure unpacks it: the files get times of their own."""
    folder = tmp_path_factory.mktemp("wwwroot")
    with zipfile.ZipFile(package) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture(scope="module")
async def api(
    stack: Stack, ca_file: Path, unpacked: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Api]:
    """The app, run from the package by the local host."""
    empty = tmp_path_factory.mktemp("local_azure_alone")
    async with packaged_app(stack, ca_file, package=unpacked, empty=empty) as api:
        yield api
