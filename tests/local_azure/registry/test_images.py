from __future__ import annotations

import gzip
import hashlib
import io
import json
import platform
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from local_azure.registry.images import Image, hello_world, program_image, sensor_gateway

RUNS_IMAGES = sys.platform == "linux" and platform.machine() == "x86_64"


def sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@pytest.mark.parametrize("build", [hello_world, sensor_gateway])
def test_every_digest_and_size_of_an_image_is_true_and_reproducible(
    build: Callable[[], Image],
) -> None:
    image = build()
    manifest = json.loads(image.manifest)
    parts = {part["digest"]: part["size"] for part in [manifest["config"], *manifest["layers"]]}
    config = json.loads(image.blobs[manifest["config"]["digest"]])
    layer = image.blobs[manifest["layers"][0]["digest"]]

    assert image == build()
    assert image.digest == sha256(image.manifest)
    assert parts == {sha256(blob): len(blob) for blob in image.blobs.values()}
    assert set(parts) == set(image.blobs)
    assert config["rootfs"]["diff_ids"] == [sha256(gzip.decompress(layer))]


@pytest.mark.skipif(not RUNS_IMAGES, reason="the programs are for linux/amd64")
def test_a_program_writes_its_text_to_the_last_byte(tmp_path: Path) -> None:
    text = "first line\n" + "ä" * 5000 + "\nlast line"
    image = program_image(name="long", output=text)
    layer = image.blobs[json.loads(image.manifest)["layers"][0]["digest"]]
    with tarfile.open(fileobj=io.BytesIO(layer), mode="r:gz") as archive:
        archive.extractall(tmp_path, filter="tar")

    finished = subprocess.run([tmp_path / "long"], capture_output=True, text=True, check=False)  # noqa: S603

    assert (finished.returncode, finished.stdout, finished.stderr) == (0, text, "")
