"""Who calls an endpoint, by function key or by Entra, and whether their roles are enough."""

from __future__ import annotations

import base64
import binascii
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Self

import azure.functions as func

from firstpull.config.roles import EVERY_ROLE, NamedKey, Role, allows, named_key
from firstpull.config.settings import CallerSettings, read_caller_settings
from firstpull.model.errors import Invalid
from firstpull.model.reasons import Reason
from functions.endpoints import Access, Endpoint
from functions.http_requests import function_keys, is_dry_run

UNNAMED_KEY = "function key"
"""The caller whose key has no name."""


class RoleMissing(Invalid):
    """The caller may not do this."""

    def __init__(self, caller: Caller, needed: Role) -> None:
        super().__init__(
            f"This needs the role {needed}, which {caller.name} does not have. Have it assigned in "
            "the app's Entra registration, or give the function key this role in "
            "FIRSTPULL_NAMED_KEYS.",
            reason=Reason.ROLE_MISSING,
        )


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Who asks, as the record and the log name them, and what they may do."""

    name: str
    roles: frozenset[Role]

    @classmethod
    def of_key(cls, key: NamedKey) -> Self:
        """Who holds a named key."""
        return cls(name=f"key {key.name}", roles=key.roles)


def check_role(req: func.HttpRequest, endpoint: Endpoint) -> None:
    """Raises RoleMissing. A dry run writes nothing, so that readers may have one."""
    if endpoint.access is not Access.KEY:
        return
    found = caller(req, read_caller_settings())
    needed = Role.READER if is_dry_run(req) else endpoint.role
    if not allows(found.roles, needed):
        raise RoleMissing(found, needed)


def is_behind_entra() -> bool:
    """Whether the platform authenticates. Only then it sets the headers of a principal itself."""
    return os.environ.get("WEBSITE_AUTH_ENABLED", "").lower() == "true"


def known_caller(req: func.HttpRequest, settings: CallerSettings) -> Caller | None:
    """Who asks, where this app can tell: Entra's principal, else the holder of a named key.

    A named key narrows a principal's roles.
    """
    key = _named_key(req, settings)
    if not is_behind_entra():
        return Caller.of_key(key) if key is not None else None
    headers = req.headers
    name = headers.get("x-ms-client-principal-name") or headers.get("x-ms-client-principal-id")
    if not name:
        return None
    roles = frozenset(_app_roles(headers)) or _roles_by_default(settings)
    return Caller(name=name, roles=roles & (key.roles if key is not None else EVERY_ROLE))


def caller(req: func.HttpRequest, settings: CallerSettings) -> Caller:
    """Who asks. The host has checked the key of a caller that is not known otherwise."""
    found = known_caller(req, settings)
    if found is not None:
        return found
    by_default = _roles_by_default(settings)
    if not is_behind_entra():
        return Caller(name=UNNAMED_KEY, roles=by_default)
    key = _named_key(req, settings)  # on a route that Entra leaves open, for the Device
    roles = key.roles if key is not None else by_default  # Provisioning Service
    return Caller(name="unknown principal", roles=roles)


def caller_name(req: func.HttpRequest) -> str:
    """Who asks, as the record and the log name them."""
    return caller(req, read_caller_settings()).name


def _named_key(req: func.HttpRequest, settings: CallerSettings) -> NamedKey | None:
    found = (named_key(value, settings.named_keys) for value in function_keys(req))
    return next(filter(None, found), None)


def _roles_by_default(settings: CallerSettings) -> frozenset[Role]:
    return frozenset() if settings.roles_required else EVERY_ROLE


def _app_roles(headers: Mapping[str, str]) -> Iterator[Role]:
    """The app roles in the principal that the platform passes on, as base64 of JSON."""
    try:
        principal = json.loads(base64.b64decode(headers.get("x-ms-client-principal", "")))
        claims = principal.get("claims", ())
        kinds = {"roles", principal.get("role_typ")}
        held = {claim.get("val") for claim in claims if claim.get("typ") in kinds}
    except (binascii.Error, ValueError, AttributeError, TypeError):
        return
    yield from (role for role in Role if role.value in held)
