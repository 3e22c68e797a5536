"""App Service's token endpoint, which IDENTITY_ENDPOINT and IDENTITY_HEADER name.

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

_CLIENT_LIFETIME = timedelta(hours=24)
# A client with the machine's clock keeps using its token while the stack's clock is moved by years.
_TOKEN_LIFETIME = timedelta(days=3650)


@dataclass(frozen=True, kw_only=True)
class ManagedIdentity:
    """The ids of an identity."""

    tenant_id: str
    principal_id: str
    client_id: str
    resource_id: str


@dataclass(frozen=True, kw_only=True)
class HostIdentities:
    """The identities of a host. A request without a client id gets the system-assigned one."""

    system_assigned: ManagedIdentity | None = None
    user_assigned: tuple[ManagedIdentity, ...] = ()

    def find(self, client_id: str) -> ManagedIdentity | None:
        """The identity of a client id, None without one."""
        identities = (self.system_assigned, *self.user_assigned)
        return next((i for i in identities if i and i.client_id == client_id.lower()), None)


def create_identity_application(
    kernel: Kernel, *, hosts: Mapping[str, HostIdentities]
) -> web.Application:
    """Serve tokens for any resource at PATH. The keys of `hosts` are their X-IDENTITY-HEADER."""

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
            identity = _requested(request, known[0])
        except _Refused as refusal:
            return _render_error(status=400, code=None, message=str(refusal))
        return web.json_response(_issue(kernel, identity, request.query["resource"]))

    application = create_application(kernel, service="identity", render_error=_render_error)
    application.router.add_route("GET", PATH, token, name="token")
    return application


class _Refused(Exception):
    """A query that is refused."""


def _requested(request: web.Request, host: HostIdentities) -> ManagedIdentity:
    query = dict(request.query)
    if query.pop("api-version", None) != API_VERSION:
        raise _Refused(f"api-version must be {API_VERSION}.")
    if not query.pop("resource", None):
        raise _Refused("resource is missing.")
    client_id = query.pop("client_id", None)
    if query:
        raise _Refused(f"The query has an unknown parameter: {', '.join(query)}.")
    identity = host.system_assigned if client_id is None else host.find(client_id)
    if identity is None and client_id is None:
        raise _Refused("Unable to load the proper Managed Identity.")
    if identity is None:
        raise _Refused(
            "No User Assigned or Delegated Managed Identity found for specified"
            " ClientId/ResourceId/PrincipalId."
        )
    return identity


def _issue(kernel: Kernel, identity: ManagedIdentity, resource: str) -> dict[str, str]:
    machine_now = int(kernel.clock.machine_time().timestamp())
    expires_on = int((kernel.clock.now() + _CLIENT_LIFETIME).timestamp())
    token = kernel.tokens.issue(
        issuer=f"https://sts.windows.net/{identity.tenant_id}/",
        audience=resource,
        lifetime=_TOKEN_LIFETIME,
        claims={
            "iat": machine_now,
            "nbf": machine_now,
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
        "expires_on": str(expires_on),
        "resource": resource,
        "token_type": "Bearer",
    }


def _render_error(*, status: int, code: str | None, message: str) -> web.Response:
    error: dict[str, int | str] = {"statusCode": status, "message": message}
    if code is not None:
        error["code"] = code
    return web.json_response(error, status=status)
