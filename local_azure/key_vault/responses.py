"""Key Vault's data plane over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Protocol

from aiohttp import web
from aiohttp.typedefs import Middleware
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from local_azure.kernel import Kernel
from local_azure.kernel.access import Caller, data_action
from local_azure.kernel.clock import Clock
from local_azure.kernel.service import (
    Handler,
    bearer_token,
    create_application,
    describe,
    route_name,
)
from local_azure.kernel.tokens import InvalidToken
from local_azure.key_vault.exceptions import (
    AccessDenied,
    BadParameter,
    ForbiddenByFirewall,
    ForbiddenByPolicy,
    ForbiddenByRbac,
    KeyVaultError,
    Unauthorized,
)
from local_azure.key_vault.models import (
    RECOVERABLE_DAYS,
    RECOVERY_LEVEL,
    DeletedSecret,
    Properties,
    SecretVersion,
    Vault,
)
from local_azure.resource_manager.directory import LOCATION

API_VERSION = "2026-04-01"  # the default of azure-keyvault-secrets 4.12.0
_API_VERSIONS = (API_VERSION, "7.4")  # azure-cli 2.91.0 asks for 7.4

_VERSION = "{version:(?:/[^/]*)?}"  # the SDK ends the path of the current version with a slash
_PAGE_SIZE = 25
# What a fault may name; the codes around them are the defaults of their status.
_INNER_CODES = frozenset(
    {
        "ForbiddenByFirewall",
        "ForbiddenByPolicy",
        "ForbiddenByRbac",
        "ObjectIsBeingDeleted",
        "ObjectIsBeingRecovered",
        "ObjectIsDeletedButRecoverable",
        "SecretDisabled",
    }
)

_DEFAULT_CODES = {
    400: "BadParameter",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    409: "Conflict",
    429: "Throttled",
    503: "ServiceUnavailable",
}

# Data actions below Microsoft.KeyVault/vaults/secrets. An assumption: to get a deleted secret,
# which shows no value, is to read metadata.
# https://learn.microsoft.com/azure/role-based-access-control/permissions/security
_READ_METADATA = "readMetadata/action"
_ACTIONS = {
    "secrets.list": _READ_METADATA,
    "secrets.listVersions": _READ_METADATA,
    "secrets.set": "setSecret/action",
    "secrets.delete": "delete",
    "secrets.get": "getSecret/action",
    "secrets.update": "update/action",
    "deletedSecrets.get": _READ_METADATA,
    "deletedSecrets.recover": "recover/action",
    "deletedSecrets.purge": "purge/action",
}

Json = dict[str, Any]


def create_key_vault_application(
    kernel: Kernel,
    vault: Vault,
    *,
    vault_url: str,
    authority: str,
    resource: str,
    vault_id: str = "/",
    rules: VaultRules | None = None,
) -> web.Application:
    """Serve `vault` at `vault_url`.

    The challenge names `authority`, the login address with the tenant, and `resource`, the
    audience of tokens. A client verifies that the host of its vault ends with "." and the host
    and port of `resource`. Roles are assigned on `vault_id`. `rules` are the vault's own.
    """
    application = create_application(
        kernel, service="keyVault", name_operation=_name_operation, render_error=_render_error
    )
    application.middlewares.append(
        _authorization(
            kernel, authority=authority, resource=resource, vault_id=vault_id, rules=rules
        )
    )
    serve = _Operations(vault, vault_url.rstrip("/"), rules, kernel.clock)
    for method, path, operation, handler in (
        ("GET", "/secrets", "secrets.list", serve.list_secrets),
        ("GET", "/secrets/{name}/versions", "secrets.listVersions", serve.list_versions),
        ("PUT", "/secrets/{name}", "secrets.set", serve.set_secret),
        ("DELETE", "/secrets/{name}", "secrets.delete", serve.delete_secret),
        ("GET", f"/secrets/{{name}}{_VERSION}", "secrets.get", serve.get_secret),
        ("PATCH", f"/secrets/{{name}}{_VERSION}", "secrets.update", serve.update_secret),
        ("GET", "/deletedsecrets/{name}", "deletedSecrets.get", serve.get_deleted),
        ("POST", "/deletedsecrets/{name}/recover", "deletedSecrets.recover", serve.recover),
        ("DELETE", "/deletedsecrets/{name}", "deletedSecrets.purge", serve.purge),
    ):
        application.router.add_route(method, path, handler, name=operation)
    return application


class VaultRules(Protocol):
    """What the vault's settings and Azure Policy decide."""

    @property
    def is_closed(self) -> bool:
        """Whether its network rules keep callers out."""
        ...

    @property
    def uses_roles(self) -> bool:
        """Whether roles count; otherwise access policies do, and there are none."""
        ...

    @property
    def longest_validity(self) -> int | None:
        """The days that a secret may be valid, None for any."""
        ...


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


