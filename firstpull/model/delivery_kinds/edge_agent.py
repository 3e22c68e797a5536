"""The kind `edgeAgent`: the IoT Edge runtime pulls with what the twin of `$edgeAgent` has.

The entries are in the desired properties' `runtime.settings.registryCredentials`. edgeAgent takes
the entry whose address is the registry in an image's name, without order among several; it parses
all entries or none, and reports `lastDesiredVersion` and `lastDesiredStatus` (iotedge: edge-agent,
RegistryCredentials and DockerUtil). An entry of firstpull's is named by its connected registry and
its password's expiry, because it has no field for either.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from firstpull.model.azure_resources import Twin
from firstpull.model.delivery_kinds.kind import Problem, Wanted
from firstpull.model.delivery_kinds.twin import twin_full
from firstpull.model.password_slots import SYNC_MARGIN
from firstpull.model.reasons import Reason
from firstpull.model.secret import Secret
from firstpull.model.twin_entry import (
    MOST_DESIRED_BYTES,
    PASSWORD_BYTES,
    Acknowledgement,
    Contents,
    DeliveredEntry,
    object_at,
    size_of_properties,
    wire_expiry,
)

AGENT_IMAGE_ELSEWHERE = "agentImageElsewhere"
"""The option that says that edgeAgent's own image does not come from the connected registry."""
_MODULE = "$edgeAgent"
_PATH = ("runtime", "settings", "registryCredentials")
_KEY = re.compile(
    r"firstpull-(?P<name>[A-Za-z][A-Za-z0-9]*)-"
    r"(?P<date>\d{4}-\d\d-\d\d)T(?P<hour>\d\d)(?P<minute>\d\d)(?P<second>\d\d)Z"
)
_FIELDS = ("address", "username", "password")
_STATUS = {
    400: "ConfigFormatError",
    406: "Unknown",
    412: "InvalidSchemaVersion",
    417: "ConfigEmpty",
    500: "Failed",
}
"""edgeAgent's deployment statuses (iotedge: DeploymentStatusCode)."""
_SHOWN = 64
"""Characters of a foreign entry's name in a message."""
_PRIORITY = 100


