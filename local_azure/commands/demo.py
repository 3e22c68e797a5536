"""`make demo`: a device appears, a webhook names it, and it pulls its first image."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import aiohttp

from local_azure.azurite import AzuriteNotInstalled, AzuriteNotStarted
from local_azure.commands import workplace
from local_azure.commands.demo_steps import Show
from local_azure.commands.function_app import AppNotStarted, FunctionApp, run_function_app
from local_azure.commands.processes import running
from local_azure.stack import ConnectedRegistryOptions, Stack, StackOptions, start_stack

CONNECTED_REGISTRY = "plantone"
GRANTED, OTHER = "hello-world", "sensor-gateway"
_STEP_SECONDS = 40.0
_EVENT = re.compile(r"INFO firstpull: (device\.[a-z_.]+) (\{.*\})$")
_SAID = {
    "device.intent.recorded": "the intent is in the device's record",
    "device.scope_map.written": "scope map {scope_map}: what may be pulled",
    "device.token.created": "token {token}: who may pull",
    "device.password.generated": "a password in slot {slot}",
    "device.credential.stored": "the password is in Key Vault, as {secret}",
    "device.membership.joined": "the token is a client of {place}",
    "device.credential.delivered": "address, username and password are in the device twin",
    "device.convergence.ready": "the device has reported: logged in",
}


class DemoFailed(Exception):
    """Something did not happen as it should have."""


def main() -> int:
    """0 only if all of it happened."""
    show = Show()
    try:
        asyncio.run(_demo(show))
    except (DemoFailed, AppNotStarted, AzuriteNotInstalled, AzuriteNotStarted) as error:
        show.failed(str(error))
        return 1
    return 0


async def _demo(show: Show) -> None:
    log = Log()
    options = StackOptions(
        seed=secrets.randbelow(2**31),
        connected_registries=(ConnectedRegistryOptions(name=CONNECTED_REGISTRY),),
    )
    show.heading("A local Azure, and firstpull on it")
    started = time.monotonic()
    async with start_stack(options) as stack:
        show.done(
            f"container registry, connected registry {CONNECTED_REGISTRY}, Key Vault, IoT Hub and "
            f"storage on {stack.address}",
            seconds=time.monotonic() - started,
        )
        ca_file = workplace.write_ca("demo-ca", stack.ca_pem)
        started = time.monotonic()
        async with run_function_app(stack, ca_file=str(ca_file), on_line=log.add) as app:
            show.done(
                "the function app, in Microsoft's Python worker", seconds=time.monotonic() - started
            )
            with tempfile.TemporaryDirectory(prefix="firstpull-demo-") as folder:
                await Demo(show, stack, app, log, Path(folder), ca_file).run()
        ca_file.unlink()


class Log:
    """The function app's output: kept in a file, its events also handed on."""

    def __init__(self) -> None:
        workplace.FOLDER.mkdir(exist_ok=True)
        self.file = workplace.FOLDER / "demo.log"
        self.file.write_text("")
        self.events: asyncio.Queue[tuple[str, dict[str, str]]] = asyncio.Queue()

    def add(self, line: str) -> None:
        """One line of output."""
        with self.file.open("a") as file:
            file.write(line + "\n")
        if found := _EVENT.search(line):
            self.events.put_nowait((found[1], json.loads(found[2])))


