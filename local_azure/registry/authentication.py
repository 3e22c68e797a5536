"""Login as docker does it: a challenge, a bearer token for a scope; or Basic at every request."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta

from aiohttp import BasicAuth, web
from multidict import MultiMapping

from local_azure.kernel import Kernel
from local_azure.kernel.clock import wire_time
from local_azure.kernel.service import bearer_token
from local_azure.kernel.tokens import InvalidToken
from local_azure.registry.access import Access, Scope
from local_azure.registry.backend import Grant, RegistryBackend
from local_azure.registry.exceptions import RegistryError, incorrect_password, no_credentials

# A bearer token is valid this long, even if its password changes.
TOKEN_LIFETIME = timedelta(minutes=75)

CONNECTED_REGISTRY_TOKEN_PATH = "/acr/oauth2/token"  # noqa: S105 - a path
CLOUD_TOKEN_PATH = "/oauth2/token"  # noqa: S105 - a path

# Users of connected registries report the first, recordings of azure-sdk-for-net have the second.
_INSUFFICIENT_SCOPES = "Insufficient scopes to perform the operation"
_SEE_AUTHORIZATION = (
    "authentication required, visit https://aka.ms/acr/authorization for more information."
)


class Authentication:
    """Authenticates the requests to one registry and issues its bearer tokens."""

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
        self._realm = f"{scheme}://{host}{token_path}"
        self._is_cloud = token_path == CLOUD_TOKEN_PATH
        # Not the host alone: a registry that reuses an address must refuse its former tokens.
        self._audience = f"{host}/{kernel.random.getrandbits(64):016x}"

    async def issue(self, request: web.Request) -> web.Response:
        """Issue a bearer token, to a query with Basic or to a form.

        The token leaves out what the caller may not do, and login succeeds: docker's pull is
        what fails.
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
        access = Access.of(grant).narrowed_to(_parse_scopes(wanted))
        token = self._kernel.tokens.issue(
            issuer="Azure Container Registry",
            audience=self._audience,
            lifetime=TOKEN_LIFETIME,
            claims={"sub": grant.token_name, "access": access.to_claims()},
        )
        if self._is_cloud:
            return web.json_response({"access_token": token})
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
        """The access of a caller that logged in.

        Raises RegistryError 401 with a challenge that names `scope`.
        """
        if request.headers.get("Authorization", "").lower().startswith("basic "):
            return Access.of(self._log_in(*_basic_credentials(request)))
        token = bearer_token(request)
        if token is None:
            raise self._refusal(scope, message="authentication required")
        try:
            claims = self._kernel.tokens.verify(token, audiences=[self._audience])
        except InvalidToken as error:
            raise self._refusal(
                scope, message="authentication required", problem="invalid_token"
            ) from error
        return Access.from_claims(claims["access"])

    def require_pull(self, request: web.Request, name: str) -> None:
        """Raises RegistryError 401 unless the caller may pull this repository."""
        scope = Scope("repository", name, frozenset({"pull"}))
        if not self.access_of(request, scope).allows_pull(name):
            message = _SEE_AUTHORIZATION if self._is_cloud else _INSUFFICIENT_SCOPES
            raise self._refusal(scope, message=message, problem="insufficient_scope")

    def _log_in(self, username: str, password: str) -> Grant:
        grant = self._backend.authenticate(username, password)
        if grant is None:
            raise incorrect_password()
        return grant

    def _refusal(
        self, scope: Scope | None, *, message: str, problem: str | None = None
    ) -> RegistryError:
        denied = problem == "insufficient_scope" and not self._is_cloud
        parameters = {"realm": self._realm, "service": self._host}
        if scope is not None:
            parameters["scope"] = str(scope)
        if problem is not None:
            parameters["error"] = problem
        if denied:
            parameters["error_description"] = message  # docker prints this and not the body
        return RegistryError(
            401,
            "DENIED" if denied else "UNAUTHORIZED",
            message,
            detail=_scope_detail(scope),
            challenge="Bearer " + ",".join(f'{k}="{v}"' for k, v in parameters.items()),
        )


def _basic_credentials(request: web.Request) -> tuple[str, str]:
    try:
        decoded = BasicAuth.decode(request.headers.get("Authorization", ""), encoding="utf-8")
    except ValueError:
        raise no_credentials() from None  # the error's text quotes the header
    return decoded.login, decoded.password


def _form_credentials(form: Mapping[str, object]) -> tuple[str, str]:
    if form.get("grant_type") != "password":
        raise RegistryError(400, "UNSUPPORTED", "grant_type must be password")
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
