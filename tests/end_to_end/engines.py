"""docker, podman and skopeo, each with logins, images and certificates in a folder of its own.

The machine's own engines are neither used nor changed: the fixed places that engines write to
are mounted from that folder.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from local_azure.commands.processes import inherited, running

from .cloud import GIVE_UP_SECONDS, Entry

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_ACCEPT_ANY_IMAGE = '{"default": [{"type": "insecureAcceptAnything"}]}'
_OWN_FOLDERS = ("etc", "run", "var/lib", "dev/shm")
_MOUNT_AND_RUN = f"""
for name in {" ".join(_OWN_FOLDERS)}; do mount --bind "$0/$name" "/$name" || exit; done
exec "$@"
"""


@dataclass(frozen=True)
class Outcome:
    """The exit code of a command, and all that it wrote."""

    code: int
    output: str

    @property
    def succeeded(self) -> bool:
        """Whether the exit code says so."""
        return self.code == 0

    def refused(self, *reasons: str) -> bool:
        """Whether it failed and named one of these reasons."""
        return self.code != 0 and any(reason in self.output for reason in reasons)


@dataclass(frozen=True)
class Engine(ABC):
    """A program that pulls with a twin's entry. It writes to `folder` only."""

    entry: Entry
    folder: Path
    command: tuple[str, ...]
    environment: Mapping[str, str]
    login_options: tuple[str, ...] = ()

    async def log_in(self, password: str | None = None) -> Outcome:
        """Log in as the entry says, or with another password."""
        options = ("--username", self.entry["username"], "--password-stdin", *self.login_options)
        return await self.run(
            "login", *options, self.entry["address"], stdin=password or self.entry["password"]
        )

    @abstractmethod
    async def pull(self, repository: str) -> Outcome:
        """Pull the image that is tagged latest."""

    @abstractmethod
    async def digest_of(self, repository: str) -> str:
        """The digest of a pulled image. Raises AssertionError."""

    @abstractmethod
    async def push(self, repository: str) -> Outcome:
        """Push a pulled image."""

    def image(self, repository: str) -> str:
        """An image's name."""
        return f"{self.entry['address']}/{repository}:latest"

    async def run(self, *arguments: str, stdin: str = "") -> Outcome:
        """Run one command of the program."""
        process = await asyncio.create_subprocess_exec(
            *self.command,
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**inherited("PATH"), "HOME": str(self.folder), **self.environment},
        )
        output, _ = await process.communicate(stdin.encode())
        assert process.returncode is not None
        return Outcome(process.returncode, output.decode())


class _WithStore(Engine):
    async def pull(self, repository: str) -> Outcome:
        return await self.run("pull", self.image(repository))

    async def digest_of(self, repository: str) -> str:
        names = "--format={{index .RepoDigests 0}}"
        found = await self.run("image", "inspect", names, self.image(repository))
        digest = _DIGEST.search(found.output)
        assert digest, found.output
        return digest[0]

    async def push(self, repository: str) -> Outcome:
        return await self.run("push", self.image(repository))


class _Skopeo(Engine):
    async def pull(self, repository: str) -> Outcome:
        return await self._copy(repository, f"dir:{self.folder / repository}")

    async def digest_of(self, repository: str) -> str:
        manifest = self.folder / repository / "manifest.json"
        found = await self.run("manifest-digest", str(manifest))
        assert found.succeeded, found.output
        return found.output.strip()

    async def push(self, repository: str) -> Outcome:
        return await self._copy(repository, f"docker://{self.entry['address']}/{repository}:mine")

    async def _copy(self, repository: str, destination: str) -> Outcome:
        source = f"docker://{self.image(repository)}"
        options = (
            *_skopeo_transport(self.entry, self.folder, prefix="src-"),
            *_skopeo_transport(self.entry, self.folder, prefix="dest-"),
        )
        return await self.run("copy", *options, source, destination)


@asynccontextmanager
async def skopeo(entry: Entry, folder: Path) -> AsyncIterator[Engine]:
    """skopeo, which needs no privileges. Skips the test where it is not installed."""
    _skip_without("skopeo")
    _trust(entry, _skopeo_certificates(folder))
    command: tuple[str, ...] = ("skopeo", "--insecure-policy", "--tmpdir", str(folder))
    if _is_privileged():
        # As root, it keeps a cache in a fixed place.
        _make_own_folders(folder)
        command = _in_own_folders(folder, *command)
    yield _Skopeo(
        entry,
        folder,
        command,
        {"REGISTRY_AUTH_FILE": str(folder / "auth.json")},
        _skopeo_transport(entry, folder),
    )