@dataclass(frozen=True)
class EdgeAgentKind:
    """Entries of the IoT Edge runtime, beside those of other people."""

    name: str = "edgeAgent"
    place: str = "edgeAgent"
    module: str | None = _MODULE
    seals: bool = False
    options: frozenset[str] = frozenset((AGENT_IMAGE_ELSEWHERE,))
    last_share: float = 1 / 3

    def may_be_at(self, twin: Twin) -> bool:
        """Only an IoT Edge device has the runtime."""
        return twin.is_edge

    def entry(self, twin: Twin, connected_registry: str) -> DeliveredEntry | None:
        """The entry for a connected registry; of several the one that expires last."""
        found = [
            (expires, entry)
            for key, entry in _entries_of(twin).items()
            for name, expires in _read_key(key)
            if name == connected_registry and _is_well_formed(entry)
        ]
        if not found:
            return None
        expires, entry = max(found, key=lambda each: each[0])
        return DeliveredEntry(
            id=_digest(entry["address"], entry["username"], entry["password"], expires),
            fields=_fields(entry["address"], entry["username"], expires),
            intact=len(found) == 1 and entry.keys() == set(_FIELDS),
        )

    def entries(self, twin: Twin) -> dict[str, DeliveredEntry]:
        """The readable entries of firstpull's, by connected registry."""
        names = dict.fromkeys(name for key in _entries_of(twin) for name, _ in _read_key(key))
        found = {name: self.entry(twin, name) for name in names}
        return {name: entry for name, entry in found.items() if entry is not None}

    def keys(self, twin: Twin, connected_registry: str) -> tuple[str, ...]:
        """The names of all entries that are firstpull's for a connected registry."""
        return tuple(
            key
            for key in _entries_of(twin)
            for name, _ in _read_key(key)
            if name == connected_registry
        )

    def problem(self, twin: Twin, wanted: Wanted) -> Problem | None:
        """The device has no runtime that takes entries, or the others there are in the way."""
        if not twin.is_edge:
            return Problem(
                reason=Reason.NOT_AN_EDGE_DEVICE,
                message=f"{wanted.device_id} is not an IoT Edge device in its hub.",
                remedy="Register it as an Edge device, or ask for another `delivery`.",
            )
        there = twin.modules.get(_MODULE)
        return (
            _no_docker(there)
            or _malformed(twin)
            or _address_taken(twin, wanted)
            or _full(twin, there, wanted)
        )

    def withheld(
        self, twin: Twin, wanted: Wanted, *, secret: str, expires_at: datetime | None
    ) -> Problem | None:
        """An automatic deployment would overwrite the entry: a person deploys it as a layer."""
        there = twin.modules.get(_MODULE)
        deployments = there.configurations if there is not None else ()
        own = tuple(name for name in deployments if not name.startswith("firstpull-"))
        if not own:
            return None
        remedy = "firstpull prints the layered deployment to create when the password is stored."
        if expires_at is not None:
            remedy = (
                "Create this layered deployment, with the password that Key Vault has in "
                f"secrets/{secret}: {_layered(wanted, expires_at)}"
            )
        return Problem(
            reason=Reason.AUTOMATIC_DEPLOYMENT,
            message=f"The automatic deployment {own[0][:_SHOWN]} writes the properties of "
            f"{_MODULE}, and would remove the credentials again.",
            remedy=remedy,
        )

    def if_silent(self, twin: Twin) -> str | None:
        """edgeAgent is what an Edge device answers with."""
        del twin
        return None

    def fields(self, contents: Contents, expires_at: datetime) -> Mapping[str, Any]:
        """Address and username, and the expiry in the entry's name."""
        return _fields(contents.address, contents.username, wire_expiry(expires_at))

    def delivery_id(self, contents: Contents, password: Secret, *, expires_at: datetime) -> str:
        """A digest of the entry and its name."""
        expires = wire_expiry(expires_at)
        return _digest(contents.address, contents.username, password.reveal(), expires)

    def patch(
        self,
        contents: Contents,
        connected_registry: str,
        password: Secret,
        *,
        expires_at: datetime,
        replaces: Collection[str],
    ) -> dict[str, Any]:
        """The entry, in place of firstpull's earlier ones: never two for an address."""
        entry = {
            "address": contents.address,
            "username": contents.username,
            "password": password,
        }
        return _at_path(dict.fromkeys(replaces) | {key_of(connected_registry, expires_at): entry})

    def replaced(self, twin: Twin, connected_registry: str) -> frozenset[str]:
        """The names of the earlier entries."""
        return frozenset(self.keys(twin, connected_registry))

    def removal(self, keys: Collection[str]) -> dict[str, Any]:
        """These entries are removed, and no others."""
        return _at_path(dict.fromkeys(keys))

    def acknowledgement(
        self, twin: Twin, connected_registry: str, *, synced_at: datetime | None
    ) -> Acknowledgement | None:
        """edgeAgent has taken the version with the entry, and the connected registry synced since.

        edgeAgent does not log in when it takes an entry: that the connected registry accepts it is
        what its sync shows.
        """
        entry, there = self.entry(twin, connected_registry), twin.modules.get(_MODULE)
        if entry is None or there is None:
            return None
        written = max(_written_at(there, key) for key in self.keys(twin, connected_registry))
        version = _number(there.reported.get("lastDesiredVersion"))
        if not 0 < written <= version:
            return None
        code = _number(object_at(there.reported, "lastDesiredStatus").get("code"))
        if code != 200:
            reason = _STATUS.get(code, "Unknown")
            return Acknowledgement(delivery_id=entry.id, logged_in=False, reason=reason)
        is_accepted = _has_synced_since(_taken_at(there), synced_at)
        return Acknowledgement(
            delivery_id=entry.id,
            logged_in=is_accepted,
            reason=None,
            awaits_sync=not is_accepted,
        )

    def frees_old_slot(self, options: Collection[str]) -> bool:
        """The old password may be edgeAgent's own for its image: config.toml is beyond any twin."""
        return AGENT_IMAGE_ELSEWHERE in options


def key_of(connected_registry: str, expires_at: datetime) -> str:
    """The name of an entry. It has no dots, which names in twins must not have."""
    return f"firstpull-{connected_registry}-{wire_expiry(expires_at).replace(':', '')}"


def _read_key(key: str) -> Iterator[tuple[str, str]]:
    """The connected registry and the expiry in the name of an entry of firstpull's."""
    if (found := _KEY.fullmatch(key)) is not None:
        yield found["name"], f"{found['date']}T{found['hour']}:{found['minute']}:{found['second']}Z"


def _entries_of(twin: Twin) -> Mapping[str, Any]:
    there = twin.modules.get(_MODULE)
    return object_at(there.desired, *_PATH) if there is not None else {}


def _is_well_formed(entry: object) -> bool:
    """Whether edgeAgent can read an entry."""
    if not isinstance(entry, Mapping):
        return False
    texts = [entry.get(name) for name in _FIELDS]
    return all(isinstance(text, str) and text.strip() for text in texts)


def _fields(address: str, username: str, expires: str) -> dict[str, str]:
    return {"address": address, "username": username, "expiresOn": expires}


def _digest(*texts: str) -> str:
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:32]


