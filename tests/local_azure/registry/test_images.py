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
from typing import Any

import pytest

from local_azure.registry.images import Image, hello_world, program_image, sensor_gateway

RUNS_IMAGES = sys.platform == "linux" and platform.machine() == "x86_64"
both_images = pytest.mark.parametrize("build", [hello_world, sensor_gateway])


def layer_and_config(image: Image) -> tuple[bytes, dict[str, Any]]:
    manifest = json.loads(image.manifest)
    layer = image.blobs[manifest["layers"][0]["digest"]]
    return layer, json.loads(image.blobs[manifest["config"]["digest"]])


def run_program(image: Image, folder: Path) -> subprocess.CompletedProcess[str]:
    layer, config = layer_and_config(image)
    with tarfile.open(fileobj=io.BytesIO(layer), mode="r:gz") as archive:
        archive.extractall(folder, filter="tar")
    program = folder / config["config"]["Cmd"][0].lstrip("/")
    return subprocess.run([program], capture_output=True, text=True, check=False)  # noqa: S603


@both_images
def test_every_digest_and_size_in_a_manifest_is_true(build: Callable[[], Image]) -> None:
    image = build()
    manifest = json.loads(image.manifest)
    described = {part["digest"]: part["size"] for part in [manifest["config"], *manifest["layers"]]}

    assert described == {digest: len(blob) for digest, blob in image.blobs.items()}
    for digest, content in [(image.digest, image.manifest), *image.blobs.items()]:
        assert digest == f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert manifest["mediaType"] == image.media_type


@both_images
def test_the_config_names_the_layer_by_its_uncompressed_digest(build: Callable[[], Image]) -> None:
    layer, config = layer_and_config(build())

    uncompressed = hashlib.sha256(gzip.decompress(layer)).hexdigest()
    assert config["rootfs"]["diff_ids"] == [f"sha256:{uncompressed}"]
    assert (config["os"], config["architecture"]) == ("linux", "amd64")


@both_images
def test_an_image_is_the_same_bytes_each_time_it_is_built(build: Callable[[], Image]) -> None:
    assert build() == build()


def test_the_two_images_differ() -> None:
    assert hello_world().digest != sensor_gateway().digest


@pytest.mark.skipif(not RUNS_IMAGES, reason="the programs are for linux/amd64")
def test_the_hello_world_program_says_where_it_was_pulled_from(tmp_path: Path) -> None:
    finished = run_program(hello_world(), tmp_path)

    assert finished.returncode == 0
    assert "Hello from your connected registry!" in finished.stdout


@pytest.mark.skipif(not RUNS_IMAGES, reason="the programs are for linux/amd64")
def test_a_program_writes_its_text_to_the_last_byte(tmp_path: Path) -> None:
    text = "first line\n" + "ä" * 5000 + "\nlast line"

    finished = run_program(program_image(name="long", output=text), tmp_path)

    assert (finished.returncode, finished.stdout, finished.stderr) == (0, text, "")
