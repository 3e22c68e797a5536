"""Opens sealed deliveries, and refuses those that are not meant for here and now.

Whoever may write to the twin can seal something to the device's public key, so a seal does not
say who wrote a delivery. It keeps the password from readers, and binds it to its address, device
and moment, so that nobody can send it elsewhere or bring an old one back.
"""

from __future__ import annotations

import hashlib
import json
import re
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from firstpull_agent.files import remove_unfinished, replace_file
from firstpull_agent.json_text import parse_json
from firstpull_agent.reports import Failure, Reason
from firstpull_agent.sealing_keys import SealingKeys
from firstpull_agent.secret import Secret

_LONGEST_BYTES = 4096  # of a text in a twin
_GENERATION = re.compile(r"[\x21-\x7e]{1,64}")


@dataclass(frozen=True)
class Seal:
    """When a delivery was sealed, in whole seconds since 1970, and for which identity.

    `place` is the connected registry with its address: whoever seals something of his own has to
    name a registry of his own, and so does not keep the right registry's next delivery out.
    """

    place: str
    issued_at: int
    generation_id: str


class SealMemory:
    """The newest seal for each place with which the device has logged in."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def newest(self, place: str) -> Seal | None:
        """The newest seal for a place. An unreadable file counts as empty."""
        entry = self._load().get(place)
        try:
            if entry:
                return Seal(place, int(entry["issuedAt"]), str(entry["generationId"]))
        except (KeyError, TypeError, ValueError):
            pass
        return None

    def put(self, seal: Seal) -> None:
        """Remember a seal unless a newer one is remembered. Raises OSError."""
        newest = self.newest(seal.place)
        if newest is not None and newest.issued_at >= seal.issued_at:
            return
        entry = {"issuedAt": seal.issued_at, "generationId": seal.generation_id}
        content = json.dumps({**self._load(), seal.place: entry}, indent=2)
        replace_file(self._path, content.encode(), mode=0o600)

    def discard_unfinished(self) -> None:
        """Remove a half-written file of a killed agent. Raises OSError."""
        remove_unfinished(self._path)

    def _load(self) -> dict[str, Any]:
        try:
            content = parse_json(self._path.read_bytes())
        except (FileNotFoundError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}


class Seals:
    """Opens the sealed deliveries of one device."""

    def __init__(
        self,
        keys: SealingKeys,
        memory: SealMemory,
        *,
        device_id: str | None,
        required: bool,
    ) -> None:
        self._keys = keys
        self._memory = memory
        self._device_id = device_id
        self._required = required

    def check_plain(self) -> None:
        """Raise Failure if this device takes sealed deliveries only."""
        if self._required:
            raise Failure(
                Reason.PLAIN_NOT_ACCEPTED,
                "the password is not sealed, and this agent has been told to take no such one",
            )

    def open(self, name: str, entry: Mapping[str, Any]) -> tuple[Secret, Seal]:
        """The password of a sealed entry. Raises Failure if the seal is not for this entry."""
        sealed = entry.get("sealed")
        if not isinstance(sealed, str) or len(sealed) > _LONGEST_BYTES:
            raise Failure(Reason.INVALID_DELIVERY, "sealed is not a text of up to 4,096 bytes")
        if self._device_id is None:
            raise Failure(
                Reason.UNSUPPORTED_DELIVERY, "the password is sealed: give --device-id to open it"
            )
        try:
            opened = self._keys.open(sealed)
        except OSError as error:
            raise Failure(
                Reason.UNSUPPORTED_DELIVERY, f"{error.filename or 'the key'}: {error.strerror}"
            ) from None
        self._check(name, entry, opened.header)
        return opened.content, self._seal(f"{name} {entry.get('address')}", opened.header)

    def remember(self, seal: Seal) -> None:
        """Note that the device has logged in with this delivery. Raises OSError."""
        self._memory.put(seal)

    def _check(self, name: str, entry: Mapping[str, Any], header: Mapping[str, Any]) -> None:
        delivery_id = str(entry.get("deliveryId")).partition(".")[0]
        bound = {
            "deliveryId": (delivery_id, "another delivery"),
            "deviceId": (self._device_id, "another device"),
            "connectedRegistry": (name, "another connected registry"),
            "entry": (entry_digest(entry), "other fields: the delivery was changed"),
        }
        for field, (expected, whose) in bound.items():
            if header.get(field) != expected:
                raise Failure(Reason.SEAL_NOT_ACCEPTED, f"the password was sealed for {whose}")

    def _seal(self, place: str, header: Mapping[str, Any]) -> Seal:
        issued_at, generation_id = header.get("iat"), header.get("generationId")
        if not isinstance(issued_at, int) or isinstance(issued_at, bool):
            raise Failure(Reason.SEAL_NOT_ACCEPTED, "the seal has no time")
        if not isinstance(generation_id, str) or not _GENERATION.fullmatch(generation_id):
            raise Failure(Reason.SEAL_NOT_ACCEPTED, "the seal names no generation of the device")
        seal, newest = Seal(place, issued_at, generation_id), self._memory.newest(place)
        is_old = newest is not None and issued_at < newest.issued_at
        # A device that was registered anew has another generation, and then a later seal.
        is_anothers = newest is not None and newest.issued_at == issued_at and newest != seal
        if is_old or is_anothers:
            raise Failure(
                Reason.SEAL_NOT_ACCEPTED,
                "the password was sealed before the one that this device uses: an old delivery",
            )
        return seal


def entry_digest(entry: Mapping[str, Any]) -> str:
    """The digest of an entry's fields other than the sealed password and deliveryId."""
    fields = {key: value for key, value in entry.items() if key not in ("deliveryId", "sealed")}
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
