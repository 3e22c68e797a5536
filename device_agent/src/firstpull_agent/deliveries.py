"""Reads and validates the deliveries in the desired properties."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address
from typing import Any, TypeAlias

from firstpull_agent.reports import SECTION, Failure, Reason
from firstpull_agent.seals import Seal, Seals
from firstpull_agent.secret import Secret

# host[:port] as in image names, and nothing else: it becomes a path, an argument and a URL.
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ADDRESS = re.compile(
    rf"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?P<name>{_LABEL}(?:\.{_LABEL})*))(?::(?P<port>[1-9][0-9]{{0,4}}))?"
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True)
class Delivery:
    """The credential for one connected registry. `ca` is PEM; `insecure` means plain http.

    `expires_on` only orders two deliveries: the registry decides whether a credential is valid.
    """

    name: str
    delivery_id: str
    address: str
    username: str
    password: Secret
    repositories: tuple[str, ...] = ()
    ca: str | None = None
    insecure: bool = False
    expires_on: datetime | None = None
    seal: Seal | None = None

    @property
    def has_ca(self) -> bool:
        """Whether the delivery has a CA of its own."""
        return self.ca is not None


@dataclass(frozen=True)
class Rejected:
    """An entry that cannot be used, and why."""

    name: str
    delivery_id: str | None
    reason: Reason
    detail: str


Wanted: TypeAlias = Delivery | Rejected


class MalformedDesired(Exception):
    """The desired properties have no readable section, so they say nothing about deliveries."""


def read_deliveries(desired: object, seals: Seals | None = None) -> dict[str, Wanted]:
    """The deliveries by connected registry. Unknown fields are ignored.

    `seals` opens sealed passwords; without it, none can be opened.

    A section or an entry that is absent, null or empty has no delivery: removing a property may
    leave empty objects. Raises MalformedDesired if the section is not an object.
    """
    section = _object(desired, "the desired properties")
    for key in SECTION:
        value = section.get(key)
        section = {} if value is None else _object(value, key)
    return {
        name: _read(name, entry, seals)
        for name, entry in section.items()
        if entry not in (None, {})
    }


def _object(value: object, what: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise MalformedDesired(f"{what}: not an object")
    return value


def _read(name: str, entry: object, seals: Seals | None) -> Wanted:
    if not isinstance(entry, Mapping):
        return Rejected(name, None, Reason.INVALID_DELIVERY, "the entry is not an object")
    try:
        return _delivery(name, entry, seals)
    except Failure as failure:
        return Rejected(name, _id_if_usable(entry), failure.reason, failure.detail)


def _id_if_usable(entry: Mapping[str, Any]) -> str | None:
    try:
        return _text(entry, "deliveryId")
    except Failure:
        return None


def _delivery(name: str, entry: Mapping[str, Any], seals: Seals | None) -> Delivery:
    delivery_id = _text(entry, "deliveryId")
    password, seal = _password(name, entry, seals)
    insecure = entry.get("insecure") or False
    if not isinstance(insecure, bool):
        raise _invalid("insecure is neither true nor false")
    ca = _ca(entry.get("ca"))
    if insecure and ca is not None:
        raise _invalid("ca and insecure exclude each other")
    username = _text(entry, "username")
    if ":" in username:
        raise _invalid("username has a colon")
    return Delivery(
        name=name,
        delivery_id=delivery_id,
        address=without_default_port(_address(_text(entry, "address")), insecure=insecure),
        username=username,
        password=password,
        repositories=_repositories(entry.get("repositories")),
        ca=ca,
        insecure=insecure,
        expires_on=_moment(entry.get("expiresOn")),
        seal=seal,
    )


def _password(
    name: str, entry: Mapping[str, Any], seals: Seals | None
) -> tuple[Secret, Seal | None]:
    if "sealed" not in entry:
        if seals is not None:
            seals.check_plain()
        return Secret(_text(entry, "password")), None
    if seals is None:
        raise Failure(
            Reason.UNSUPPORTED_DELIVERY, "the password is sealed; this agent cannot open it"
        )
    return seals.open(name, entry)


def _invalid(detail: str) -> Failure:
    return Failure(Reason.INVALID_DELIVERY, detail)


def _text(entry: Mapping[str, Any], field: str) -> str:
    value = entry.get(field)
    if not isinstance(value, str) or not value.strip():
        raise _invalid(f"{field} is missing or empty")
    _refuse_unwritable(value, field)
    return value


def _refuse_unwritable(value: str, field: str) -> None:
    if _CONTROL.search(value):
        raise _invalid(f"{field} holds control characters")
    # JSON may have half of a surrogate pair, which no encoding can write.
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise _invalid(f"{field} is not valid Unicode")


def _texts(value: object, field: str) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise _invalid(f"{field} is not a list of texts")
    return tuple(value)


def _repositories(value: object) -> tuple[str, ...]:
    names = _texts(value, "repositories")
    for name in names:
        _refuse_unwritable(name, "repositories")
    return names


def _moment(value: object) -> datetime | None:
    """A time in ISO 8601, in UTC without an offset; None if it cannot be read."""
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return moment if moment is None or moment.tzinfo else moment.replace(tzinfo=UTC)


def _address(value: str) -> str:
    if not _is_address(value):
        raise _invalid("address is not host or host:port")
    # In an image name, a first part without a dot or colon is not a registry.
    if "." not in value and ":" not in value:
        raise _invalid("address needs a port or a full host name")
    return value


def _is_address(value: str) -> bool:
    found = _ADDRESS.fullmatch(value)
    if found is None or int(found["port"] or 1) > 65535:
        return False
    name = found["name"]
    try:
        if name is None:
            IPv6Address(found["ipv6"])
        elif name.rsplit(".", 1)[-1].isdigit():  # no name ends so (RFC 3696)
            IPv4Address(name)
    except ValueError:
        return False
    return True


def without_default_port(address: str, *, insecure: bool) -> str:
    """The one spelling of an address: engines keep logins for `host` and `host:443` apart."""
    shorter = address.removesuffix(":443")
    # As in `_address`: without a dot or colon it would be no registry.
    return address if insecure or not re.search(r"[.:]", shorter) else shorter


def _ca(value: object) -> str | None:
    chunks = (value,) if isinstance(value, str) else _texts(value, "ca")
    if not chunks:
        return None
    pem = "".join(chunks)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=pem)
    except (ssl.SSLError, ValueError, TypeError):  # TypeError: not ASCII
        raise _invalid("ca is not a certificate in PEM") from None
    return pem