class _AttributesBody(_Body):
    enabled: bool | None = None
    exp: int | None = None


class _UpdateBody(_Body):
    content_type: str | None = Field(default=None, alias="contentType")
    attributes: _AttributesBody = _AttributesBody()
    tags: dict[str, str] | None = None

    def properties(self) -> Properties:
        return Properties(
            content_type=self.content_type,
            tags=self.tags,
            enabled=self.attributes.enabled,
            expires=self.attributes.exp,
        )


class _SetBody(_UpdateBody):
    value: SecretStr


class _Operations:
    """One method per operation."""

    def __init__(
        self, vault: Vault, vault_url: str, rules: VaultRules | None, clock: Clock
    ) -> None:
        self._rules = rules
        self._clock = clock
        self._vault = vault
        self._url = vault_url

    async def set_secret(self, request: web.Request) -> web.Response:
        body = await _read(request, _SetBody)
        self._check_validity(body.attributes.exp)
        added = self._vault.set(request.match_info["name"], body.value, body.properties())
        return web.json_response(self._bundle(added, with_value=True))

    def _check_validity(self, expires: int | None) -> None:
        days = self._rules.longest_validity if self._rules is not None else None
        if days is None:
            return
        latest = self._clock.now() + timedelta(days=days)
        if expires is None or expires > latest.timestamp():
            raise ForbiddenByPolicy

    async def get_secret(self, request: web.Request) -> web.Response:
        found = self._vault.get(request.match_info["name"], _version(request))
        return web.json_response(self._bundle(found, with_value=True))

    async def update_secret(self, request: web.Request) -> web.Response:
        body = await _read(request, _UpdateBody)
        name = request.match_info["name"]
        changed = self._vault.update(name, _version(request), body.properties())
        return web.json_response(self._bundle(changed))

    async def delete_secret(self, request: web.Request) -> web.Response:
        deleted = self._vault.delete(request.match_info["name"])
        return web.json_response(self._deleted(deleted))

    async def list_secrets(self, request: web.Request) -> web.Response:
        return self._page(request, self._vault.list_secrets(), self._item)

    async def list_versions(self, request: web.Request) -> web.Response:
        versions = self._vault.list_versions(request.match_info["name"])
        return self._page(request, versions, self._bundle)

    async def get_deleted(self, request: web.Request) -> web.Response:
        deleted = self._vault.get_deleted(request.match_info["name"])
        return web.json_response(self._deleted(deleted))

    async def recover(self, request: web.Request) -> web.Response:
        current = self._vault.recover(request.match_info["name"])
        return web.json_response(self._bundle(current))

    async def purge(self, request: web.Request) -> web.Response:
        self._vault.purge(request.match_info["name"])
        return web.Response(status=204)

    def _bundle(self, version: SecretVersion, *, with_value: bool = False) -> Json:
        bundle = self._item(version) | {"id": self._id(version, versioned=True)}
        return {"value": version.value.get_secret_value()} | bundle if with_value else bundle

    def _item(self, version: SecretVersion) -> Json:
        attributes = {
            "enabled": version.enabled,
            "exp": version.expires,
            "created": version.created,
            "updated": version.updated,
            "recoveryLevel": RECOVERY_LEVEL,
            "recoverableDays": RECOVERABLE_DAYS,
        }
        item: Json = {
            "id": self._id(version),
            "attributes": {name: value for name, value in attributes.items() if value is not None},
        }
        if version.content_type is not None:
            item["contentType"] = version.content_type
        if version.tags is not None:
            item["tags"] = dict(version.tags)
        return item

    def _deleted(self, deleted: DeletedSecret) -> Json:
        current = deleted.secret.current
        return self._bundle(current) | {
            "recoveryId": f"{self._url}/deletedsecrets/{current.name}",
            "deletedDate": deleted.deleted,
            "scheduledPurgeDate": deleted.scheduled_purge,
        }

    def _id(self, version: SecretVersion, *, versioned: bool = False) -> str:
        base = f"{self._url}/secrets/{version.name}"
        return f"{base}/{version.version}" if versioned else base

    def _page[Item](
        self, request: web.Request, items: Mapping[str, Item], show: Callable[[Item], Json]
    ) -> web.Response:
        """One page of `items`, which are sorted by their keys."""
        after = request.query.get("$skiptoken", "")
        keys = [key for key in items if key > after]
        link = None
        if len(keys) > _PAGE_SIZE:
            query = f"api-version={API_VERSION}&$skiptoken={keys[_PAGE_SIZE - 1]}"
            link = f"{self._url}{request.path}?{query}"
        value = [show(items[key]) for key in keys[:_PAGE_SIZE]]
        return web.json_response({"value": value, "nextLink": link})


