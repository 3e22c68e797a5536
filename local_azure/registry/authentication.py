"""Logging in as docker does: a challenge, a bearer token for a scope, and Basic as a shortcut."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import timedelta

from aiohttp import BasicAuth, web
from multidict import MultiMapping

from local_azure.kernel import Kernel
from local_azure.kernel.clock import wire_time
from local_azure.kernel.tokens import InvalidToken
from local_azure.registry.access import Access, Scope
from local_azure.registry.backend import Grant, RegistryBackend
from local_azure.registry.exceptions import RegistryError, incorrect_password, no_credentials

# Issued bearer tokens are good for this long, whatever becomes of the password behind them.
TOKEN_LIFETIME = timedelta(minutes=75)

CONNECTED_REGISTRY_TOKEN_PATH = "/acr/oauth2/token"  # noqa: S105 - a path
CLOUD_TOKEN_PATH = "/oauth2/token"  # noqa: S105 - a path

_HOST = re.compile(r"[A-Za-z0-9.:\[\]-]+")
_INSUFFICIENT_SCOPES = "Insufficient scopes to perform the operation"


class Authentication:
    """Who a request comes from and what it may do, at one registry."""

    def __init__(
        self,
        kernel: Kernel,
        backend: RegistryBackend,
        *,
        host: str,
        scheme: str,
        token_path: str,
    ) -> None:
        self._kernel = kernel
        self._backend = backend
        self._host = host
        self._scheme = scheme
        self._token_path = token_path
        # Not the host alone: a registry that comes back at the address of another is another.
        self._audience = f"{host}/{kernel.random.getrandbits(64):016x}"

    async def issue(self, request: web.Request) -> web.Response:
        """Answer a request for a bearer token, as a query with Basic or as a form.

        What may not be done is left out of the token rather than refused: docker logs in
        first and finds out at the pull.
        """
        parameters: MultiMapping[object]
        if request.method == "POST":
            parameters = await request.post()
            credentials = _form_credentials(parameters)
        else:
            parameters = request.query
            credentials = _basic_credentials(request)
        grant = self._log_in(*credentials)
        wanted = parameters.getall("scope", [])
        access = self._access_by(grant).narrowed_to(_parse_scopes(wanted))
        token = self._kernel.tokens.issue(
            issuer="Azure Container Registry",
            audience=self._audience,
            lifetime=TOKEN_LIFETIME,
            claims={"sub": grant.token_name, "access": access.to_claims()},
        )
        return web.json_response(
            {
                "access_token": token,
                "token": token,  # docker's older name for it
                "token_type": "Bearer",
                "expires_in": int(TOKEN_LIFETIME.total_seconds()),
                "issued_at": wire_time(self._kernel.clock.now()),
            }
        )

    def access_of(self, request: web.Request, scope: Scope | None = None) -> Access:
        """What the caller may do; nothing is required of it but being somebody.

        Raises RegistryError 401 with a challenge that names `scope`.
        """
        kind, _, credentials = request.headers.get("Authorization", "").partition(" ")
        if kind.lower() == "basic":
            return self._access_by(self._log_in(*_basic_credentials(request)))
        if kind.lower() != "bearer":
            raise self._refusal(request, scope, message="authentication required")
        try:
            claims = self._kernel.tokens.verify(credentials.strip(), audiences=[self._audience])
        except InvalidToken as error:
            raise self._refusal(
                request, scope, message="authentication required", problem="invalid_token"
            ) from error
        return Access.from_claims(claims["access"])

    def require(self, request: web.Request, scope: Scope) -> Access:
        """What the caller may do, which includes `scope`. Raises RegistryError 401 if not."""
        access = self.access_of(request, scope)
        if not access.allows(scope):
            raise self._refusal(
                request, scope, message=_INSUFFICIENT_SCOPES, problem="insufficient_scope"
            )
        return access

    def _log_in(self, username: str, password: str) -> Grant:
        grant = self._backend.authenticate(username, password)
        if grant is None:
            raise incorrect_password()
        return grant

    def _access_by(self, grant: Grant) -> Access:
        return Access.of(grant, whole_catalog_only=self._token_path == CLOUD_TOKEN_PATH)

    def _refusal(
        self,
        request: web.Request,
        scope: Scope | None,
        *,
        message: str,
        problem: str | None = None,
    ) -> RegistryError:
        denied = problem == "insufficient_scope"
        scheme, host = self._reached_as(request)
        parameters = {"realm": f"{scheme}://{host}{self._token_path}", "service": host}
        if scope is not None:
            parameters["scope"] = str(scope)
        if problem is not None:
            parameters["error"] = problem
        if denied:
            parameters["error_description"] = message  # docker shows this and not the body
        return RegistryError(
            401,
            "DENIED" if denied else "UNAUTHORIZED",
            message,
            detail=_scope_detail(scope),
            challenge="Bearer " + ",".join(f'{k}="{v}"' for k, v in parameters.items()),
        )

    def _reached_as(self, request: web.Request) -> tuple[str, str]:
        """Scheme and host as the client wrote them, which a proxy in between tells."""
        host = request.headers.get("X-Forwarded-Host", "")
        scheme = request.headers.get("X-Forwarded-Proto", "")
        return (
            scheme if scheme in {"http", "https"} else self._scheme,
            host if _HOST.fullmatch(host) else self._host,
        )


def _basic_credentials(request: web.Request) -> tuple[str, str]:
    try:
        decoded = BasicAuth.decode(request.headers.get("Authorization", ""), encoding="utf-8")
    except ValueError:
        raise no_credentials() from None  # its text quotes the header
    return decoded.login, decoded.password


def _form_credentials(form: Mapping[str, object]) -> tuple[str, str]:
    if form.get("grant_type") != "password":
        raise RegistryError(400, "UNSUPPORTED", "only grant_type=password is offered here")
    return str(form.get("username", "")), str(form.get("password", ""))


def _parse_scopes(texts: Iterable[object]) -> list[Scope]:
    try:
        return [Scope.parse(part) for text in texts for part in str(text).split()]
    except ValueError as error:
        raise RegistryError(400, "UNSUPPORTED", str(error)) from error


def _scope_detail(scope: Scope | None) -> list[dict[str, str]] | None:
    if scope is None:
        return None
    return [
        {"Type": scope.kind, "Name": scope.name, "Action": action}
        for action in sorted(scope.actions)
    ]
