"""A device: the device agent in processes of its own, without a container engine."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from local_azure.commands.processes import inherited
from local_azure.commands.processes import running as running_process
from local_azure.iot_hub.identities import Authentication, AuthenticationType, DeviceSettings
from local_azure.stack import Stack

from .cloud import entry_of, eventually


@dataclass(frozen=True)
class Agent:
    """A device's files, and how it authenticates at its hub."""

    stack: Stack
    device_id: str
    folder: Path
    identity: tuple[str, ...]
    options: list[str] = field(default_factory=list)
    """Further options of `run`."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[list[str]]:
        """The agent follows its twin; yields the lines that it writes."""
        lines: list[str] = []
        async with running_process(
            *self._command("run"),
            *self.identity,
            *self.options,
            environment=self._environment(),
            on_line=lines.append,
        ):
            yield lines

    async def pull(self, image: str, plant: str) -> tuple[int, str]:
        """The exit code of a pull, and the last line that it wrote."""
        process = await asyncio.create_subprocess_exec(
            *self._command("pull"),
            *(image, "--registry", plant),
            env=self._environment(),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        return process.returncode or 0, output.decode().strip().splitlines()[-1]

    def report(self, plant: str) -> dict[str, Any]:
        """What the device reports about a connected registry; empty for no report."""
        found: Any = self.stack.hub.twin(self.device_id).reported.values
        for name in ("firstpull", "registryCredentials", plant):
            found = (found or {}).get(name)
        return found or {}

    async def reports(self, plant: str, state: str) -> None:
        """Wait until the device reports this state of its current delivery."""

        def reported() -> bool:
            delivery_id = entry_of(self.stack, self.device_id, plant).get("deliveryId")
            report = self.report(plant)
            return (report.get("deliveryId"), report.get("state")) == (delivery_id, state)

        await eventually(reported, f"{self.device_id} does not report {state} at {plant}")

    async def reports_nothing(self, plant: str) -> None:
        """Wait until the device has logged out of a connected registry."""
        await eventually(lambda: self.report(plant) == {}, f"{self.device_id} does not log out")

    def _command(self, command: str) -> tuple[str, ...]:
        state = ("--state-dir", str(self.folder / "state"))
        return (sys.executable, "-m", "firstpull_agent", command, "--engine", "oci", *state)

    def _environment(self) -> dict[str, str]:
        return {**inherited("PATH"), "HOME": str(self.folder), "PYTHONUNBUFFERED": "1"}


def agent_with_key(stack: Stack, ca_file: Path, folder: Path, device_id: str) -> Agent:
    """A device with a symmetric key."""
    identity = stack.hub.create_device(DeviceSettings(device_id))
    key = identity.settings.authentication.primary_key
    file = folder / "connection-string"
    file.write_text(f"HostName={stack.address};DeviceId={device_id};SharedAccessKey={key}")
    options = ("--connection-string-file", str(file), "--hub-ca", str(ca_file))
    return Agent(stack, device_id, folder, options)


def agent_with_certificate(stack: Stack, ca_file: Path, folder: Path, device_id: str) -> Agent:
    """A device with a certificate, which the hub knows by its thumbprint."""
    certificate, key = stack.kernel.certificates.issue_client(device_id)
    loaded = x509.load_pem_x509_certificate(certificate.encode())
    thumbprint = loaded.fingerprint(hashes.SHA256()).hex().upper()
    stack.hub.create_device(
        DeviceSettings(
            device_id,
            Authentication(
                AuthenticationType.SELF_SIGNED,
                primary_thumbprint=thumbprint,
                secondary_thumbprint=thumbprint,
            ),
        )
    )
    files = {"--certificate": folder / "device.pem", "--key": folder / "device.key"}
    for file, text in zip(files.values(), (certificate, key), strict=True):
        file.write_text(text)
    options = [part for name, file in files.items() for part in (name, str(file))]
    address = ("--hub", stack.address, "--device-id", device_id, "--hub-ca", str(ca_file))
    return Agent(stack, device_id, folder, (*address, *options))
