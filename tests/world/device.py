"""A device at its site: it reads its twin, logs in, and reports whether that worked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from joserfc.jwe import JWERegistry, decrypt_compact
from joserfc.jwk import ECKey

from firstpull.model.azure_resources import ConnectedRegistryRef
from firstpull.model.device_key import DeviceKey
from local_azure.edge_agent.rules import CONFIG_EMPTY, OK, Configuration, configuration_of, echo
from local_azure.iot_hub.models import EDGE_AGENT, IotHub

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
            for ref, entry in cloud.twin_entries(self.key).items()
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


@dataclass
class EdgeDevice(Device):
    """An IoT Edge device. Its runtime takes what the twin of edgeAgent has, and does not log in."""

    configuration: Configuration = Configuration(0, CONFIG_EMPTY, "")  # noqa: RUF009 - frozen
    """What edgeAgent read last."""
    _taken: frozenset[ConnectedRegistryRef] = frozenset()

    def act(self, cloud: Cloud) -> None:
        """Read the device's twin, as an agent beside the runtime does, then let edgeAgent read."""
        super().act(cloud)
        if self.is_away or not cloud.hub.device(self.key.device_id).enabled:
            return
        if (taken := edge_agent_reads(cloud.hub, self.key.device_id)) is None:
            return
        self.configuration, entries = taken, cloud.edge_entries(self.key)
        for ref in self._taken - entries.keys() - cloud.twin_entries(self.key).keys():
            self.logins.pop(ref, None)
        for ref, entry in entries.items():
            self.logins[ref] = Login(entry["username"], entry["password"])
        self._taken = frozenset(entries)


def edge_agent_reads(hub: IotHub, device_id: str) -> Configuration | None:
    """edgeAgent reads its twin and reports the version; what it takes, None if it takes nothing."""
    twin = hub.module_twin(device_id, EDGE_AGENT)
    found, before = (
        configuration_of(twin.desired.values, version=twin.desired.version),
        twin.reported,
    )
    report = echo({n: before.values[n] for n in found.report if n in before.values}, found.report)
    if isinstance(report, dict) and before.values.get("lastDesiredVersion") != found.version:
        hub.report(device_id, report, module_id=EDGE_AGENT)
    return found if found.code == OK else None


def _without_nulls(answer: dict[str, Any] | None) -> dict[str, Any] | None:
    """The answer as the hub keeps it."""
    return answer and {key: value for key, value in answer.items() if value is not None}


def edge_entries_below(properties: object) -> dict[str, dict[str, Any]]:
    """firstpull's entries in a section of edgeAgent's twin, by connected registry."""
    found: Any = properties
    for name in ("runtime", "settings", "registryCredentials"):
        found = found.get(name) if isinstance(found, dict) else None
    entries = found.items() if isinstance(found, dict) else ()
    return {
        name.split("-")[1]: dict(entry)
        for name, entry in entries
        if name.startswith("firstpull-") and isinstance(entry, dict)
    }


def entries_below(properties: object) -> dict[str, dict[str, Any]]:
    """The entries by connected registry in a section of a twin."""
    found: Any = properties
    for name in ("firstpull", "registryCredentials"):
        found = found.get(name) if isinstance(found, dict) else None
    entries = found.items() if isinstance(found, dict) else ()
    return {name: dict(entry) for name, entry in entries if isinstance(entry, dict)}
