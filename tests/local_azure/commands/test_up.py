"""`make up` as a person uses it: a process, its screen and its management port."""

from __future__ import annotations

import asyncio
import json
import shlex
import signal
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from local_azure.commands.demo_device import Device
from local_azure.commands.up import connected_registries, main

DAY = 24 * 3600
PATIENCE_SECONDS = 60
LAST_LINE = "Ctrl-C stops everything."
POLICY = {
    "hubs": ["contoso.azure-devices.net"],
    "containerRegistries": [
        "/subscriptions/0/resourceGroups/g/providers/Microsoft.ContainerRegistry/registries/contoso"
    ],
    "connectedRegistries": [
        {"name": "northern", "containerRegistry": "contoso", "capacity": 7},
        {
            "name": "southern",
            "endpoint": "10.0.1.4:8080",
            "repositories": ["team/*", "hello-world"],
        },
    ],
    "sites": [{"name": "all", "connectedRegistries": ["northern", "southern"]}],
}


@dataclass
class Up:
    """A running `make up`."""

    process: asyncio.subprocess.Process
    workplace: Path
    session: aiohttp.ClientSession
    screen: list[str] = field(default_factory=list)

    @property
    def variables(self) -> dict[str, str]:
        """What a shell gets."""
        words = shlex.split((self.workplace / "azure.env").read_text())
        return dict(word.split("=", 1) for word in words if word != "export")

    async def read_until_it(self, says: str) -> None:
        """Read the screen up to a line."""
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE_SECONDS):
            async for line in self.process.stdout:
                self.screen.append(line.decode().rstrip())
                if says in self.screen[-1]:
                    return
        raise AssertionError(self.screen)

    async def port(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """A request to the management port."""
        url = f"{self.variables['LOCAL_AZURE_MANAGEMENT_URL']}{path}"
        async with self.session.request(method, url, json=body) as answer:
            return answer.status, json.loads(await answer.text() or "null")

    async def app(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 - JSON
        """A request to the app."""
        url = f"{self.variables['FIRSTPULL_URL']}/api/{path}"
        headers = {"x-functions-key": self.variables["FIRSTPULL_KEY"], "Prefer": "wait=20"}
        async with self.session.request(method, url, json=body, headers=headers) as answer:
            return await answer.json()

    async def register(self, device_id: str) -> str:
        """Register a device, as the printed session does; its connection string."""
        found = self.variables
        async with self.session.get(
            found["IDENTITY_ENDPOINT"],
            params={"api-version": "2019-08-01", "resource": "https://iothubs.azure.net"},
            headers={"X-IDENTITY-HEADER": found["IDENTITY_HEADER"]},
        ) as answer:
            token = (await answer.json())["access_token"]
        async with self.session.put(
            f"https://{found['IOT_HUB_HOSTNAME']}/devices/{device_id}?api-version=2021-04-12",
            json={"deviceId": device_id},
            headers={"Authorization": f"Bearer {token}"},
            ssl=ssl.create_default_context(cafile=found["CA_BUNDLE"]),
        ) as answer:
            key = (await answer.json())["authentication"]["symmetricKey"]["primaryKey"]
        host = found["IOT_HUB_HOSTNAME"].partition(":")[0]
        return f"HostName={host};DeviceId={device_id};SharedAccessKey={key}"

    async def delivery_after(self, delivery: str, device_id: str) -> str:
        """The delivery that a device has logged in with, once it is another one."""

        async def another() -> str | None:
            device = await self.app("GET", f"devices/{device_id}")
            is_new = device["state"] == "Ready" and device["delivery"]["id"] != delivery
            return str(device["delivery"]["id"]) if is_new else None

        return await until(another)


async def until[T](holds: Callable[[], Awaitable[T | None]]) -> T:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not (found := await holds()):  # noqa: ASYNC110 - another process changes it
            await asyncio.sleep(0.1)
    return found


@pytest.fixture(scope="module")
async def up(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Up]:
    """Started, and ended by Ctrl-C, which leaves no file with keys."""
    folder = tmp_path_factory.mktemp("up")
    policy, workplace = folder / "policy.json", folder / "here"
    policy.write_text(json.dumps(POLICY))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "local_azure.commands.up", "--workplace", str(workplace)),
        *("--policy", str(policy)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with aiohttp.ClientSession() as session:
        try:
            started = Up(process, workplace, session)
            await started.read_until_it(LAST_LINE)
            yield started
            process.send_signal(signal.SIGINT)
            await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
    assert process.returncode == 0
    assert [file.name for file in workplace.iterdir()] == ["up.log"]


async def test_a_policy_is_tried_on_the_local_addresses(up: Up) -> None:
    _, deployed = await up.port("GET", "/connectedRegistries")
    found = {one["name"]: one for one in deployed["connectedRegistries"]}
    assert list(found) == ["northern", "southern"]
    (site,) = (await up.app("GET", "sites"))["sites"]
    assert site["name"] == "all"
    rooms = {one["connectedRegistry"]: one["capacity"] for one in site["connectedRegistries"]}
    assert rooms == {"northern": 7, "southern": 50}


async def test_the_printed_session_is_a_script_that_ends_with_the_first_pull(up: Up) -> None:
    (line,) = (line for line in up.screen if line.endswith("/try"))
    process = await asyncio.create_subprocess_exec(
        line.strip(), "tried", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said = (await process.communicate())[0].decode()
    assert process.returncode == 0, said
    assert "tried is enabled" in said
    assert "Delivered: " in said
    assert "hello-world@sha256:" in said.partition("# the first pull")[2]
    assert "password'" not in said


@pytest.mark.slow
async def test_a_changed_policy_counts_within_a_minute(up: Up) -> None:
    path = up.workplace / "policy.json"
    before = json.loads(path.read_text())
    path.write_text(json.dumps({**before, "sites": []}))

    async def has_no_site() -> bool | None:
        return True if (await up.app("GET", "sites"))["sites"] == [] else None

    async def has_a_site() -> bool | None:
        return True if (await up.app("GET", "sites"))["sites"] else None

    await until(has_no_site)
    path.write_text(json.dumps(before))
    await until(has_a_site)


@pytest.mark.slow
async def test_a_moved_clock_moves_the_services_and_firstpull_and_passwords_are_renewed(
    up: Up, tmp_path: Path
) -> None:
    connection_string = await up.register("gateway-1")
    hub_ca = Path(up.variables["CA_BUNDLE"])
    device = Device(device_id="gateway-1", folder=tmp_path, engine="oci", hub_ca=hub_ca)
    asked = {"deviceId": "gateway-1", "site": "all", "repositories": ["hello-world"]}

    async def a_password_is_made() -> bool:
        _, calls = await up.port("GET", "/calls")
        return "arm.registries.generateCredentials" in calls["counts"]

    async with device.agent(connection_string, on_line=up.screen.append):
        await up.app("POST", "devices", asked)
        delivery = await up.delivery_after("", "gateway-1")
        for days in (60, 100):  # within the password's 90 days, and beyond them
            await up.port("DELETE", "/calls")
            await up.port("POST", "/clock", {"advanceSeconds": days * DAY})
            await until(a_password_is_made)
            # The connected registry syncs with the new password, and a margin passes.
            await up.port("POST", "/clock", {"advanceSeconds": 300})
            delivery = await up.delivery_after(delivery, "gateway-1")
    status, answer = await up.port("POST", "/clock", {"advanceSeconds": -1})
    assert (status, answer["errors"][0]["field"]) == (400, "advanceSeconds")


@pytest.mark.parametrize(
    "service",
    [
        *("ARM_ENDPOINT", "KEY_VAULT_URL", "IOT_HUB_HOSTNAME", "CONNECTED_REGISTRY_ENDPOINT"),
        *("IDENTITY_ENDPOINT", "LOCAL_AZURE_MANAGEMENT_URL", "FIRSTPULL_URL", "BlobEndpoint"),
        *("QueueEndpoint", "TableEndpoint"),
    ],
)
async def test_every_service_dates_its_answers_by_the_moved_clock(up: Up, service: str) -> None:
    await up.port("POST", "/clock", {"advanceSeconds": DAY})
    found = up.variables
    storage = found["AZURE_STORAGE_CONNECTION_STRING"].rstrip(";").split(";")
    url = (found | dict(part.split("=", 1) for part in storage))[service]
    async with up.session.get(
        url if "://" in url else f"https://{url}",
        ssl=ssl.create_default_context(cafile=found["CA_BUNDLE"]),
    ) as answer:
        date = parsedate_to_datetime(answer.headers["Date"])
    _, clock = await up.port("GET", "/clock")
    assert abs(datetime.fromisoformat(clock["now"]) - date) < timedelta(minutes=5)


async def test_a_host_that_dies_is_started_again_and_both_are_told(up: Up) -> None:
    before = (await up.port("GET", "/health"))[1]
    assert before["status"] == "ok"
    status, killed = await up.port("POST", "/functionsHosts/1/kill")
    assert (status, killed["number"]) == (202, 1)

    async def again() -> dict[str, Any] | None:
        _, health = await up.port("GET", "/health")
        host: dict[str, Any] = health["functionsHosts"][0]
        return health if host["restarts"] and host["serves"] else None

    after = await until(again)
    (host,) = after["functionsHosts"]
    assert (after["status"], host["lastExit"]) == ("ok", "SIGKILL")
    assert host["url"] == up.variables["FIRSTPULL_URL"]
    assert (await up.app("GET", "devices"))["devices"] is not None
    await up.read_until_it("functions host 1 serves again")
    assert (await up.port("POST", "/functionsHosts/9/kill"))[0] == 404


async def test_there_can_be_more_hosts(up: Up) -> None:
    _, answer = await up.port("PUT", "/functionsHosts", {"count": 2})
    first, second = answer["functionsHosts"]
    assert first["processId"] != second["processId"]
    async with up.session.get(f"{second['url']}/api/healthz") as healthz:
        assert healthz.status == 200
    _, answer = await up.port("PUT", "/functionsHosts", {"count": 1})
    assert [host["number"] for host in answer["functionsHosts"]] == [1]
    assert (await up.port("PUT", "/functionsHosts", {"count": 0}))[0] == 400


async def test_what_a_host_serves_is_in_the_log_and_not_on_the_screen(up: Up) -> None:
    await up.port("POST", "/functionsHosts/1/kill")
    await up.read_until_it("serves again")

    async def is_logged() -> bool:
        return '"openapi"' in (up.workplace / "up.log").read_text()

    await until(is_logged)
    assert not [line for line in up.screen if '"openapi"' in line]


def test_the_second_connected_registry_is_a_small_one() -> None:
    assert {one.name: one.max_clients for one in connected_registries(3)} == {
        "plantone": 50,
        "planttwo": 2,
        "plant3": 50,
    }


@pytest.mark.parametrize(
    "options",
    [
        ("--connected-registries", "0"),
        ("--connected-registries", "many"),
        ("--policy", "no-such-file.json"),
        ("--policy", "pyproject.toml"),
        ("--policy", "host.json"),
    ],
)
def test_options_that_cannot_be_are_refused_at_once(
    monkeypatch: pytest.MonkeyPatch, options: tuple[str, str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["up", *options])
    with pytest.raises(SystemExit, match="2"):
        main()
