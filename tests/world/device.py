"""A device at its site: it reads its twin, logs in, and reports whether that worked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from joserfc.jwe import JWERegistry, decrypt_compact
from joserfc.jwk import ECKey

from firstpull.model.azure_resources import ConnectedRegistryRef
from firstpull.model.device_key import DeviceKey

if TYPE_CHECKING:
    from tests.world.cloud import Cloud


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
    keys: list[ECKey] = field(default_factory=list)
    """To which its passwords can be sealed."""

    @property
    def held(self) -> dict[str, str]:
        """By connected registry: the password of the last login that worked."""
        return {ref.name: login.password for ref, login in self.logins.items()}

    def act(self, cloud: Cloud) -> None:
        """Read the twin, try what is there, and report."""
        if self.is_away or not cloud.hub.device(self.key.device_id).enabled:
            return
        reported = entries_below(cloud.hub.twin(self.key.device_id).reported.values)
        answers: dict[str, Any] = {
            ref.name: self._try_login(cloud, ref, entry)
            for ref, entry in cloud.entries(self.key).items()
        }
        gone = reported.keys() - answers.keys()
        self.logins = {ref: login for ref, login in self.logins.items() if ref.name not in gone}
        answers |= dict.fromkeys(gone)
        if any(_without_nulls(answer) != reported.get(name) for name, answer in answers.items()):
            cloud.hub.report(self.key.device_id, {"firstpull": {"registryCredentials": answers}})

    def _try_login(
        self, cloud: Cloud, ref: ConnectedRegistryRef, entry: dict[str, Any]
    ) -> dict[str, Any] | None:
        token, password = entry.get("username"), self.password_in(entry)
        if not isinstance(token, str) or not isinstance(password, str):
            return None
        answer = {"deliveryId": str(entry.get("deliveryId"))}
        if not cloud.site_accepts(ref, token, password):
            return answer | {"state": "Failed", "reason": "Unauthorized"}
        self.logins[ref] = Login(token, password)
        return answer | {"state": "LoggedIn", "reason": None}

    def password_in(self, entry: dict[str, Any]) -> object:
        """The password in an entry, opened if it is sealed and the device has the key."""
        if "sealed" not in entry:
            return entry.get("password")
        registry = JWERegistry(algorithms=["ECDH-ES", "A256GCM"], strict_check_header=False)
        registry.max_protected_header_length = 2048
        key = next((key for key in self.keys if key.thumbprint() == entry["sealedTo"]), None)
        if key is None:
            return None
        found = decrypt_compact(entry["sealed"], key, registry=registry).plaintext
        return found.decode() if found is not None else None


def _without_nulls(answer: dict[str, Any] | None) -> dict[str, Any] | None:
    """The answer as the hub keeps it."""
    return answer and {key: value for key, value in answer.items() if value is not None}


def entries_below(properties: object) -> dict[str, dict[str, Any]]:
    """The entries by connected registry in a section of a twin."""
    found: Any = properties
    for name in ("firstpull", "registryCredentials"):
        found = found.get(name) if isinstance(found, dict) else None
    entries = found.items() if isinstance(found, dict) else ()
    return {name: dict(entry) for name, entry in entries if isinstance(entry, dict)}
