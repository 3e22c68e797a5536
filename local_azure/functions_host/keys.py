"""Function keys: who may call what."""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass, field
from enum import StrEnum

from local_azure.functions_host.http_address import read_query
from local_azure.functions_host.http_messages import Request, Response
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

    def allow(self, level: AuthLevel, request: Request) -> bool:
        """Whether the key in the header `x-functions-key`, else in `?code=`, opens this level."""
        return level is AuthLevel.ANONYMOUS or self._level_of(request) in (level, AuthLevel.ADMIN)

    def refusal(self, level: AuthLevel, request: Request) -> Response | None:
        """The answer to a caller of the host's own routes whose key does not open this level."""
        if self.allow(level, request):
            return None
        if self._level_of(request) is AuthLevel.ANONYMOUS:
            return Response(401, {"WWW-Authenticate": "Bearer"})
        return Response(403)

    def _level_of(self, request: Request) -> AuthLevel:
        presented = request.headers.get("x-functions-key", _code(request))  # also an empty header
        levels = {
            AuthLevel.ADMIN: self.master,
            AuthLevel.SYSTEM: self.system,
            AuthLevel.FUNCTION: self.function,
        }
        opened = (level for level, key in levels.items() if _same(presented, key))
        return next(opened, AuthLevel.ANONYMOUS)


def _code(request: Request) -> str:
    parameters = read_query(request.raw_query).items()
    return next((value for name, value in parameters if name.lower() == "code"), "")


def _same(presented: str, key: str) -> bool:
    return hmac.compare_digest(presented.encode(), key.encode())
