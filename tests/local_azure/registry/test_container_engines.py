"""The programs that a device pulls with, where the machine has them."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from local_azure.kernel import Kernel

from .loopback_registry import DEVICE, HELLO, PASSWORD, Shelf, listening, run

needs_skopeo = pytest.mark.skipif(not shutil.which("skopeo"), reason="skopeo is not installed")
# Storing an image takes more than a container without privileges may do.
needs_podman = pytest.mark.skipif(
    not shutil.which("podman") or os.geteuid() != 0, reason="podman is not installed, or not root"
)


@dataclass(frozen=True)
class Engine:
    """A program with its own storage and logins, for one test."""

    host: str
    folder: Path
    command: tuple[str, ...]

    async def __call__(self, *arguments: str, stdin: str = "") -> tuple[int, str]:
        return await run(
            *self.command,
            *arguments,
            stdin=stdin,
            PATH=os.environ["PATH"],
            HOME=str(self.folder),
            XDG_RUNTIME_DIR=str(self.folder),
            REGISTRY_AUTH_FILE=str(self.folder / "auth.json"),
            SSL_CERT_FILE=str(self.folder / "ca.pem"),
        )

    async def log_in(self, password: str = PASSWORD) -> tuple[int, str]:
        return await self("login", "-u", DEVICE, "--password-stdin", self.host, stdin=password)


@pytest.fixture(scope="module")
def kernel() -> Kernel:
    return Kernel.create(seed=1, addresses=("127.0.0.1",))


@pytest.fixture(scope="module")
async def host(kernel: Kernel) -> AsyncIterator[str]:
    async with listening(kernel, Shelf()) as host:
        yield host


@pytest.fixture
def skopeo(kernel: Kernel, host: str, tmp_path: Path) -> Engine:
    (tmp_path / "ca.pem").write_text(kernel.certificates.ca_pem)
    return Engine(host, tmp_path, ("skopeo", "--tmpdir", str(tmp_path)))


@pytest.fixture
def podman(kernel: Kernel, host: str) -> Iterator[Engine]:
    # pytest's own folders are too long: podman takes 50 characters for its run root.
    with tempfile.TemporaryDirectory(prefix="podman-") as name:
        folder = Path(name)
        (folder / "ca.pem").write_text(kernel.certificates.ca_pem)
        storage = ("--root", f"{name}/root", "--runroot", f"{name}/run", "--tmpdir", f"{name}/t")
        flags = ("--storage-driver=vfs", "--events-backend=file", "--cgroup-manager=cgroupfs")
        yield Engine(host, folder, ("podman", *storage, *flags))


@needs_skopeo
async def test_skopeo_logs_in_with_the_right_password_only(skopeo: Engine) -> None:
    code, output = await skopeo.log_in("wrong")
    assert code != 0, output
    assert "Incorrect Password" in output or "invalid username/password" in output

    assert await skopeo.log_in() == (0, "Login Succeeded!\n")


@needs_skopeo
async def test_skopeo_copies_an_image_and_every_digest_is_verified(skopeo: Engine) -> None:
    await skopeo.log_in()

    copy = skopeo.folder / "copy"
    source = f"docker://{skopeo.host}/hello-world:v1"
    code, output = await skopeo("--insecure-policy", "copy", source, f"dir:{copy}")

    assert code == 0, output
    assert (copy / "manifest.json").read_bytes() == HELLO.manifest


@needs_skopeo
async def test_skopeo_inspects_and_lists_tags(skopeo: Engine) -> None:
    await skopeo.log_in()

    code, output = await skopeo("inspect", f"docker://{skopeo.host}/hello-world")
    assert code == 0, output
    assert HELLO.digest in output
    code, output = await skopeo("list-tags", f"docker://{skopeo.host}/hello-world")
    assert code == 0, output
    assert '"v2"' in output


@needs_skopeo
@pytest.mark.parametrize(
    ("image", "reason"),
    [
        ("hello-world:v99", "manifest unknown"),
        ("not-synced:latest", "manifest unknown"),
        ("secret:latest", "denied"),
    ],
)
async def test_skopeo_is_told_why_it_cannot_pull(skopeo: Engine, image: str, reason: str) -> None:
    await skopeo.log_in()

    code, output = await skopeo("inspect", f"docker://{skopeo.host}/{image}")

    assert code != 0
    assert reason in output


@needs_skopeo
async def test_skopeo_cannot_push(skopeo: Engine) -> None:
    await skopeo.log_in()
    hello = f"docker://{skopeo.host}/hello-world"

    code, output = await skopeo("--insecure-policy", "copy", f"{hello}:v2", f"{hello}:v3")

    assert code != 0
    assert "denied: This operation is not allowed on this registry." in output


@needs_podman
async def test_podman_logs_in_and_pulls_an_image(podman: Engine) -> None:
    assert await podman.log_in() == (0, "Login Succeeded!\n")

    code, output = await podman("pull", "--quiet", f"{podman.host}/hello-world")
    assert code == 0, output
    code, digest = await podman("inspect", "--format={{.Digest}}", f"{podman.host}/hello-world")
    assert (code, digest.strip()) == (0, HELLO.digest)


@needs_podman
async def test_podman_cannot_pull_what_the_token_may_not_read(podman: Engine) -> None:
    await podman.log_in()

    code, output = await podman("pull", f"{podman.host}/secret")

    assert code != 0
    assert "denied" in output


@needs_podman
async def test_podman_cannot_push(podman: Engine) -> None:
    await podman.log_in()
    await podman("pull", "--quiet", f"{podman.host}/hello-world")

    code, output = await podman("push", f"{podman.host}/hello-world")

    assert code != 0
    assert "denied: This operation is not allowed on this registry." in output
