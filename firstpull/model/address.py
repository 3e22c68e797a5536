"""Addresses of connected registries: `host` or `host:port`, as the names of images have them."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST = re.compile(
    rf"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?P<name>{_LABEL}(?:\.{_LABEL})*))(?::(?P<port>[1-9][0-9]{{0,4}}))?"
)
_HTTPS = ":443"


def is_host(text: str) -> bool:
    """Whether a text is `host` or `host:port`: a name, an IPv4 address or `[IPv6]`."""
    found = _HOST.fullmatch(text)
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


def is_registry_address(text: str) -> bool:
    """Whether a text is a host that names of images may begin with.

    The first part of a name without a dot and a colon is no host but a part of the repository.
    """
    return is_host(text) and ("." in text or ":" in text)


def without_default_port(address: str, *, insecure: bool) -> str:
    """The one spelling of an address: engines keep logins for `host` and `host:443` apart."""
    shorter = address.removesuffix(_HTTPS)
    return address if insecure or not is_registry_address(shorter) else shorter


def is_of_cloud(host: str, *, registry: str) -> bool:
    """Whether a host is the login server of this container registry itself, not of a site.

    With a domain name label, that has the registry's name and a hash (`contoso-abc123`).
    """
    label, _, domain = host.casefold().partition(".")
    name = registry.casefold()
    return domain.startswith("azurecr.") and (label == name or label.startswith(f"{name}-"))
