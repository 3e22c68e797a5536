"""The refusals of a registry, with the status and body that clients know them by."""

from __future__ import annotations

from aiohttp import web


class RegistryError(Exception):
    """A request that a registry refuses. `detail` and `challenge` go out as they are."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        detail: object = None,
        challenge: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.detail = detail
        self.challenge = challenge


def error_response(error: RegistryError) -> web.Response:
    """The answer of the distribution specification: a list with one error."""
    body = {
        "errors": [{"code": error.code, "message": error.message, "detail": error.detail}],
    }
    headers = {} if error.challenge is None else {"Www-Authenticate": error.challenge}
    return web.json_response(body, status=error.status, headers=headers)


def no_credentials() -> RegistryError:
    """A request for a token without credentials: no repository allows anonymous pulls."""
    return RegistryError(401, "UNAUTHORIZED", "authentication required")


def incorrect_password() -> RegistryError:
    """Unknown token, wrong, expired or superseded password: Azure answers all of them alike."""
    return RegistryError(
        401,
        "UNAUTHORIZED",
        "Incorrect Password",
        detail="Please visit https://aka.ms/acr#UNAUTHORIZED for more information.",
    )


def invalid_repository_name(name: str) -> RegistryError:
    """A name that no repository can have, such as one in upper case."""
    return RegistryError(400, "NAME_INVALID", "invalid repository name", detail={"name": name})


def unknown_repository(name: str) -> RegistryError:
    """A repository that does not exist, or has not been synced to this registry."""
    return RegistryError(
        404, "NAME_UNKNOWN", f'repository "{name}" is not found', detail={"name": name}
    )


def unknown_manifest(reference: str) -> RegistryError:
    """An unknown tag or digest; also the answer to a pull of an unknown repository."""
    if reference.startswith("sha256:"):
        message, detail = f"manifest {reference} is not found", {"Digest": reference}
    else:
        message, detail = f'manifest tagged by "{reference}" is not found', {"Tag": reference}
    return RegistryError(404, "MANIFEST_UNKNOWN", message, detail=detail)


def unknown_blob(digest: str) -> RegistryError:
    """A blob that no image of the repository refers to."""
    return RegistryError(404, "BLOB_UNKNOWN", f"blob {digest} is not found", detail=digest)
