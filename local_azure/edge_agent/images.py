"""Pulls an image as a container engine does: its manifest and blobs, each checked by its digest."""

from __future__ import annotations

import hashlib
import json
import ssl
from collections.abc import Mapping
from typing import Any

import aiohttp

from local_azure.edge_agent.rules import Login

_MANIFESTS = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)


class PullFailed(Exception):
    """The registry refused a pull, or answered with something else than the image."""


async def pull(image: str, login: Login | None, *, tls: ssl.SSLContext) -> str:
    """Pull `<registry>/<repository>:<tag>`; returns the digest. Raises PullFailed."""
    registry, _, rest = image.partition("/")
    repository, _, tag = rest.rpartition(":")
    headers = {"Accept": _MANIFESTS}
    if login is not None:
        headers["Authorization"] = aiohttp.encode_basic_auth(login.username, login.password)
    url = f"https://{registry}/v2/{repository}"
    try:
        async with aiohttp.ClientSession(headers=headers) as session:
            body = await _get(session, f"{url}/manifests/{tag}", tls)
            manifest, digest = json.loads(body), _digest(body)
            if "manifests" in manifest:
                wanted = manifest["manifests"][0]["digest"]
                manifest = json.loads(await _checked(session, url, "manifests", wanted, tls))
            for part in _parts(manifest):
                await _checked(session, url, "blobs", part, tls)
    except (aiohttp.ClientError, ValueError, LookupError) as error:
        raise PullFailed(f"{image}: {error}") from None
    return digest


def _parts(manifest: Mapping[str, Any]) -> list[str]:
    return [part["digest"] for part in (manifest["config"], *manifest["layers"])]


async def _checked(
    session: aiohttp.ClientSession, url: str, kind: str, digest: str, tls: ssl.SSLContext
) -> bytes:
    body = await _get(session, f"{url}/{kind}/{digest}", tls)
    if _digest(body) != digest:
        raise PullFailed(f"{digest} has other contents")
    return body


async def _get(session: aiohttp.ClientSession, url: str, tls: ssl.SSLContext) -> bytes:
    async with session.get(url, ssl=tls) as answer:
        if answer.status != 200:
            raise PullFailed(f"{answer.status} for {url}")
        return await answer.read()


def _digest(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"
