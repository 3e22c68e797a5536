"""Rules that no type and no linter can hold."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_NOT_OURS = {"node_modules", "__pycache__", "dist"}
_NO_REGISTRY_HOSTS = tuple(
    ".".join(labels)
    for labels in (
        ("pypi", "org"),
        ("files", "pythonhosted", "org"),
        ("registry", "npmjs", "org"),
        ("registry", "yarnpkg", "com"),
        ("deb", "debian", "org"),
    )
)


def test_no_file_names_the_host_of_a_package_registry() -> None:
    """Whoever builds this has a mirror of his own, set where his tools look for it."""
    looked_at, found = 0, []
    for path in _own_files(ROOT):
        looked_at += 1
        content = path.read_bytes()
        found += [f"{path}: {host}" for host in _NO_REGISTRY_HOSTS if host.encode() in content]
    assert found == []
    assert looked_at > 200


def test_the_host_serves_the_prefix_that_the_description_of_the_api_names() -> None:
    host = json.loads((ROOT / "host.json").read_text())
    endpoints = (ROOT / "functions/endpoints.py").read_text()
    prefix = host["extensions"]["http"]["routePrefix"]
    assert f'ROUTE_PREFIX = "/{prefix}"\n' in endpoints


@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="there is one worker")
def test_with_several_workers_a_file_stays_with_one(request: pytest.FixtureRequest) -> None:
    """What the files set up is shared by their tests, which a lost group would tear apart."""
    assert request.node.nodeid.endswith(f"@{request.path}")


def _own_files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.is_symlink() or path.name in _NOT_OURS or _is_hidden_folder(path):
            continue
        if path.is_dir():
            yield from _own_files(path)
        else:
            yield path


def _is_hidden_folder(path: Path) -> bool:
    """Caches and environments; the hidden folders that are ours are few."""
    ours = (".ci", ".devcontainer", ".github")
    return path.is_dir() and path.name.startswith(".") and path.name not in ours
