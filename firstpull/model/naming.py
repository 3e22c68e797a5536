"""The names of what firstpull makes: derived, so that a second attempt finds the first one's."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass

from firstpull.model.azure_resources import RegistryId
from firstpull.model.device_key import DeviceKey

_PREFIX = "fp"
_SLUG_LENGTH = 24


@dataclass(frozen=True, kw_only=True)
class Names:
    """What one device's things are called. Recorded before any of them is made."""

    token: str
    secret: str


def token_name(device: DeviceKey, *, deployment: str) -> str:
    """A device's token, in whatever container registry.

    Device ids hold characters that neither may, and differ in case where tokens do not, so a
    readable part is followed by a hash of the whole. 44 characters for the token, of the 50
    that a container registry allows (`^[a-zA-Z0-9-]*$`), beginning with a letter. A dash keeps
    it apart from sync tokens, which are named like connected registries: letters and digits.
    """
    slug = re.sub(r"[^a-z0-9]+", "-", device.device_id.lower())[:_SLUG_LENGTH].strip("-")
    return "-".join(
        filter(None, (_PREFIX, slug, _short_hash(deployment, device.hub, device.device_id)))
    )


def names_for(device: DeviceKey, *, deployment: str, registry: RegistryId) -> Names:
    """Token and secret of a device; the secret is that of one container registry's token."""
    token = token_name(device, deployment=deployment)
    return Names(token=token, secret=secret_name(token, registry=registry))


def secret_name(token: str, *, registry: RegistryId) -> str:
    """The secret for a token that a deployment made in this container registry."""
    return f"{token}-{_short_hash(str(registry).casefold())[:8]}"


def scope_map_name(actions: frozenset[str], *, deployment: str) -> str:
    """The scope map for these actions: equal actions, equal name, so that devices share it.

    Nobody else gives a scope map this name for these actions, so that one which nothing
    refers to any more is known as this deployment's.
    """
    return f"{_PREFIX}-{_short_hash(deployment, *sorted(actions))}"


def _short_hash(*parts: str) -> str:
    """80 bits in 16 lower-case letters and digits."""
    digest = hashlib.sha256("\x00".join(parts).encode()).digest()[:10]
    return base64.b32encode(digest).decode().lower()
