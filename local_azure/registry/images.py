"""Small container images, which have the same bytes at every start."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

MANIFEST_MEDIA_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
_CONFIG_MEDIA_TYPE = "application/vnd.docker.container.image.v1+json"
_LAYER_MEDIA_TYPE = "application/vnd.docker.image.rootfs.diff.tar.gzip"

_CREATED = "1970-01-01T00:00:00Z"  # constant, and so the digests are


@dataclass(frozen=True)
class Image:
    """A manifest and its blobs. Digests are `sha256:` and 64 hexadecimal digits."""

    manifest: bytes
    media_type: str
    digest: str
    blobs: Mapping[str, bytes]


def hello_world() -> Image:
    """The image that the demo pulls."""
    return text_image("hello", "Hello from your connected registry!\n")


def sensor_gateway() -> Image:
    """Another image."""
    return text_image("sensor-gateway", "sensor-gateway: 3 sensors found.\n")


def text_image(name: str, text: str) -> Image:
    """An image with one text file, which can be pulled but not run."""
    files = _tar(name=name, content=text.encode())
    layer = gzip.compress(files, mtime=0)
    config = _json(
        {
            "architecture": "amd64",
            "os": "linux",
            "created": _CREATED,
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [_digest_of(files)]},
            "history": [{"created": _CREATED, "created_by": f"ADD {name} /{name}"}],
        }
    )
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_MEDIA_TYPE,
            "config": _descriptor(_CONFIG_MEDIA_TYPE, config),
            "layers": [_descriptor(_LAYER_MEDIA_TYPE, layer)],
        }
    )
    return Image(
        manifest=manifest,
        media_type=MANIFEST_MEDIA_TYPE,
        digest=_digest_of(manifest),
        blobs=MappingProxyType({_digest_of(blob): blob for blob in (config, layer)}),
    )


def _digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _tar(*, name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def _descriptor(media_type: str, content: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "size": len(content), "digest": _digest_of(content)}


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
