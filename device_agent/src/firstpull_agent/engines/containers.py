"""podman and skopeo, which share a library and its options."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from firstpull_agent.applied import Applied
from firstpull_agent.auth_file import AuthFile
from firstpull_agent.ca_files import CaFiles
from firstpull_agent.deliveries import Delivery
from firstpull_agent.engines.commands import (
    LOGIN_TIMEOUT_SECONDS,
    PULL_TIMEOUT_SECONDS,
    run_command,
)
from firstpull_agent.images import Image


@dataclass(frozen=True)
class _Containers:
    """The common part. `names_certs` passes the folder of CA files, if it is not the default."""

    auth_file: AuthFile
    ca_files: CaFiles
    names_certs: bool
    name: str

    def login(self, delivery: Delivery) -> None:
        """Check the login, then store it."""
        # These commands create the file, but not always its folder.
        self.auth_file.path.parent.mkdir(parents=True, exist_ok=True)
        run_command(
            [
                self.name,
                "login",
                f"--authfile={self.auth_file.path}",
                f"--username={delivery.username}",
                "--password-stdin",
                *self._transport(delivery),
                delivery.address,
            ],
            timeout_seconds=LOGIN_TIMEOUT_SECONDS,
            secret_input=delivery.password,
        )

    def logout(self, address: str) -> None:
        """Remove the login for `address`."""
        if self.auth_file.has(address):
            run_command(
                [self.name, "logout", f"--authfile={self.auth_file.path}", address],
                timeout_seconds=LOGIN_TIMEOUT_SECONDS,
            )

    def _transport(self, login: Applied | Delivery, *, prefix: str = "") -> list[str]:
        options = []
        if login.has_ca and self.names_certs:
            options.append(f"--{prefix}cert-dir={self.ca_files.folder(login.address)}")
        if login.insecure:
            options.append(f"--{prefix}tls-verify=false")
        return options


@dataclass(frozen=True)
class Podman(_Containers):
    """podman, with its own image store."""

    name: str = "podman"

    def pull(self, image: Image, login: Applied, *, output: Path) -> str:  # noqa: ARG002 - images go to the store
        """Pull into podman's image store."""
        name = image.at(login.address)
        authfile = f"--authfile={self.auth_file.path}"
        run_command(
            ["podman", "pull", "--quiet", authfile, *self._transport(login), name],
            timeout_seconds=PULL_TIMEOUT_SECONDS,
        )
        inspect = ["podman", "image", "inspect", "--format={{.Digest}}", name]
        return run_command(inspect, timeout_seconds=LOGIN_TIMEOUT_SECONDS).strip()


@dataclass(frozen=True)
class Skopeo(_Containers):
    """skopeo, which has no image store: it copies images to a folder in its `dir:` layout."""

    name: str = "skopeo"

    def pull(self, image: Image, login: Applied, *, output: Path) -> str:
        """Copy the image to `output`."""
        output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            digest_file = Path(folder, "digest")
            run_command(
                [
                    "skopeo",
                    "copy",
                    "--quiet",
                    f"--digestfile={digest_file}",
                    f"--src-authfile={self.auth_file.path}",
                    *self._transport(login, prefix="src-"),
                    f"docker://{image.at(login.address)}",
                    f"dir:{output}",
                ],
                timeout_seconds=PULL_TIMEOUT_SECONDS,
            )
            return digest_file.read_text().strip()