def _authorization(
    kernel: Kernel, *, authority: str, resource: str, vault_id: str, rules: VaultRules | None
) -> Middleware:
    """The middleware that checks token, query and roles, and renders every refusal."""
    challenge = f'Bearer authorization="{authority}", resource="{resource}"'

    @web.middleware
    async def authorize(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            caller = _authenticate(kernel, request, resource)
            _check_query(request)
            if rules is not None and rules.is_closed:
                raise ForbiddenByFirewall
            if rules is not None and not rules.uses_roles:
                raise AccessDenied
            _check_roles(kernel, request, caller, vault_id)
            return await handler(request)
        except KeyVaultError as error:
            refused = _render_error(
                status=error.status,
                code=error.code,
                message=str(error),
                inner_code=error.inner_code,
            )
            if isinstance(error, Unauthorized):
                refused.headers["WWW-Authenticate"] = challenge
            return refused

    return authorize


def _authenticate(kernel: Kernel, request: web.Request, resource: str) -> Caller:
    token = bearer_token(request)
    if not token:
        raise Unauthorized("AKV10000: Request is missing a Bearer or PoP token.")
    try:
        return Caller.of(kernel.tokens.verify(token, audiences=[resource]))
    except InvalidToken as error:
        raise Unauthorized(f"The Bearer token was refused: {error}.") from error


def _check_roles(kernel: Kernel, request: web.Request, caller: Caller, vault_id: str) -> None:
    verb = _ACTIONS.get(route_name(request))
    if verb is None:
        return  # an unknown path: 404
    needed = f"Microsoft.KeyVault/vaults/secrets/{verb}"
    name = request.match_info.get("name")
    scope = f"{vault_id}/secrets/{name}" if name else vault_id
    if not kernel.access.allows(caller, data_action(needed), scope=scope):
        vault = f"{vault_id.rpartition('/')[2]};location={LOCATION}"
        raise ForbiddenByRbac(caller, action=needed, resource=scope.lower(), vault=vault)


def _check_query(request: web.Request) -> None:
    version = request.query.get("api-version")
    if version is None:
        raise BadParameter("api-version must be specified")
    if version not in _API_VERSIONS:
        raise BadParameter(
            f"The specified version ({version}) is not recognized. Consider using the latest"
            f" supported version ({API_VERSION})."
        )
    unknown = sorted(set(request.query) - {"api-version", "$skiptoken"})
    if unknown:
        raise BadParameter(f"Unknown query parameters: {', '.join(unknown)}")


async def _read[Body: _Body](request: web.Request, shape: type[Body]) -> Body:
    try:
        return shape.model_validate_json(await request.read())
    except ValidationError as error:
        raise BadParameter(describe(error)) from None


def _version(request: web.Request) -> str | None:
    return request.match_info["version"].removeprefix("/") or None


def _name_operation(request: web.Request) -> str:
    # A client repeats a challenged request with a token: only the repetition counts.
    return route_name(request) if "Authorization" in request.headers else "challenge"


def _render_error(
    *, status: int, code: str | None, message: str, inner_code: str | None = None
) -> web.Response:
    if code in _INNER_CODES:
        code, inner_code = None, code
    default = _DEFAULT_CODES.get(status, "InternalServerError")
    error: Json = {"code": code or default, "message": message}
    if inner_code is not None:
        error["innererror"] = {"code": inner_code}
    return web.json_response({"error": error}, status=status)
