"""The checks of every request to Azure Resource Manager, before its operation."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Collection
from http import HTTPStatus

from aiohttp import web

from local_azure.kernel.access import Access, Caller, action
from local_azure.kernel.service import bearer_token
from local_azure.kernel.tokens import InvalidToken, TokenAuthority
from local_azure.resource_manager.directory import LOCATION, Directory, find
from local_azure.resource_manager.exceptions import (
    ArmError,
    AuthenticationFailed,
    AuthorizationFailed,
    InvalidApiVersionParameter,
    InvalidAuthenticationToken,
    InvalidQueryParameter,
    InvalidResourceNamespace,
    InvalidResourceType,
    InvalidSubscriptionId,
    MethodNotAllowed,
    MissingApiVersionParameter,
    NoRegisteredProviderFound,
    NotFoundInResourceManager,
    ResourceGroupNotFound,
    SubscriptionNotFound,
    SubscriptionRequestsThrottled,
    UnsupportedMediaType,
)
from local_azure.resource_manager.routing import ArmCall, Match, Route, Router
from local_azure.resource_manager.throttling import RequestKind, Throttle

type Guard = Callable[[str, str, bytes], None]
"""Raises ArmError for a method, path and content that a lock or a policy forbids."""

_API_VERSION = re.compile(r"\d{4}-\d{2}-\d{2}(-preview)?")
_PROVIDER_IN_PATH = re.compile(r"/providers/([^/]+)(?:/([^?]*))?", re.IGNORECASE)
_NOBODY = Caller("")
_BUCKET_HEADERS = web.RequestKey("bucket_headers", dict[str, str])
_KINDS: dict[str, RequestKind] = {"GET": "reads", "DELETE": "deletes"}


class RequestChecks:
    """Authentication, throttling, api-version, roles, subscription and resource group."""

    def __init__(
        self,
        *,
        directory: Directory,
        tokens: TokenAuthority,
        access: Access,
        audiences: Collection[str],
        throttle: Throttle,
        router: Router,
        guard: Guard | None = None,
    ) -> None:
        self._guard = guard
        self._directory = directory
        self._tokens = tokens
        self._access = access
        self._audiences = audiences
        self._throttle = throttle
        self._router = router

    async def admit(self, request: web.Request) -> tuple[Route, ArmCall]:
        """The operation of a request and its input. Raises ArmError for a refused request."""
        path = request.rel_url.raw_path
        match = self._router.match(request.method, path)
        anonymous = match is not None and match.route.anonymous
        caller = _NOBODY if anonymous else self._authenticate(request)
        if match is None:
            raise self._unknown(request)
        self._take_from_bucket(request, match, caller.principal_id)
        _check_query(request, match.route)
        self._check_roles(request, match.route, caller)
        self._check_existence(match)
        content = await _content(request)
        if self._guard is not None:
            self._guard(request.method, request.path, content)
        path = re.sub("/{2,}", "/", request.path)
        call = ArmCall(path, match.variables, request.query, content, caller.principal_id)
        return match.route, call

    def _authenticate(self, request: web.Request) -> Caller:
        token = bearer_token(request)
        if not token:
            raise AuthenticationFailed(
                "Authentication failed. The 'Authorization' header is missing."
            )
        try:
            claims = self._tokens.verify(token, audiences=self._audiences)
        except InvalidToken as error:
            raise InvalidAuthenticationToken(f"The access token is invalid: {error}.") from error
        return Caller.of(claims)

    def _check_roles(self, request: web.Request, route: Route, caller: Caller) -> None:
        """Check before looking up anything: a 404 would reveal what exists."""
        scope = _scope(request.path)
        if route.action and not self._access.allows(caller, action(route.action), scope=scope):
            raise AuthorizationFailed(
                f"The client '{caller.client_id}' with object id '{caller.principal_id}' does not "
                f"have authorization to perform action '{route.action}' over scope '{scope}' or "
                "the scope is invalid. If access was recently granted, please refresh your "
                "credentials."
            )

    def _take_from_bucket(self, request: web.Request, match: Match, caller: str) -> None:
        subscription = match.variables.get("subscription")
        if subscription is None:
            return
        kind = _KINDS.get(request.method, "writes")
        admission = self._throttle.admit(subscription_id=subscription, principal=caller, kind=kind)
        if admission is None:
            return
        remaining = "x-ms-ratelimit-remaining-subscription"
        request[_BUCKET_HEADERS] = {
            f"{remaining}-{kind}": str(admission.remaining),
            f"{remaining}-global-{kind}": str(admission.remaining_of_all),
        }
        if admission.retry_after_seconds is not None:
            raise SubscriptionRequestsThrottled(
                f"Number of requests for subscription '{subscription}' and operation "
                f"'{match.route.operation}' exceeded the backend storage limit. "
                f"Please try again after '{admission.retry_after_seconds}' seconds.",
                retry_after_seconds=admission.retry_after_seconds,
            )

    def _check_existence(self, match: Match) -> None:
        subscription = match.variables.get("subscription")
        if subscription is None:
            return
        if not _is_uuid(subscription):
            raise InvalidSubscriptionId(
                f"The provided subscription identifier '{subscription}' is malformed or invalid."
            )
        if find(self._directory.subscriptions(), subscription) is None:
            raise SubscriptionNotFound(f"The subscription '{subscription}' could not be found.")
        group = match.variables.get("group")
        if group is None:
            return
        if find(self._directory.resource_groups(subscription), group) is None:
            raise ResourceGroupNotFound(f"Resource group '{group}' could not be found.")

    def _unknown(self, request: web.Request) -> ArmError:
        path = request.rel_url.raw_path
        if self._router.knows_path(path):
            return MethodNotAllowed(
                f"The requested resource does not support http method '{request.method}'."
            )
        provider = _PROVIDER_IN_PATH.search(path)
        if provider is None:
            return NotFoundInResourceManager(f"No such path here: {request.method} {request.path}")
        namespace = provider[1]
        served = self._router.api_versions_of(namespace)
        if not served:
            return InvalidResourceNamespace(f"The resource namespace '{namespace}' is invalid.")
        kind = "/".join((provider[2] or "").split("/")[::2])
        return InvalidResourceType(
            f"The resource type '{kind}' could not be found in the namespace '{namespace}' "
            f"for api version '{request.query.get('api-version', '')}'. "
            f"The supported api-versions are '{_listed(served)}'."
        )


def render_error(*, status: int, code: str | None, message: str) -> web.Response:
    """An error body of Azure Resource Manager. The default code is the status' phrase."""
    code = code or HTTPStatus(status).phrase.title().replace(" ", "").replace("-", "")
    return web.json_response({"error": {"code": code, "message": message}}, status=status)


