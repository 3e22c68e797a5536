"""What the cloud wants: the deliveries in the desired properties, read and checked."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Any, TypeAlias

from firstpull_agent.reports import SECTION, Failure, Reason
from firstpull_agent.secret import Secret

# host[:port] as it stands in image names. Nothing else: it becomes a path, an argument and a URL.
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ADDRESS = re.compile(
    rf"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|{_LABEL}(?:\.{_LABEL})*)(?::(?P<port>[0-9]{{1,5}}))?"
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True)
class Delivery:
    """The credential for one connected registry. `ca` is PEM; `insecure` means plain http."""

    name: str
    delivery_id: str
    address: str
    username: str
    password: Secret
    repositories: tuple[str, ...] = ()
    ca: str | None = None
    insecure: bool = False


@dataclass(frozen=True)
class Rejected:
    """An entry that cannot be used, and why."""

    name: str
    delivery_id: str | None
    reason: Reason
    detail: str


Wanted: TypeAlias = Delivery | Rejected


class MalformedDesired(Exception):
    """The desired properties hold no section that could be read; nothing may be concluded."""


def read_deliveries(desired: object) -> dict[str, Wanted]:
    """Connected registry to its delivery. Fields that are not known are ignored.

    A section that is absent or null holds no delivery. Raises MalformedDesired when it is
    something other than an object.
    """
    section = _object(desired, "the desired properties")
    for key in SECTION:
        section = _object(section.get(key) or {}, key)
    return {name: _read(name, entry) for name, entry in section.items() if entry is not None}


def _object(value: object, what: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise MalformedDesired(f"{what}: not an object")
    return value


def _read(name: str, entry: object) -> Wanted:
    if not isinstance(entry, Mapping):
        return Rejected(name, None, Reason.INVALID_DELIVERY, "the entry is not an object")
    given_id = entry.get("deliveryId")
    delivery_id = given_id if isinstance(given_id, str) and given_id else None
    try:
        return _delivery(name, entry)
    except Failure as failure:
        return Rejected(name, delivery_id, failure.reason, failure.detail)


def _delivery(name: str, entry: Mapping[str, Any]) -> Delivery:
    if "sealed" in entry:
        raise Failure(
            Reason.UNSUPPORTED_DELIVERY, "the password is sealed; this agent cannot open it"
        )
    insecure = entry.get("insecure") or False
    if not isinstance(insecure, bool):
        raise _invalid("insecure is neither true nor false")
    ca = _ca(entry.get("ca"))
    if insecure and ca is not None:
        raise _invalid("ca and insecure exclude each other")
    username = _text(entry, "username")
    if ":" in username:
        raise _invalid("username holds a colon")
    return Delivery(
        name=name,
        delivery_id=_text(entry, "deliveryId"),
        address=_address(_text(entry, "address")),
        username=username,
        password=Secret(_text(entry, "password")),
        repositories=_texts(entry.get("repositories"), "repositories"),
        ca=ca,
        insecure=insecure,
    )


def _invalid(detail: str) -> Failure:
    return Failure(Reason.INVALID_DELIVERY, detail)


def _text(entry: Mapping[str, Any], field: str) -> str:
    value = entry.get(field)
    if not isinstance(value, str) or not value.strip():
        raise _invalid(f"{field} is missing or empty")
    if _CONTROL.search(value):
        raise _invalid(f"{field} holds control characters")
    return value


def _texts(value: object, field: str) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise _invalid(f"{field} is not a list of texts")
    return tuple(value)


def _address(value: str) -> str:
    if not _is_address(value):
        raise _invalid("address is not host or host:port")
    # Image names are read by the same rule: without a dot or a colon it would name no registry.
    if "." not in value and ":" not in value:
        raise _invalid("address needs a port or a full host name")
    return value


def _is_address(value: str) -> bool:
    found = _ADDRESS.fullmatch(value)
    if found is None or int(found["port"] or 1) not in range(1, 65536):
        return False
    try:
        IPv6Address(found["ipv6"] or "::")
    except ValueError:
        return False
    return True


def _ca(value: object) -> str | None:
    chunks = (value,) if isinstance(value, str) else _texts(value, "ca")
    if not chunks:
        return None
    pem = "".join(chunks)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=pem)
    except (ssl.SSLError, ValueError):
        raise _invalid("ca is not a certificate in PEM") from None
    return pem
