"""The deployment package, built once for the session, and a host that runs the app from it."""

from __future__ import annotations

import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from local_azure.stack import Stack
from tests.end_to_end.api import Api
from tools.package import build

from .host import packaged_app

ROOT = Path(__file__).parents[2]


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
