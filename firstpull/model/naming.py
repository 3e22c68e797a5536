"""The derived names of what firstpull makes: a retry finds what an earlier attempt made."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from firstpull.model.azure_resources import RegistryId, StoredSecret
from firstpull.model.device_key import DeviceKey

_PREFIX = "fp"
_SLUG_LENGTH = 24


@dataclass(frozen=True, kw_only=True, slots=True)
class Names:
    """The names of a device's token and secret, recorded before either exists."""

    token: str
    secret: str


def token_name(device: DeviceKey, *, deployment: str) -> str:
    """The name of a device's token, the same in every container registry.

    Device ids may hold characters that token and secret names may not, and may differ in case
    only. So a readable part is followed by a hash of the whole id. The name has at most 44
    characters of the 50 that a container registry allows (`^[a-zA-Z0-9-]*$`), and begins with a
    letter. Its dashes keep it apart from sync tokens, which are named like connected registries:
    letters and digits.
    """
    slug = re.sub(r"[^a-z0-9]+", "-", device.device_id.lower())[:_SLUG_LENGTH].strip("-")
    return "-".join(
        filter(None, (_PREFIX, slug, _short_hash(deployment, device.hub, device.device_id)))
    )


def names_for(device: DeviceKey, *, deployment: str, registry: RegistryId) -> Names:
    """The names of a device's token in a container registry and of that token's secret."""
    token = token_name(device, deployment=deployment)
    return Names(token=token, secret=secret_name(token, registry=registry))


def secret_name(token: str, *, registry: RegistryId) -> str:
    """The name of the secret for a token in this container registry."""
    return f"{token}{_registry_suffix(registry)}"


def secrets_of(registry: RegistryId, secrets: Iterable[StoredSecret]) -> list[StoredSecret]:
    """The secrets for tokens in this container registry, by their names."""
    return [secret for secret in secrets if secret.name.endswith(_registry_suffix(registry))]


def scope_map_name(actions: frozenset[str], *, deployment: str) -> str:
    """The name of the scope map for these actions; devices with equal actions share it.

    Only this deployment derives this name from these actions, so the sweep recognises the
    deployment's unreferenced scope maps.
    """
    return f"{_PREFIX}-{_short_hash(deployment, *sorted(actions))}"


def _registry_suffix(registry: RegistryId) -> str:
    return f"-{_short_hash(str(registry).casefold())[:8]}"


def _short_hash(*parts: str) -> str:
    """A hash of 80 bits in 16 lower-case letters and digits."""
    digest = hashlib.sha256("\x00".join(parts).encode()).digest()[:10]
    return base64.b32encode(digest).decode().lower()
