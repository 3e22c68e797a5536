"""Pulls an image into an OCI image layout with python-dxf, and verifies every digest."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import requests
from dxf import DXF
from dxf.exceptions import DXFError, DXFUnauthorizedError

from firstpull_agent.files import replace_file
from firstpull_agent.images import DIGEST, CannotPull, Image
from firstpull_agent.registry import Registry, connection_failure
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


def pull_layout(registry: Registry, token: Secret, image: Image, output: Path) -> str:
    """Write the image to `output`; returns the digest that its reference names.

    Of an image for several platforms, it writes only this machine's. Raises CannotPull or
    Failure.
    """
    client = _Client(registry.address, image.repository, insecure=registry.insecure)
    client.use(registry.session)
    client.token = token.reveal()
    return _Pull(client, image, output).run()


class _Client(DXF):
    """DXF on the session of `Registry`, with its TLS context and proxies, and only the token."""

    def use(self, session: requests.Session) -> None:
        self._sessions.insert(0, session)


@dataclass(frozen=True)
class _Blob:
    """A manifest as received, with its verified digest."""

    digest: str
    media_type: str
    content: bytes

    def parsed(self) -> Mapping[str, Any]:
        parsed = json.loads(self.content)
        return parsed if isinstance(parsed, dict) else {}


class _Pull:
    """One pull of an image into an OCI image layout."""

    def __init__(self, client: _Client, image: Image, output: Path) -> None:
        self._client = client
        self._image = image
        self._output = output

    def run(self) -> str:
        """Pull; returns the digest that the reference names. Raises CannotPull or Failure."""
        try:
            named = self._manifest(self._image.reference)
            chosen = (
                self._manifest(_for_this_machine(named)) if named.media_type in _LISTS else named
            )
            if chosen.media_type not in _MANIFESTS:
                raise CannotPull(f"{chosen.media_type} is not an image")
            manifest = chosen.parsed()
            for descriptor in (manifest["config"], *manifest["layers"]):
                self._fetch(descriptor["digest"])
        except DXFUnauthorizedError:
            raise CannotPull(self._refusal(401)) from None
        except requests.exceptions.HTTPError as error:
            raise CannotPull(self._refusal(error.response.status_code)) from None
        except requests.exceptions.RequestException as error:
            raise connection_failure(error, self._image.repository) from None
        except DXFError as error:
            raise CannotPull(f"{self._image.repository}: {error}") from None
        except (ValueError, KeyError, TypeError) as error:
            raise CannotPull(f"{self._image.repository} has a broken manifest") from error
        self._write_layout(chosen)
        return named.digest

    def _manifest(self, reference: str) -> _Blob:
        _, answer = self._client.get_manifest_and_response(reference)
        digest = f"sha256:{hashlib.sha256(answer.content).hexdigest()}"
        promised = reference if DIGEST.fullmatch(reference) else None
        if digest != (promised or answer.headers.get("Docker-Content-Digest", digest)):
            raise CannotPull(f"the manifest of {reference} does not match its digest")
        media_type = answer.headers.get("Content-Type", "").partition(";")[0]
        return _Blob(digest, media_type, answer.content)

    def _fetch(self, digest: str) -> None:
        path = self._blob_path(digest)
        if path.exists():  # only verified content is ever renamed to its digest
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        with partial.open("wb") as file:
            chunks = cast("Iterable[bytes]", self._client.pull_blob(digest))
            file.writelines(chunks)  # the last step raises when the digest differs
        partial.replace(path)

    def _blob_path(self, digest: str) -> Path:
        if not DIGEST.fullmatch(digest):
            raise CannotPull(f"{digest[:80]!r} is not a sha256 digest")
        return self._output / "blobs" / "sha256" / digest.removeprefix("sha256:")

    def _write_layout(self, manifest: _Blob) -> None:
        replace_file(self._blob_path(manifest.digest), manifest.content, mode=0o644)
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

    def _refusal(self, status: int) -> str:
        if status == 404:
            return f"{self._image.repository} has no {self._image.reference} there"
        if status in {401, 403}:
            return f"the delivered login does not reach {self._image.repository}"
        return f"the registry answered {status} for {self._image.repository}"


def _for_this_machine(index: _Blob) -> str:
    machine = platform.machine()
    architecture = _ARCHITECTURES.get(machine, machine)
    for entry in index.parsed()["manifests"]:
        wanted = entry.get("platform", {})
        if (wanted.get("os"), wanted.get("architecture")) == ("linux", architecture):
            return str(entry["digest"])
    raise CannotPull(f"the image has no variant for linux/{architecture}")