def _at_path(entries: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = dict(entries)
    for name in reversed(_PATH):
        found = {name: found}
    return found


def _no_docker(there: Twin | None) -> Problem | None:
    """Without a deployment, an entry alone would be a configuration that edgeAgent cannot read."""
    found = object_at(there.desired, "runtime").get("type") if there is not None else None
    if found == "docker":
        return None
    if found is None:
        return Problem(
            reason=Reason.EDGE_RUNTIME_NOT_READY,
            message=f"{_MODULE} has no deployment yet.",
            remedy="Set modules on the device; firstpull checks again by itself.",
            waits=True,
        )
    return Problem(
        reason=Reason.EDGE_RUNTIME_NOT_READY,
        message=f"The runtime of {_MODULE} is not docker.",
        remedy="Ask for another `delivery`.",
    )


def _malformed(twin: Twin) -> Problem | None:
    """edgeAgent reads all entries or none, so that one which is malformed keeps out ours."""
    found = [
        key
        for key, entry in _entries_of(twin).items()
        if not any(_read_key(key)) and not _is_well_formed(entry)
    ]
    if not found:
        return None
    return Problem(
        reason=Reason.EDGE_CREDENTIALS_MALFORMED,
        message=f"The entry {found[0][:_SHOWN]} of registryCredentials lacks address, username or "
        "password, and edgeAgent reads all entries or none.",
        remedy="Complete the entry, or remove it from the deployment.",
    )


def _address_taken(twin: Twin, wanted: Wanted) -> Problem | None:
    """Of two entries for one address edgeAgent takes any."""
    address = wanted.contents.address.casefold()
    for key, entry in _entries_of(twin).items():
        if not _is_well_formed(entry):
            continue
        is_named_ours = any(name == wanted.ref.name for name, _ in _read_key(key))
        is_recorded = wanted.delivered_until is not None and key == key_of(
            wanted.ref.name, wanted.delivered_until
        )
        is_ours = is_named_ours and (is_recorded or entry["username"] in wanted.tokens)
        if not is_ours and (is_named_ours or entry["address"].casefold() == address):
            return Problem(
                reason=Reason.TWIN_ENTRY_NOT_OURS,
                message=f"{_MODULE} has an entry {key[:_SHOWN]} for {wanted.contents.address}, "
                "which firstpull did not write for this device.",
                remedy="Remove the entry from the deployment; if another deployment of firstpull "
                "wrote it, revoke the device there.",
            )
    return None


def _full(twin: Twin, there: Twin | None, wanted: Wanted) -> Problem | None:
    """The twin can hold the entry: it is known before anything is made."""
    if there is None or not wanted.delivers_now:
        return None
    contents, entries = wanted.contents, _entries_of(twin)
    before = {
        k: v for k, v in entries.items() if any(n == wanted.ref.name for n, _ in _read_key(k))
    }
    after = {
        key_of(wanted.ref.name, datetime.max.replace(tzinfo=UTC)): {
            "address": contents.address,
            "username": contents.username,
            "password": "x" * PASSWORD_BYTES,
        }
    }
    grows = size_of_properties(after) - size_of_properties(before)
    too_many = size_of_properties(there.desired) + grows - MOST_DESIRED_BYTES
    return twin_full(too_many) if grows > 0 and too_many > 0 else None


def _layered(wanted: Wanted, expires_at: datetime) -> str:
    """A layered deployment for the device alone, whole but for the password."""
    key, device_id = key_of(wanted.ref.name, expires_at), wanted.device_id
    digest = hashlib.sha256(device_id.encode()).hexdigest()[:12]
    quoted = device_id.replace("\\", "\\\\").replace("'", "\\'")
    entry = {
        "address": wanted.contents.address,
        "username": wanted.contents.username,
        "password": "<password>",
    }
    document = {
        "id": f"firstpull-{digest}-{key.removeprefix('firstpull-').lower()}",
        "priority": _PRIORITY,
        "targetCondition": f"deviceId='{quoted}'",
        "content": {
            "modulesContent": {
                _MODULE: {f"properties.desired.{'.'.join(_PATH)}.{key}": entry},
            }
        },
    }
    return json.dumps(document)


def _written_at(there: Twin, key: str) -> int:
    """The version of the desired properties that has an entry as it is; 0 if that is not known."""
    stamps = object_at(there.desired, "$metadata", *_PATH, key)
    version = _number(stamps.get("$lastUpdatedVersion"))
    return version or _number(there.desired.get("$version"))


def _taken_at(there: Twin) -> datetime | None:
    """When edgeAgent reported the version that it has."""
    text = object_at(there.reported, "$metadata", "lastDesiredVersion").get("$lastUpdated")
    try:
        found = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return found if found is not None and found.tzinfo is not None else None


def _has_synced_since(taken_at: datetime | None, synced_at: datetime | None) -> bool:
    if taken_at is None or synced_at is None:
        return False
    return synced_at >= taken_at + SYNC_MARGIN


def _number(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