class Demo:
    """One device's way from its registration to its first pull."""

    def __init__(
        self,
        show: Show,
        stack: Stack,
        app: FunctionApp,
        log: Log,
        folder: Path,
        ca_file: Path,
    ) -> None:
        self._show = show
        self._stack = stack
        self._app = app
        self._log = log
        self._folder = folder
        self._ca_file = ca_file
        self._device_id = f"gateway-{secrets.token_hex(3)}"
        self._agent_lines: asyncio.Queue[str] = asyncio.Queue()

    async def run(self) -> None:
        """Everything, in order. Raises DemoFailed."""
        self._show.heading("A new device waits")
        connection_string = await self._register()
        file = self._folder / "connection-string"
        file.touch(mode=0o600)
        file.write_text(connection_string)
        async with running(
            *self._agent("run"),
            *("--connection-string-file", str(file), "--hub-ca", str(self._ca_file)),
            environment=self._device_environment(),
            on_line=self._hear_agent,
        ):
            with self._show.step("the device's agent connects to its hub") as say:
                await self._agent_says("the twin holds 0 deliveries")
                say("the agent is connected, and the twin holds nothing yet")
            self._show.heading("The webhook names it")
            begun = time.monotonic()
            await self._post()
            await self._follow_events(begun)
            self._show.heading("The device pulls")
            digest = await self._pull()
            seconds = time.monotonic() - begun
            await self._refusals()
        self._show.last(f"First pull: {digest} by {self._device_id} in {seconds:.1f} s")
        self._show.note(f"The app's log is in {self._log.file}.")

    async def _register(self) -> str:
        """Register the device as an operator does; its connection string."""
        with self._show.step("registering the device in IoT Hub") as say:
            key = base64.b64encode(secrets.token_bytes(32)).decode()
            keys = {"primaryKey": key, "secondaryKey": key}
            body = {
                "deviceId": self._device_id,
                "authentication": {"type": "sas", "symmetricKey": keys},
            }
            token = await self._managed_identity_token("https://iothubs.azure.net")
            url = f"https://{self._stack.iot_hub_host_name}/devices/{self._device_id}"
            async with (
                aiohttp.ClientSession() as session,
                session.put(
                    url,
                    params={"api-version": "2021-04-12"},
                    json=body,
                    headers={"Authorization": f"Bearer {token}"},
                    ssl=self._stack.kernel.certificates.client_context(),
                ) as answer,
            ):
                if answer.status != 200:
                    raise DemoFailed(f"IoT Hub answered {answer.status} to the registration")
            say(f"{self._device_id} is registered in IoT Hub")
        return f"HostName={self._stack.address};DeviceId={self._device_id};SharedAccessKey={key}"

    async def _managed_identity_token(self, resource: str) -> str:
        async with (
            aiohttp.ClientSession() as session,
            session.get(
                self._stack.identity_endpoint,
                params={"api-version": "2019-08-01", "resource": resource},
                headers={"X-IDENTITY-HEADER": self._stack.identity_header},
            ) as answer,
        ):
            return str((await answer.json())["access_token"])

    async def _post(self) -> None:
        body = {
            "deviceId": self._device_id,
            "connectedRegistry": CONNECTED_REGISTRY,
            "repositories": [GRANTED],
        }
        self._show.note(
            f"  curl -X POST {self._app.url}/api/devices \\\n"
            "    -H 'Content-Type: application/json' -H \"x-functions-key: $FIRSTPULL_KEY\" \\\n"
            f"    -d '{json.dumps(body)}'"
        )
        begun = time.monotonic()
        async with (
            aiohttp.ClientSession() as session,
            session.post(
                f"{self._app.url}/api/devices",
                json=body,
                headers={"x-functions-key": self._app.key},
            ) as answer,
        ):
            if answer.status != 202:
                raise DemoFailed(f"the webhook answered {answer.status}: {await answer.text()}")
        self._show.done("202 Accepted", seconds=time.monotonic() - begun)

    async def _follow_events(self, begun: float) -> None:
        """Show what the app does until the device has acknowledged. Times are since the webhook."""
        deadline = begun + _STEP_SECONDS
        while True:
            try:
                async with asyncio.timeout(max(deadline - time.monotonic(), 0)):
                    event, fields = await self._log.events.get()
            except TimeoutError:
                raise DemoFailed(
                    f"the device did not report within {_STEP_SECONDS:.0f} s; see {self._log.file}"
                ) from None
            if event in _SAID:
                self._show.done(_SAID[event].format(**fields), seconds=time.monotonic() - begun)
            if event == "device.convergence.ready":
                return

    async def _pull(self) -> str:
        with self._show.step(f"pulling {GRANTED}") as say:
            code, output, errors = await self._run_agent("pull", GRANTED)
            if code != 0:
                raise DemoFailed(f"the pull of {GRANTED} failed: {errors}")
            say(f"{output} with {self._engine_name()}")
        return output

    async def _refusals(self) -> None:
        with self._show.step(f"pulling {OTHER}, which was not granted") as say:
            code, _, errors = await self._run_agent("pull", OTHER, "--registry", CONNECTED_REGISTRY)
            if code == 0:
                raise DemoFailed(f"{OTHER} was pulled, and should have been refused")
            say(f"{OTHER}, which was not granted, is refused: {_last_line(errors)}")
        with self._show.step("logging in with a wrong password") as say:
            status = await self._log_in_with_a_wrong_password()
            if status != 401:
                raise DemoFailed(f"a wrong password was answered with {status}")
            say("a wrong password is refused: 401")

    async def _log_in_with_a_wrong_password(self) -> int:
        site = self._stack.sites.all()[0]
        token_name, guess = next(iter(site.backend.snapshot.tokens)), secrets.token_urlsafe(24)
        async with (
            aiohttp.ClientSession() as session,
            session.get(
                f"https://{site.endpoint}/acr/oauth2/token",
                params={"service": site.endpoint, "scope": f"repository:{GRANTED}:pull"},
                headers={"Authorization": aiohttp.encode_basic_auth(token_name, guess)},
                ssl=self._stack.kernel.certificates.client_context(),
            ) as answer,
        ):
            return answer.status

    def _agent(self, command: str) -> tuple[str, ...]:
        return (
            *(sys.executable, "-m", "firstpull_agent", command),
            *("--state-dir", str(self._folder / "state")),
            *("--auth-file", str(self._folder / "auth.json")),
            *("--certs-dir", str(self._folder / "certs")),
        )

    def _device_environment(self) -> Mapping[str, str]:
        path = {"PATH": self._app.environment.get("PATH", "")}
        return {**path, "HOME": str(self._folder), "PYTHONUNBUFFERED": "1"}

    async def _run_agent(self, command: str, *arguments: str) -> tuple[int, str, str]:
        process = await asyncio.create_subprocess_exec(
            *self._agent(command),
            *arguments,
            env=dict(self._device_environment()),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await process.communicate()
        return process.returncode or 0, output.decode().strip(), errors.decode().strip()

    def _hear_agent(self, line: str) -> None:
        with self._log.file.open("a") as file:
            file.write(f"agent: {line}\n")
        self._agent_lines.put_nowait(line)

    async def _agent_says(self, pattern: str) -> None:
        try:
            async with asyncio.timeout(_STEP_SECONDS):
                while not re.search(pattern, await self._agent_lines.get(), re.IGNORECASE):
                    pass
        except TimeoutError:
            raise DemoFailed(f"the agent did not connect; see {self._log.file}") from None

    def _engine_name(self) -> str:
        return next(
            (name for name in ("podman", "skopeo") if shutil.which(name)), "its OCI library"
        )


def _last_line(text: str) -> str:
    return text.splitlines()[-1] if text else "no reason given"


if __name__ == "__main__":
    sys.exit(main())
