"""App Service's token endpoint: what IDENTITY_ENDPOINT and IDENTITY_HEADER lead to.

https://learn.microsoft.com/azure/app-service/overview-managed-identity#rest-endpoint-reference
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from aiohttp import web

from local_azure.kernel import Kernel
from local_azure.kernel.service import create_application

PATH = "/msi/token"
API_VERSION = "2019-08-01"

# Query parameters, one of which may say which identity is asked for, and what of it they hold.
_NAMES = {
    "client_id": "client_id",
    "principal_id": "principal_id",
    "object_id": "principal_id",
    "mi_res_id": "resource_id",
    "msi_res_id": "resource_id",
}
_CLIENT_LIFETIME = timedelta(hours=24)
# Clients keep time with a clock of their own and go on using a token for 24 hours of that, while
# the stack's clock may be moved on by years. The token itself therefore outlives any move.
_TOKEN_LIFETIME = timedelta(days=3650)


@dataclass(frozen=True, kw_only=True)
class ManagedIdentity:
    """Ids of an identity. It can be asked for by each of the last three."""

    tenant_id: str
    principal_id: str
    client_id: str
    resource_id: str


@dataclass(frozen=True, kw_only=True)
class HostIdentities:
    """Who a host may be. Only its system-assigned identity is meant where none is named."""

    system_assigned: ManagedIdentity | None = None
    user_assigned: tuple[ManagedIdentity, ...] = ()

    def named(self, name: str, value: str) -> ManagedIdentity | None:
        """The identity that a query parameter of this value asks for."""
        for identity in (self.system_assigned, *self.user_assigned):
            if str(getattr(identity, _NAMES[name], "")).lower() == value.lower():
                return identity
        return None


def create_identity_application(
    kernel: Kernel, *, hosts: Mapping[str, HostIdentities]
) -> web.Application:
    """Serve tokens at PATH. `hosts` are known by what they send as X-IDENTITY-HEADER.

    A token is for whatever resource is asked for. A request may name an identity by client id,
    principal id or resource id.
    """

    async def token(request: web.Request) -> web.Response:
        sent = request.headers.get("X-IDENTITY-HEADER", "").encode()
        known = [
            host for header, host in hosts.items() if secrets.compare_digest(sent, header.encode())
        ]
        if not known:
            return _render_error(
                status=401, code=None, message="X-IDENTITY-HEADER is missing or wrong."
            )
        try:
            identity = _chosen(request, known[0])
        except _Refused as refusal:
            return _render_error(status=400, code=None, message=str(refusal))
        return web.json_response(_issue(kernel, identity, request.query["resource"]))

    application = create_application(
        kernel, service="identity", name_operation=_name_operation, render_error=_render_error
    )
    application.router.add_route("GET", PATH, token, name="token")
    return application


class _Refused(Exception):
    """What is wrong with a query."""


def _chosen(request: web.Request, host: HostIdentities) -> ManagedIdentity:
    """The identity that the query asks for. Raises _Refused."""
    query = dict(request.query)
    if query.pop("api-version", None) != API_VERSION:
        raise _Refused(f"api-version must be {API_VERSION}.")
    if not query.pop("resource", None):
        raise _Refused("resource is missing.")
    if len(query) > 1 or not query.keys() <= _NAMES.keys():
        raise _Refused(f"Besides, the query can have one of {', '.join(_NAMES)}.")
    for name, value in query.items():
        identity = host.named(name, value)
        if identity is None:
            raise _Refused(
                "No User Assigned or Delegated Managed Identity found for specified"
                " ClientId/ResourceId/PrincipalId."
            )
        return identity
    if host.system_assigned is None:
        raise _Refused("Unable to load the proper Managed Identity.")
    return host.system_assigned


def _issue(kernel: Kernel, identity: ManagedIdentity, resource: str) -> dict[str, str]:
    client_now = int((kernel.clock.now() - kernel.clock.shift).timestamp())
    token = kernel.tokens.issue(
        issuer=f"https://sts.windows.net/{identity.tenant_id}/",
        audience=resource,
        lifetime=_TOKEN_LIFETIME,
        claims={
            "iat": client_now,
            "nbf": client_now,
            "appid": identity.client_id,
            "idtyp": "app",
            "oid": identity.principal_id,
            "sub": identity.principal_id,
            "tid": identity.tenant_id,
            "ver": "1.0",
            "xms_mirid": identity.resource_id,
        },
    )
    return {
        "access_token": token,
        "client_id": identity.client_id,
        "expires_on": str(client_now + int(_CLIENT_LIFETIME.total_seconds())),
        "resource": resource,
        "token_type": "Bearer",
    }


def _name_operation(request: web.Request) -> str:
    return request.match_info.route.name or "unknown"


def _render_error(*, status: int, code: str | None, message: str) -> web.Response:
    error: dict[str, int | str] = {"statusCode": status, "message": message}
    if code is not None:
        error["code"] = code
    return web.json_response(error, status=status)
