"""`make demo` and `make up`, as a newcomer runs them."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import shutil
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from local_azure.commands.processes import inherited

ROOT = Path(__file__).parents[2]
PULLED = re.compile(r"First pull: hello-world@sha256:[0-9a-f]{12}… by gateway-\w+ in \d+\.\d s")
ENVIRONMENT = {
    "FIRSTPULL_URL",
    "FIRSTPULL_KEY",
    "FIRSTPULL_MASTER_KEY",
    "FIRSTPULL_PAGE_KEY",
    "ARM_ENDPOINT",
    "AZURE_SUBSCRIPTION_ID",
    "AZURE_RESOURCE_GROUP",
    "REGISTRY_NAME",
    "CONNECTED_REGISTRY",
    "CONNECTED_REGISTRY_ENDPOINT",
    "KEY_VAULT_URL",
    "IOT_HUB_HOSTNAME",
    "IDENTITY_ENDPOINT",
    "IDENTITY_HEADER",
    "AZURE_STORAGE_CONNECTION_STRING",
    "LOCAL_AZURE_MANAGEMENT_URL",
    "CA_BUNDLE",
}


def _works(*command: str) -> bool:
    return (
        bool(shutil.which(command[0]))
        and subprocess.run(command, capture_output=True, check=False).returncode == 0  # noqa: S603 - fixed below
    )


def _engine(name: str, *, works: bool, slow: bool = False) -> object:
    skip = pytest.mark.skipif(not works, reason=f"no {name} that works")
    return pytest.param(name, marks=[skip, pytest.mark.slow] if slow else skip)


@pytest.mark.slow
async def test_the_demo_of_an_edge_device_ends_with_a_pull_and_leaves_nothing_behind(
    tmp_path: Path,
) -> None:
    async with _command("demo", tmp_path, "--delivery", "edgeAgent") as demo:
        output, _ = await demo.communicate()
        text = output.decode()
        assert demo.returncode == 0, text
    assert PULLED.fullmatch(text.splitlines()[-1]), text
    assert "by edgeAgent" in text
    assert _traces_of(tmp_path, _address_in(text)) == []
    assert _left_in(tmp_path) == ["demo.log"]


@pytest.mark.parametrize(
    "engine",
    [
        pytest.param("oci", marks=pytest.mark.slow),
        _engine("skopeo", works=_works("skopeo", "--version")),
        # Storing an image takes more than a container without privileges may do.
        _engine("podman", works=_works("podman", "--version") and os.geteuid() == 0, slow=True),
        _engine("docker", works=_works("docker", "info"), slow=True),
    ],
)
async def test_the_demo_ends_with_a_pull_and_leaves_nothing_behind(
    engine: str, tmp_path: Path
) -> None:
    async with _command("demo", tmp_path, "--engine", engine) as demo:
        output, _ = await demo.communicate()
        text = output.decode()
        assert demo.returncode == 0, text
    assert PULLED.fullmatch(text.splitlines()[-1]), text
    assert f"with {engine}" in text
    assert "/api/fleet, which the key " in text
    assert _traces_of(tmp_path, _address_in(text)) == []
    assert _left_in(tmp_path) == ["demo.log"]


@pytest.mark.slow
async def test_the_demo_of_a_cluster_ends_with_the_pulls_of_pods(tmp_path: Path) -> None:
    async with _command("demo", tmp_path, "--delivery", "kubernetes") as demo:
        output, _ = await demo.communicate()
        text = output.decode()
        assert demo.returncode == 0, text
    assert PULLED.fullmatch(text.splitlines()[-1]), text
    assert "for a pod in weld" in text
    assert _traces_of(tmp_path, _address_in(text)) == []
    assert _left_in(tmp_path) == ["demo.log"]


@pytest.mark.slow
async def test_a_demo_without_its_engine_fails(tmp_path: Path) -> None:
    async with _command("demo", tmp_path, "--engine", "podman", PATH="/nonexistent") as demo:
        output, _ = await demo.communicate()
    text = output.decode()
    assert demo.returncode == 1, text
    assert "FAILED" in text
    assert "First pull" not in text
    assert _traces_of(tmp_path, _address_in(text)) == []
    assert _left_in(tmp_path) == ["demo.log"]


async def test_a_stack_that_is_up_onboards_a_device_and_goes_without_a_trace(
    tmp_path: Path,
) -> None:
    async with _command("up", tmp_path) as up:
        await _says(up, "Ctrl-C stops everything")
        variables = _private_variables(tmp_path / "azure.env")
        assert variables.keys() >= ENVIRONMENT
        await _Newcomer(variables).onboards_a_device()
        up.send_signal(signal.SIGINT)
        output, _ = await up.communicate()
        assert up.returncode == 0, output.decode()
    address = variables["IOT_HUB_HOSTNAME"].split(":")[0]
    assert _traces_of(tmp_path, address) == []
    assert _left_in(tmp_path) == ["up.log"]


@dataclass(frozen=True)
class _Newcomer:
    """Does what the command says when it is up, with the variables that it wrote."""

    variables: Mapping[str, str]

    async def onboards_a_device(self) -> None:
        """Register a device without keys, name it to the webhook, look into its twin."""
        async with aiohttp.ClientSession() as session:
            await self._is_healthy(session)
            await self._opens_the_fleet_page(session)
            hub = {"Authorization": f"Bearer {await self._token(session)}"}
            body = {"deviceId": "gateway-1"}
            address = (
                f"https://{self.variables['IOT_HUB_HOSTNAME']}/%s/gateway-1?api-version=2021-04-12"
            )
            tls = ssl.create_default_context(cafile=self.variables["CA_BUNDLE"])
            async with session.put(
                address % "devices", json=body, headers=hub, ssl=tls
            ) as registered:
                assert registered.status == 200, await registered.text()
            await self._asks_the_webhook(session)
            async with session.get(address % "twins", headers=hub, ssl=tls) as answer:
                desired = (await answer.json())["properties"]["desired"]
        entry = desired["firstpull"]["registryCredentials"][self.variables["CONNECTED_REGISTRY"]]
        assert entry["address"] == self.variables["CONNECTED_REGISTRY_ENDPOINT"]
        assert entry["password"]

    async def _is_healthy(self, session: aiohttp.ClientSession) -> None:
        async with session.get(f"{self.variables['FIRSTPULL_URL']}/api/healthz") as answer:
            assert answer.status == 200

    async def _opens_the_fleet_page(self, session: aiohttp.ClientSession) -> None:
        key = {"x-functions-key": self.variables["FIRSTPULL_PAGE_KEY"]}
        page = f"{self.variables['FIRSTPULL_URL']}/api/fleet"
        async with session.get(page, headers=key) as answer:
            assert "No device yet" in await answer.text()

    async def _token(self, session: aiohttp.ClientSession) -> str:
        async with session.get(
            self.variables["IDENTITY_ENDPOINT"],
            params={"api-version": "2019-08-01", "resource": "https://iothubs.azure.net"},
            headers={"X-IDENTITY-HEADER": self.variables["IDENTITY_HEADER"]},
        ) as answer:
            return str((await answer.json())["access_token"])

    async def _asks_the_webhook(self, session: aiohttp.ClientSession) -> None:
        async with session.post(
            f"{self.variables['FIRSTPULL_URL']}/api/devices",
            json={
                "deviceId": "gateway-1",
                "connectedRegistry": self.variables["CONNECTED_REGISTRY"],
                "repositories": ["hello-world"],
            },
            headers={"x-functions-key": self.variables["FIRSTPULL_KEY"], "Prefer": "wait=20"},
        ) as answer:
            assert answer.status == 200, await answer.text()


@asynccontextmanager
async def _command(
    name: str, workplace: Path, *options: str, **environment: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", f"local_azure.commands.{name}"),
        *("--workplace", str(workplace), *options),
        cwd=ROOT,
        # As a newcomer's shell: this session's authority is not trusted there.
        env={**inherited("PATH", "HOME", "LANG", "TMPDIR"), **environment},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _says(up: asyncio.subprocess.Process, text: str) -> None:
    assert up.stdout is not None
    said = []
    async for line in up.stdout:
        said.append(line.decode())
        if text in said[-1]:
            return
    raise AssertionError("".join(said))


def _private_variables(file: Path) -> dict[str, str]:
    """The variables as a shell would read them, from a file that is its owner's only."""
    assert file.stat().st_mode & 0o077 == 0
    words = shlex.split(file.read_text())
    return dict(word.split("=", 1) for word in words if word != "export")


def _left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _address_in(text: str) -> str:
    """The loopback address of a demo's stack."""
    found = re.search(r"http://(127\.\d+\.\d+\.\d+)", text)
    assert found, text
    return found[1]


def _traces_of(workplace: Path, address: str) -> list[str]:
    """Processes that name this workplace or address, and listeners on the address."""
    # What was told to end a moment ago may still be in the table.
    give_up = time.monotonic() + 5
    while (found := [*_processes_naming(str(workplace), address), *_listeners_on(address)]) and (
        time.monotonic() < give_up
    ):
        time.sleep(0.1)
    return found


def _processes_naming(*texts: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            told = (path / "cmdline").read_bytes() + (path / "environ").read_bytes()
        except OSError:
            continue  # it ended meanwhile, or is somebody else's
        if any(text.encode() in told for text in texts) and int(path.name) != os.getpid():
            found.append(f"process {path.name}")
    return found


def _listeners_on(address: str) -> list[str]:
    little_endian = bytes(reversed([int(part) for part in address.split(".")])).hex().upper()
    rows = (row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:])
    listening = "0A"
    return [
        f"port {int(row[1].split(':')[1], 16)}"
        for row in rows
        if row[1].startswith(little_endian) and row[3] == listening
    ]
