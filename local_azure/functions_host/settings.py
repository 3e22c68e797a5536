"""App settings: environment variables, read by the names and rules of Azure Functions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

HOST_STORAGE = "AzureWebJobsStorage"  # the connection of bindings that name none
_PLACEHOLDER = re.compile(r"%([^%]+)%")


class SettingMissing(Exception):
    """A setting that the app needs is not there. Names the setting, never a value."""


@dataclass(frozen=True)
class IdentityConnection:
    """A storage service that is opened with a managed identity."""

    service_uri: str
    managed_identity: bool
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

    def resolve(self, text: str) -> str:
        """`text` with every `%NAME%` replaced. Raises SettingMissing."""

        def value(match: re.Match[str]) -> str:
            found = self.get(match[1])
            if found is None:
                raise SettingMissing(f"%{match[1]}% does not resolve to a value")
            return found

        return _PLACEHOLDER.sub(value, text)

    def is_disabled(self, function_name: str) -> bool:
        """Whether `AzureWebJobs__<name>__Disabled` (or with dots) switches a function off."""
        names = (
            f"AzureWebJobs__{function_name}__Disabled",
            f"AzureWebJobs.{function_name}.Disabled",
        )
        return any((self.get(name) or "").lower() in ("true", "1") for name in names)

    def connection(self, name: str, *, service: str) -> str | IdentityConnection:
        """A connection string, or an identity-based connection, for `blob` or `queue`.

        `name` is the `connection` of a binding; `AzureWebJobs<name>` goes before `<name>`, a
        connection string before an identity. Raises SettingMissing.
        """
        for prefix in (f"AzureWebJobs{name}", name):
            if (text := self.get(prefix)) is not None:
                return text
            if (uri := self._service_uri(prefix, service)) is not None:
                return IdentityConnection(
                    service_uri=uri,
                    managed_identity=(self.get(f"{prefix}__credential") or "").lower()
                    == "managedidentity",
                    client_id=self.get(f"{prefix}__clientId"),
                )
        raise SettingMissing(
            f"no connection: set {name} to a connection string or {name}__{service}ServiceUri"
        )

    def _service_uri(self, prefix: str, service: str) -> str | None:
        if (uri := self.get(f"{prefix}__{service}ServiceUri")) is not None:
            return uri
        if (account := self.get(f"{prefix}__accountName")) is not None:
            return f"https://{account}.{service}.core.windows.net"
        return None
