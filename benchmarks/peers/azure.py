"""What the scripts share: where Azure is, and the names of what they make."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from azure.core.credentials import AccessToken, TokenCredential

SCOPE_MAP = "peers-hello-world"
VALIDITY = timedelta(days=90)


@dataclass(frozen=True, kw_only=True)
class Task:
    """Devices to give access to one connected registry, and Azure's addresses."""

    devices: tuple[str, ...]
    connected_registry: str
    arm_endpoint: str
    subscription: str
    group: str
    registry: str
    vault_url: str
    hub: str

    @property
    def registry_id(self) -> str:
        """The container registry's resource id."""
        return (
            f"/subscriptions/{self.subscription}/resourceGroups/{self.group}/providers"
            f"/Microsoft.ContainerRegistry/registries/{self.registry}"
        )

    @property
    def scope_map_id(self) -> str:
        """The scope map's resource id; it exists before."""
        return f"{self.registry_id}/scopeMaps/{SCOPE_MAP}"

    def token_name(self, device: str) -> str:
        """The name of a device's token."""
        return f"peer-{device}"

    def token_id(self, device: str) -> str:
        """The resource id of a device's token."""
        return f"{self.registry_id}/tokens/{self.token_name(device)}"


class HubCredential:
    """A credential for IoT Hub's audience, whatever scope its SDK asks for."""

    def __init__(self, credential: TokenCredential) -> None:
        self._credential = credential

    def get_token(self, *_scopes: str, **_options: Any) -> AccessToken:  # noqa: ANN401 - the SDK's
        """A token."""
        return self._credential.get_token("https://iothubs.azure.net/.default")


def expiry() -> datetime:
    """When a password of today expires."""
    return (datetime.now(UTC) + VALIDITY).replace(microsecond=0)


def twin_patch(task: Task, device: str, password: str) -> dict[str, Any]:
    """What a device's twin gets."""
    entry = {"username": task.token_name(device), "password": password}
    return {"registryCredentials": {task.connected_registry: entry}}


def run(work: Callable[[Task], float], arguments: Sequence[str]) -> int:
    """Carry a task in JSON out, and print the seconds that it took."""
    parser = argparse.ArgumentParser()
    parser.add_argument("task")
    given = json.loads(parser.parse_args(arguments).task)
    task = Task(**{**given, "devices": tuple(given["devices"])})
    sys.stdout.write(json.dumps({"seconds": work(task)}))
    return 0
