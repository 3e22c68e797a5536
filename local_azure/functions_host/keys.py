"""Function keys: who may call what."""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass, field
from enum import StrEnum

from aiohttp import web

from local_azure.functions_host.settings import AppSettings


class AuthLevel(StrEnum):
    """What a caller has to present."""

    ANONYMOUS = "anonymous"
    FUNCTION = "function"
    SYSTEM = "system"
    ADMIN = "admin"


@dataclass(frozen=True)
class HostKeys:
    """The keys of a host. The master key opens everything."""

    function: str = field(repr=False)
    system: str = field(repr=False)
    master: str = field(repr=False)

    @classmethod
    def from_settings(cls, settings: AppSettings) -> HostKeys:
        """The given keys; a random one, which nobody knows, in place of each that is missing."""
        return cls(
            function=settings.get("LOCAL_FUNCTIONS_KEY") or secrets.token_urlsafe(40),
            system=settings.get("LOCAL_FUNCTIONS_SYSTEM_KEY") or secrets.token_urlsafe(40),
            master=settings.get("LOCAL_FUNCTIONS_MASTER_KEY") or secrets.token_urlsafe(40),
        )

    def allow(self, level: AuthLevel, request: web.Request) -> bool:
        """Whether the key in the header `x-functions-key` or in `?code=` opens this level."""
        presented = request.headers.get("x-functions-key") or request.query.get("code") or ""
        if level is AuthLevel.ANONYMOUS or _same(presented, self.master):
            return True
        if level is AuthLevel.FUNCTION:
            return _same(presented, self.function)
        return level is AuthLevel.SYSTEM and _same(presented, self.system)


def _same(presented: str, key: str) -> bool:
    return hmac.compare_digest(presented.encode(), key.encode())
