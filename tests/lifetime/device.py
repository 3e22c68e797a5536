"""A device at its site: it reads its twin, logs in, and reports whether that worked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from firstpull.model.azure_resources import ConnectedRegistryRef
from firstpull.model.device_key import DeviceKey
from tests.lifetime.azure import Azure, entries_below, ref_of


@dataclass(frozen=True)
class Login:
    """A user name and a password that worked."""

    token: str
    password: str


@dataclass
class Device:
    """One device. A device registered again under its id is another one, without its logins."""

    key: DeviceKey
    generation_id: str
    is_away: bool = False
    logins: dict[ConnectedRegistryRef, Login] = field(default_factory=dict)
    """In use. An old login stays until the new one works, or until the twin drops its entry."""

    def act(self, azure: Azure) -> None:
        """Read the twin, try what is there, and report."""
        identity = azure.identity(self.key.device_id)
        if self.is_away or identity is None or not identity.enabled:
            return
        if identity.generation_id != self.generation_id:
            return  # another device has this id now
        entries = dict(azure.entries(self.key.device_id))
        reported = entries_below(azure.hub.twin(self.key.device_id).reported.values)
        answers: dict[str, Any] = {
            ref.name: self._try_login(azure, ref, entry) for ref, entry in entries.items()
        }
        for key in reported.keys() - answers.keys():
            self.logins.pop(ref_of(key), None)
            answers[key] = None
        if any(reported.get(key) != answer for key, answer in answers.items()):
            azure.hub.report(self.key.device_id, {"firstpull": {"registryCredentials": answers}})

    def _try_login(
        self, azure: Azure, ref: ConnectedRegistryRef, entry: dict[str, Any]
    ) -> dict[str, Any] | None:
        token, password = entry.get("username"), entry.get("password")
        if not isinstance(token, str) or not isinstance(password, str):
            return None
        answer = {"deliveryId": str(entry.get("deliveryId")), "state": "Failed"}
        if azure.sites[ref].authenticate(token, password) is not None:
            self.logins[ref] = Login(token, password)
            answer["state"] = "LoggedIn"
        return answer
