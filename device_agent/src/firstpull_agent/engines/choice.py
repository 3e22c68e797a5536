"""Chooses the engine of a device, and its files."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from firstpull_agent.auth_file import AuthFile
from firstpull_agent.ca_files import CaFiles
from firstpull_agent.engines import Engine
from firstpull_agent.engines.containers import Podman, Skopeo
from firstpull_agent.engines.docker import Docker, daemon_answers
from firstpull_agent.engines.oci import Oci


class Kind(StrEnum):
    """The values of `--engine`."""

    AUTO = "auto"
    DOCKER = "docker"
    PODMAN = "podman"
    SKOPEO = "skopeo"
    OCI = "oci"
    KUBERNETES = "kubernetes"


@dataclass(frozen=True)
class Places:
    """The paths in the settings; None means the engine's default."""

    state_dir: Path
    auth_file: Path | None = None
    certs_dir: Path | None = None


class UnusableSettings(Exception):
    """The settings contradict each other or this machine; the message is for a person."""


def choose_engine(kind: Kind, places: Places) -> Engine:
    """The engine to use; for `auto` the first that this machine has. Raises UnusableSettings."""
    if kind is Kind.KUBERNETES:
        raise UnusableSettings("in a cluster the nodes pull, with the pull secrets of their pods")
    if kind is Kind.AUTO:
        kind = _present()
    elif kind is not Kind.OCI and shutil.which(kind) is None:
        raise UnusableSettings(f"{kind} is not installed on this machine")
    if kind is Kind.DOCKER:
        return _docker(places)
    if kind is Kind.OCI:
        return Oci(
            AuthFile(places.auth_file or places.state_dir / "auth.json"),
            CaFiles(places.certs_dir or places.state_dir / "certs.d"),
        )
    return (Podman if kind is Kind.PODMAN else Skopeo)(
        AuthFile(
            places.auth_file or _user_config("XDG_CONFIG_HOME", ".config") / "containers/auth.json"
        ),
        CaFiles(places.certs_dir or Path("/etc/containers/certs.d")),
        names_certs=places.certs_dir is not None,
    )


def _present() -> Kind:
    if shutil.which("docker") and daemon_answers():
        return Kind.DOCKER
    return next((kind for kind in (Kind.PODMAN, Kind.SKOPEO) if shutil.which(kind)), Kind.OCI)


def _docker(places: Places) -> Docker:
    path = places.auth_file or _user_config("DOCKER_CONFIG", ".docker") / "config.json"
    if path.name != "config.json":
        raise UnusableSettings("docker keeps logins in a file named config.json only")
    return Docker(AuthFile(path), CaFiles(places.certs_dir or Path("/etc/docker/certs.d")))


def _user_config(variable: str, folder: str) -> Path:
    given = os.environ.get(variable)
    return Path(given) if given else Path.home() / folder
