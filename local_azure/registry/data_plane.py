"""Pulls by the distribution protocol: https://github.com/opencontainers/distribution-spec."""

from __future__ import annotations

from aiohttp import web

from local_azure.kernel import Kernel
from local_azure.kernel.service import Handler, create_application
from local_azure.registry.access import Scope, is_repository_name
from local_azure.registry.authentication import CONNECTED_REGISTRY_TOKEN_PATH, Authentication
from local_azure.registry.backend import RegistryBackend
from local_azure.registry.exceptions import (
    RegistryError,
    error_response,
    invalid_repository_name,
    unknown_blob,
    unknown_manifest,
    unknown_repository,
)

_DEFAULT_CODES = {
    401: "UNAUTHORIZED",
    403: "DENIED",
    404: "NAME_UNKNOWN",
    405: "UNSUPPORTED",
    429: "TOOMANYREQUESTS",
}


def create_registry_application(
    kernel: Kernel,
    backend: RegistryBackend,
    *,
    service: str,
    host: str,
    scheme: str,
    token_path: str,
) -> web.Application:
    """The registry that clients reach at `scheme://host`; `host` includes the port.

    `token_path` is one of authentication.CLOUD_TOKEN_PATH and CONNECTED_REGISTRY_TOKEN_PATH.
    Operations, in counts and fault rules: token, base, manifests.get, blobs.get, push.
    """
    application = create_application(kernel, service=service, render_error=_render_error)
    application.middlewares.append(_answer_refusals)
    application.on_response_prepare.append(_add_version_header)
    authentication = Authentication(
        kernel, backend, host=host, scheme=scheme, token_path=token_path
    )
    plane = _DataPlane(backend, authentication)
    router = application.router
    router.add_get(token_path, authentication.issue, name="token", allow_head=False)
    router.add_post(token_path, authentication.issue, name="token")
    router.add_get("/v2{slash:/?}", plane.base, name="base")
    router.add_get("/v2/{name:.+}/manifests/{reference}", plane.manifest, name="manifests.get")
    router.add_get("/v2/{name:.+}/blobs/{digest}", plane.blob, name="blobs.get")
    if token_path == CONNECTED_REGISTRY_TOKEN_PATH:
        for method in ("POST", "PATCH", "PUT", "DELETE"):
            path = "/v2/{name:.+}/{kind:manifests|blobs}/{rest:.+}"
            router.add_route(method, path, plane.push, name="push")
    return application


class _DataPlane:
    def __init__(self, backend: RegistryBackend, authentication: Authentication) -> None:
        self._backend = backend
        self._authentication = authentication

    async def base(self, request: web.Request) -> web.Response:
        """Answer `docker login`, which needs a valid password and no permission."""
        self._authentication.access_of(request)
        return web.json_response({})

    async def manifest(self, request: web.Request) -> web.Response:
        """Serve the manifest of a tag or digest in its one media type, whatever Accept lists."""
        name = self._authorize(request)
        reference = request.match_info["reference"]
        tagged = self._backend.repositories().get(name, {})
        image = tagged.get(reference) or next(
            (image for image in tagged.values() if image.digest == reference), None
        )
        if image is None:
            raise unknown_manifest(reference)
        return _content(image.manifest, digest=image.digest, media_type=image.media_type)

    async def blob(self, request: web.Request) -> web.Response:
        name = self._authorize(request)
        digest = request.match_info["digest"]
        tagged = self._backend.repositories().get(name)
        if tagged is None:
            raise unknown_repository(name)
        images = tagged.values()
        blob = next((image.blobs[digest] for image in images if digest in image.blobs), None)
        if blob is None:
            raise unknown_blob(digest)
        return _content(blob, digest=digest, media_type="application/octet-stream")

    async def push(self, request: web.Request) -> web.Response:
        """Refuse every upload and deletion: a connected registry here is read-only."""
        action = "delete" if request.method == "DELETE" else "push"
        self._authentication.access_of(
            request, Scope("repository", _valid_name(request), frozenset({action}))
        )
        raise RegistryError(403, "DENIED", "This operation is not allowed on this registry.")

    def _authorize(self, request: web.Request) -> str:
        name = _valid_name(request)
        self._authentication.require_pull(request, name)
        return name


def _valid_name(request: web.Request) -> str:
    name = request.match_info["name"]
    if not is_repository_name(name):
        raise invalid_repository_name(name)
    return name


def _content(content: bytes, *, digest: str, media_type: str) -> web.Response:
    headers = {"Docker-Content-Digest": digest, "ETag": f'"{digest}"'}
    return web.Response(body=content, content_type=media_type, headers=headers)


@web.middleware
async def _answer_refusals(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except RegistryError as error:
        return error_response(error)


async def _add_version_header(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers["Docker-Distribution-Api-Version"] = "registry/2.0"


def _render_error(*, status: int, code: str | None, message: str) -> web.Response:
    code = code or _DEFAULT_CODES.get(status, "UNKNOWN")
    return error_response(RegistryError(status, code, message))
