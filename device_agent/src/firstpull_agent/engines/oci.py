"""No engine: the agent's own file of logins, and pulls into an OCI layout."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from firstpull_agent.applied import Applied
from firstpull_agent.auth_file import AuthFile
from firstpull_agent.ca_files import CaFiles
from firstpull_agent.deliveries import Delivery
from firstpull_agent.engines.commands import PULL_TIMEOUT_SECONDS
from firstpull_agent.engines.oci_layout import pull_layout
from firstpull_agent.http_client import ANSWER_SECONDS, http_client
from firstpull_agent.images import CannotPull, Image
from firstpull_agent.registry import Registry


@dataclass(frozen=True)
class Oci:
    """Stores logins in docker's format, for any program that reads it."""

    auth_file: AuthFile
    ca_files: CaFiles
    name: str = "oci"

    def login(self, delivery: Delivery) -> None:
        """Store the login."""
        self.auth_file.put(delivery.address, username=delivery.username, password=delivery.password)

    def logout(self, address: str) -> None:
        """Remove the login for `address`."""
        self.auth_file.remove(address)

    def pull(self, image: Image, login: Applied, *, output: Path) -> str:
        """Write the image to `output` as an OCI image layout, with every digest verified."""
        return asyncio.run(self._pull(image, login, output))

    async def _pull(self, image: Image, login: Applied, output: Path) -> str:
        kept = self.auth_file.credentials(login.address)
        if kept is None:
            raise CannotPull(f"the login for {login.address} cannot be read")
        ca = self.ca_files.read(login.address) if login.has_ca else None
        async with http_client(login.address, ca=ca, seconds=ANSWER_SECONDS) as client:
            registry = Registry(client, login.address, insecure=login.insecure)
            token = await registry.log_in(*kept, repository=image.repository)
        async with http_client(login.address, ca=ca, seconds=PULL_TIMEOUT_SECONDS) as client:
            return await pull_layout(client, registry.base, token, image, output)
