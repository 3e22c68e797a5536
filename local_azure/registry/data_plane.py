"""The distribution protocol, as far as pulling goes: https://github.com/opencontainers/distribution-spec."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlencode

from aiohttp import web

from local_azure.kernel import Kernel
from local_azure.kernel.service import Handler, create_application
from local_azure.registry.access import CATALOG, is_repository_name, repository_scope
from local_azure.registry.authentication import Authentication
from local_azure.registry.backend import RegistryBackend
from local_azure.registry.exceptions import (
    RegistryError,
    error_response,
    invalid_repository_name,
    unknown_blob,
    unknown_manifest,
    unknown_repository,
)
from local_azure.registry.images import Image

_DEFAULT_PAGE_SIZE = 100
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
    Operations, in counts and fault rules: token, base, catalog, tags.list, manifests.get,
    blobs.get, push.
    """
    application = create_application(
        kernel, service=service, name_operation=_name_operation, render_error=_render_error
    )
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
    router.add_get("/v2/_catalog", plane.catalog, name="catalog")
    router.add_get("/v2/{name:.+}/tags/list", plane.tags, name="tags.list")
    router.add_get("/v2/{name:.+}/manifests/{reference}", plane.manifest, name="manifests.get")
    router.add_get("/v2/{name:.+}/blobs/{digest}", plane.blob, name="blobs.get")
    for method in ("POST", "PATCH", "PUT", "DELETE"):
        path = "/v2/{name:.+}/{kind:manifests|blobs}/{rest:.+}"
        router.add_route(method, path, plane.push, name="push")
    return application


class _DataPlane:
    def __init__(self, backend: RegistryBackend, authentication: Authentication) -> None:
        self._backend = backend
        self._authentication = authentication

    async def base(self, request: web.Request) -> web.Response:
        """Answer `docker login`: whoever logs in may ask, whatever its scope map says."""
        self._authentication.access_of(request)
        return web.json_response({})

    async def catalog(self, request: web.Request) -> web.Response:
        access = self._authentication.require(request, CATALOG)
        names = [
            name
            for name in self._backend.repositories()
            if access.allows(repository_scope(name, "metadata_read"))
        ]
        page, headers = _page(request, names)
        return web.json_response({"repositories": page}, headers=headers)

    async def tags(self, request: web.Request) -> web.Response:
        name = self._authorize(request, "metadata_read")
        page, headers = _page(request, list(self._repository(name)))
        return web.json_response({"name": name, "tags": page}, headers=headers)

    async def manifest(self, request: web.Request) -> web.Response:
        """Serve what is stored under this tag or digest, whatever types the client accepts."""
        name = self._authorize(request, "pull")
        reference = request.match_info["reference"]
        tagged = self._backend.repositories().get(name, {})
        image = tagged.get(reference) or next(
            (image for image in tagged.values() if image.digest == reference), None
        )
        if image is None:
            raise unknown_manifest(reference)
        return _content(image.manifest, digest=image.digest, media_type=image.media_type)

    async def blob(self, request: web.Request) -> web.Response:
        name = self._authorize(request, "pull")
        digest = request.match_info["digest"]
        images = self._repository(name).values()
        blob = next((image.blobs[digest] for image in images if digest in image.blobs), None)
        if blob is None:
            raise unknown_blob(digest)
        return _part(request, blob, digest)

    async def push(self, request: web.Request) -> web.Response:
        """Refuse uploads and deletions, to a read-only registry before looking at scopes."""
        action = "delete" if request.method == "DELETE" else "push"
        scope = repository_scope(_valid_name(request), action)
        self._authentication.access_of(request, scope)
        if self._backend.read_only:
            raise RegistryError(403, "DENIED", "This operation is not allowed on this registry.")
        self._authentication.require(request, scope)
        raise RegistryError(
            405, "UNSUPPORTED", "Images are not pushed or deleted over this protocol here."
        )

    def _authorize(self, request: web.Request, action: str) -> str:
        name = _valid_name(request)
        self._authentication.require(request, repository_scope(name, action))
        return name

    def _repository(self, name: str) -> Mapping[str, Image]:
        tagged = self._backend.repositories().get(name)
        if tagged is None:
            raise unknown_repository(name)
        return tagged


def _valid_name(request: web.Request) -> str:
    name = request.match_info["name"]
    if not is_repository_name(name):
        raise invalid_repository_name(name)
    return name


def _content(content: bytes, *, digest: str, media_type: str) -> web.Response:
    headers = {"Docker-Content-Digest": digest, "ETag": f'"{digest}"'}
    return web.Response(body=content, content_type=media_type, headers=headers)


def _part(request: web.Request, blob: bytes, digest: str) -> web.Response:
    """All of a blob, or the range that the client asks for to resume a pull."""
    try:
        wanted = request.http_range
    except ValueError:  # not a range that we know: RFC 9110 lets us send everything
        wanted = slice(None)
    start, stop, _ = wanted.indices(len(blob))
    response = _content(blob[start:stop], digest=digest, media_type="application/octet-stream")
    response.headers["Accept-Ranges"] = "bytes"
    if (start, stop) == (0, len(blob)):
        return response
    if start >= stop:
        return web.Response(status=416, headers={"Content-Range": f"bytes */{len(blob)}"})
    response.headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(blob)}"
    response.set_status(206)
    return response


def _page(request: web.Request, names: list[str]) -> tuple[list[str], dict[str, str]]:
    """The names after `last`, at most `n`, in order, and the header that leads to the rest."""
    size = request.query.get("n", str(_DEFAULT_PAGE_SIZE))
    if not size.isdecimal():
        raise RegistryError(
            400, "PAGINATION_NUMBER_INVALID", "n is not a number of results", detail={"n": size}
        )
    last = request.query.get("last", "")
    rest = sorted(name for name in names if name > last)
    page = rest[: int(size)]
    if not page or len(page) == len(rest):
        return page, {}
    query = urlencode({"last": page[-1], "n": size})
    return page, {"Link": f'<{request.path}?{query}>; rel="next"'}


@web.middleware
async def _answer_refusals(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except RegistryError as error:
        return error_response(error)


async def _add_version_header(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers["Docker-Distribution-Api-Version"] = "registry/2.0"


def _name_operation(request: web.Request) -> str:
    return request.match_info.route.name or "unknown"


def _render_error(*, status: int, code: str | None, message: str) -> web.Response:
    code = code or _DEFAULT_CODES.get(status, "UNKNOWN")
    return error_response(RegistryError(status, code, message))
