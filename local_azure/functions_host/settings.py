"""App settings: environment variables, read by the names and rules of Azure Functions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

HOST_STORAGE = "AzureWebJobsStorage"


class SettingMissing(Exception):
    """A setting that the app needs is missing. The text names the setting, never a value."""


@dataclass(frozen=True)
class IdentityConnection:
    """A storage service to which a user-assigned managed identity has access."""

    service_uri: str
    client_id: str | None


class AppSettings:
    """The settings of an app. Names are compared without case, `__` separates their parts."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._values = {name.lower(): value for name, value in environment.items()}
        self._environment = environment

    def get(self, name: str) -> str | None:
        """A setting that is present and not empty."""
        return self._values.get(name.lower()) or None

    def below(self, prefix: str) -> dict[str, str]:
        """The settings whose names start so, by the rest of their names."""
        return {
            name[len(prefix) :]: value
            for name, value in self._environment.items()
            if name.lower().startswith(prefix.lower())
        }

    def is_disabled(self, function_name: str) -> bool:
        """Whether `AzureWebJobs__<name>__Disabled` switches a function off."""
        text = self.get(f"AzureWebJobs__{function_name}__Disabled") or ""
        return text.lower() in ("true", "1")

    def storage(self, service: str) -> str | IdentityConnection:
        """The host's storage account for `blob` or `queue`: connection string, or identity.

        Raises SettingMissing.
        """
        if (text := self.get(HOST_STORAGE)) is not None:
            return text
        if (uri := self.get(f"{HOST_STORAGE}__{service}ServiceUri")) is not None:
            return IdentityConnection(uri, self.get(f"{HOST_STORAGE}__clientId"))
        raise SettingMissing(
            f"set {HOST_STORAGE} to a connection string, or {HOST_STORAGE}__{service}ServiceUri"
        )