@asynccontextmanager
async def podman(entry: Entry, folder: Path) -> AsyncIterator[Engine]:
    """podman, as root. Skips the test where it cannot run."""
    _skip_without("podman")
    _skip_without_privileges()
    _make_own_folders(folder)
    _trust(entry, folder / "etc/containers/certs.d" / entry["address"])
    (folder / "etc/containers/policy.json").write_text(_ACCEPT_ANY_IMAGE)
    storage = ("--root", f"{folder}/root", "--runroot", f"{folder}/r", "--tmpdir", f"{folder}/t")
    flags = ("--storage-driver=vfs", "--events-backend=file", "--cgroup-manager=cgroupfs")
    yield _WithStore(
        entry,
        folder,
        _in_own_folders(folder, "podman", *storage, *flags),
        {"REGISTRY_AUTH_FILE": str(folder / "auth.json"), "XDG_RUNTIME_DIR": str(folder)},
    )


@asynccontextmanager
async def docker(entry: Entry, folder: Path) -> AsyncIterator[Engine]:
    """docker with a daemon of its own. Skips the test where that cannot run.

    The daemon treats every loopback address as insecure: it speaks TLS there and checks no CA.
    """
    _skip_without("docker", "dockerd")
    _skip_without_privileges()
    _make_own_folders(folder)
    _trust(entry, folder / "etc/docker/certs.d" / entry["address"])
    host = f"unix://{folder}/socket"
    engine = _WithStore(
        entry, folder, ("docker",), {"DOCKER_HOST": host, "DOCKER_CONFIG": str(folder / "client")}
    )
    lines: list[str] = []
    async with running(
        *_in_own_folders(folder, "dockerd"),
        *("--host", host, "--pidfile", f"{folder}/pid"),
        *("--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec"),
        *("--iptables=false", "--ip6tables=false", "--bridge=none", "--storage-driver=vfs"),
        environment={**inherited("PATH"), "HOME": str(folder)},
        on_line=lines.append,
    ) as daemon:
        give_up = time.monotonic() + GIVE_UP_SECONDS
        while not (await engine.run("version")).succeeded:
            if daemon.returncode is not None or time.monotonic() > give_up:
                pytest.skip(f"dockerd does not start: {lines[-1] if lines else 'it says nothing'}")
            await asyncio.sleep(0.1)
        yield engine


def _skip_without(*programs: str) -> None:
    for program in programs:
        if not shutil.which(program):
            pytest.skip(f"{program} is not installed")


def _skip_without_privileges() -> None:
    if not _is_privileged():
        pytest.skip("storing an image takes root, and more than a plain container may do")


@cache
def _is_privileged() -> bool:
    command = ("unshare", "--mount", "true")
    return (
        os.geteuid() == 0
        and bool(shutil.which(command[0]))
        and subprocess.run(command, capture_output=True, check=False).returncode == 0  # noqa: S603 - fixed above
    )


def _make_own_folders(folder: Path) -> None:
    for name in _OWN_FOLDERS:
        (folder / name).mkdir(parents=True, exist_ok=True)


def _in_own_folders(folder: Path, *command: str) -> tuple[str, ...]:
    """The command in a mount namespace, whose mounts end with its last process."""
    return ("unshare", "--mount", "sh", "-c", _MOUNT_AND_RUN, str(folder), *command)


def _skopeo_certificates(folder: Path) -> Path:
    return folder / "certificates"


def _skopeo_transport(entry: Entry, folder: Path, *, prefix: str = "") -> tuple[str, ...]:
    if entry.get("insecure"):
        return (f"--{prefix}tls-verify=false",)
    return (f"--{prefix}cert-dir={_skopeo_certificates(folder)}",)


def _trust(entry: Entry, certificates: Path) -> None:
    """Put the CA, which the entry has in pieces or not at all, where an engine looks for it."""
    certificates.mkdir(parents=True, exist_ok=True)
    if "ca" in entry:
        (certificates / "ca.crt").write_text("".join(entry["ca"]))
