"""Pulls an image into an OCI image layout, and verifies every size and digest."""

from __future__ import annotations

import asyncio
import hashlib
import json
import platform
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yarl import URL

from firstpull_agent.files import replace_file
from firstpull_agent.http_client import HttpClient
from firstpull_agent.images import DIGEST, CannotPull, Image
from firstpull_agent.json_text import parse_json
from firstpull_agent.secret import Secret

_MANIFESTS = {
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
}
_LISTS = {
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
}
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "armv6l": "arm"}
_LEAST_BYTES_A_SECOND = 10_000
_BLOB_SECONDS = 60.0  # and the time that its size takes


async def pull_layout(
    client: HttpClient, base: URL, token: Secret, image: Image, output: Path
) -> str:
    """Write the image to `output`; returns the digest that its reference names.

    Of an image for several platforms, it writes only this machine's. Raises CannotPull, Failure or
    OSError.
    """
    return await _Pull(client, base / image.repository, token, image, output).run()


@dataclass(frozen=True)
class _Manifest:
    """A manifest as received, with its verified digest."""

    digest: str
    media_type: str
    content: bytes
    fields: Mapping[str, Any]


@dataclass(frozen=True)
class _Blob:
    """A blob that a manifest names."""

    digest: str
    size: int


class _Pull:
    """One pull of an image into an OCI image layout."""

    def __init__(
        self, client: HttpClient, repository: URL, token: Secret, image: Image, output: Path
    ) -> None:
        self._client = client
        self._repository = repository
        self._headers = {"Authorization": f"Bearer {token.reveal()}"}
        self._image = image
        self._output = output

    async def run(self) -> str:
        """Pull; returns the digest that the reference names."""
        named = await self._manifest(self._image.reference)
        chosen = named
        if named.media_type in _LISTS:
            chosen = await self._manifest(_for_this_machine(named.fields))
        if chosen.media_type not in _MANIFESTS:
            raise CannotPull(f"{chosen.media_type[:100]!r} is not an image")
        layers = chosen.fields.get("layers")
        if not isinstance(layers, list):
            raise CannotPull("the manifest has no layers")
        missing = [
            blob
            for blob in map(_blob, [chosen.fields.get("config"), *layers])
            if not self._path(blob.digest).exists()  # it was verified before it got this name
        ]
        self._refuse_without_room(sum(blob.size for blob in set(missing)))
        for blob in dict.fromkeys(missing):
            await self._fetch(blob)
        self._write_layout(chosen)
        return named.digest

    async def _manifest(self, reference: str) -> _Manifest:
        answer = await self._client.get(
            self._repository / "manifests" / reference,
            headers={**self._headers, "Accept": ", ".join(sorted(_MANIFESTS | _LISTS))},
            redirects=True,
        )
        self._refuse(answer.status)
        digest = f"sha256:{hashlib.sha256(answer.body).hexdigest()}"
        promised = reference if DIGEST.fullmatch(reference) else None
        if digest != (promised or answer.headers.get("Docker-Content-Digest", digest)):
            raise CannotPull(f"the manifest of {reference} does not match its digest")
        try:
            fields = parse_json(answer.body)
        except ValueError:
            fields = None
        if not isinstance(fields, dict):
            raise CannotPull(f"the manifest of {reference} is not a JSON object")
        media_type = answer.headers.get("Content-Type", "").partition(";")[0]
        return _Manifest(digest, media_type, answer.body, fields)

    async def _fetch(self, blob: _Blob) -> None:
        path = self._path(blob.digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        try:
            async with asyncio.timeout(_BLOB_SECONDS + blob.size / _LEAST_BYTES_A_SECOND):
                await self._download(blob, partial)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    async def _download(self, blob: _Blob, path: Path) -> None:
        sha256 = hashlib.sha256()
        url = self._repository / "blobs" / blob.digest
        async with self._client.download(url, headers=self._headers, limit=blob.size) as answer:
            status, chunks = answer
            self._refuse(status)
            with path.open("wb") as file:
                async for chunk in chunks:
                    sha256.update(chunk)
                    file.write(chunk)
        if f"sha256:{sha256.hexdigest()}" != blob.digest:
            raise CannotPull(f"{blob.digest} does not match its content")

    def _path(self, digest: str) -> Path:
        return self._output / "blobs" / "sha256" / digest.removeprefix("sha256:")

    def _refuse_without_room(self, size: int) -> None:
        self._output.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self._output).free
        if size > free:
            raise CannotPull(f"the image needs {size} bytes; {self._output} has room for {free}")

    def _write_layout(self, manifest: _Manifest) -> None:
        replace_file(self._path(manifest.digest), manifest.content, mode=0o644)
        descriptor = {
            "mediaType": manifest.media_type,
            "digest": manifest.digest,
            "size": len(manifest.content),
            "annotations": {"org.opencontainers.image.ref.name": self._image.reference},
        }
        index = {"schemaVersion": 2, "manifests": [descriptor]}
        layout = {"imageLayoutVersion": "1.0.0"}
        for name, content in (("index.json", index), ("oci-layout", layout)):
            replace_file(self._output / name, json.dumps(content).encode(), mode=0o644)

    def _refuse(self, status: int) -> None:
        repository = self._image.repository
        if status == 404:
            raise CannotPull(f"{repository} has no {self._image.reference} there")
        if status in {401, 403}:
            raise CannotPull(f"the delivered login does not reach {repository}")
        if status != 200:
            raise CannotPull(f"the registry answered {status} for {repository}")


def _blob(descriptor: object) -> _Blob:
    if not isinstance(descriptor, dict):
        raise CannotPull("the manifest has something else than descriptors")
    size = descriptor.get("size")
    digest = _digest(descriptor)
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise CannotPull(f"the manifest gives no size of {digest}")
    return _Blob(digest, size)


def _digest(descriptor: Mapping[str, Any]) -> str:
    digest = descriptor.get("digest")
    if not isinstance(digest, str) or not DIGEST.fullmatch(digest):
        raise CannotPull(f"{str(digest)[:80]!r} is not a sha256 digest")
    return digest


def _for_this_machine(index: Mapping[str, Any]) -> str:
    machine = platform.machine()
    architecture = _ARCHITECTURES.get(machine, machine)
    entries = index.get("manifests")
    for entry in entries if isinstance(entries, list) else []:
        wanted = entry.get("platform") if isinstance(entry, dict) else None
        if isinstance(wanted, dict) and (wanted.get("os"), wanted.get("architecture")) == (
            "linux",
            architecture,
        ):
            return _digest(entry)
    raise CannotPull(f"the image has no variant for linux/{architecture}")