def render_refusal(error: ArmError, *, authority: str) -> web.Response:
    """The answer to a refused request."""
    body: dict[str, object] = {"error": {"code": error.code, "message": error.message}}
    if error.says_failed:
        body["status"] = "Failed"
    response = web.json_response(body, status=error.status)
    if error.status == 401:
        response.headers["WWW-Authenticate"] = (
            f'Bearer authorization_uri="{authority}", error="invalid_token", '
            f'error_description="{error.message}"'
        )
    if isinstance(error, SubscriptionRequestsThrottled):
        response.headers["Retry-After"] = str(error.retry_after_seconds)
    return response


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Add request ids and the rest of the bucket to every answer, refusals included."""
    request_id = str(uuid.uuid4())
    response.headers["x-ms-request-id"] = request_id
    response.headers["x-ms-correlation-request-id"] = request.headers.get(
        "x-ms-correlation-request-id", request_id
    )
    response.headers["Cache-Control"] = "no-cache"
    response.headers.update(request.get(_BUCKET_HEADERS, {}))


def _scope(path: str) -> str:
    """The resource in a path, without the type of a list or the name of an action."""
    segments = path.strip("/").split("/")
    return "/" + "/".join(segments[: len(segments) // 2 * 2])


def _check_query(request: web.Request, route: Route) -> None:
    version = request.query.get("api-version")
    if not version:
        raise MissingApiVersionParameter(
            "The api-version query parameter (?api-version=) is required for all requests."
        )
    supported = _listed(route.api_versions)
    well_formed = _API_VERSION.fullmatch(version) is not None
    if version not in route.api_versions and well_formed and route.resource_type:
        raise NoRegisteredProviderFound(
            f"No registered resource provider found for location '{LOCATION}' and API version "
            f"'{version}' for type '{route.resource_type}'. The supported api-versions are "
            f"'{supported}'. The supported locations are '{LOCATION}'."
        )
    if version not in route.api_versions:
        raise InvalidApiVersionParameter(
            f"The api-version '{version}' is invalid. The supported versions are '{supported}'."
        )
    unknown = sorted(request.query.keys() - route.query - {"api-version"})
    if unknown:
        raise InvalidQueryParameter(f"The query parameter '{unknown[0]}' is not supported.")


async def _content(request: web.Request) -> bytes:
    content = await request.read()
    if content and request.content_type != "application/json":
        raise UnsupportedMediaType(
            f"The content type '{request.content_type}' is not supported; use application/json."
        )
    return content


def _is_uuid(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text.lower()
    except ValueError:
        return False


def _listed(versions: Collection[str]) -> str:
    return ", ".join(versions)
