"""Container images made from nothing: small, real, and the same bytes at every start."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import struct
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

MANIFEST_MEDIA_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
_CONFIG_MEDIA_TYPE = "application/vnd.docker.container.image.v1+json"
_LAYER_MEDIA_TYPE = "application/vnd.docker.image.rootfs.diff.tar.gzip"

_CREATED = "1970-01-01T00:00:00Z"  # fixed, so that digests are

_LOAD_ADDRESS = 0x400000
_ELF_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_PROGRAM_HEADER = struct.Struct("<IIQQQQQQ")


@dataclass(frozen=True)
class Image:
    """A manifest and what it refers to. Digests are `sha256:` and 64 hexadecimal digits."""

    manifest: bytes
    media_type: str
    digest: str
    blobs: Mapping[str, bytes]


def hello_world() -> Image:
    """A greeting that tells where the image came from."""
    return program_image(
        name="hello",
        output=(
            "\n"
            "Hello from your connected registry!\n"
            "\n"
            "This image was pulled from it with a token that was made for one device\n"
            "and that may read nothing but the repositories it was given.\n"
            "\n"
        ),
    )


def sensor_gateway() -> Image:
    """A stand-in for what a device would run."""
    return program_image(
        name="sensor-gateway",
        output="sensor-gateway: 3 sensors found, 0 readings sent, nothing else to do.\n",
    )


def program_image(*, name: str, output: str) -> Image:
    """A linux/amd64 image whose one file, `/name`, writes `output` and exits with 0."""
    files = _tar(name=name, content=executable(output))
    layer = gzip.compress(files, mtime=0)
    command = [f"/{name}"]
    config = _json(
        {
            "architecture": "amd64",
            "os": "linux",
            "created": _CREATED,
            "config": {"Cmd": command, "WorkingDir": "/"},
            "rootfs": {"type": "layers", "diff_ids": [digest_of(files)]},
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
        digest=digest_of(manifest),
        blobs=MappingProxyType({digest_of(blob): blob for blob in (config, layer)}),
    )


def executable(output: str) -> bytes:
    """A static x86-64 Linux program, in one segment, that writes `output` and exits with 0."""
    text = output.encode()
    entry = _ELF_HEADER.size + _PROGRAM_HEADER.size
    code = _write_and_exit(len(text))
    size = entry + len(code) + len(text)
    header = _ELF_HEADER.pack(
        b"\x7fELF\x02\x01\x01",  # 64 bits, little endian, version 1
        2,  # an executable
        62,  # for x86-64
        1,
        _LOAD_ADDRESS + entry,
        _ELF_HEADER.size,  # the program header follows at once
        0,
        0,
        _ELF_HEADER.size,
        _PROGRAM_HEADER.size,
        1,
        0,
        0,
        0,
    )
    # Loaded (1), readable and executable (5), the whole file at one address, page aligned.
    segment = _PROGRAM_HEADER.pack(1, 5, 0, _LOAD_ADDRESS, _LOAD_ADDRESS, size, size, 0x1000)
    return header + segment + code + text


def digest_of(content: bytes) -> str:
    """The digest that names this content in a registry."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _write_and_exit(length: int) -> bytes:
    """Machine code for write(1, text, length); exit(0), with the text right behind the code."""
    write_call = b"\xba" + struct.pack("<I", length)  # mov edx, length
    write_call += b"\xbf\x01\x00\x00\x00"  # mov edi, 1
    write_call += b"\xb8\x01\x00\x00\x00\x0f\x05"  # mov eax, 1; syscall
    exit_call = b"\x31\xff\xb8\x3c\x00\x00\x00\x0f\x05"  # xor edi, edi; mov eax, 60; syscall
    distance = len(write_call) + len(exit_call)
    load_text = b"\x48\x8d\x35" + struct.pack("<i", distance)  # lea rsi, [rip + distance]
    return load_text + write_call + exit_call


def _tar(*, name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        entry = tarfile.TarInfo(name)  # owner root and time 0 unless told otherwise
        entry.mode = 0o755
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def _descriptor(media_type: str, content: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "size": len(content), "digest": digest_of(content)}


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
