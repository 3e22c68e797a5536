"""`make demo`: a webhook onboards a new device, which then pulls its first image."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import secrets
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar

import aiohttp

from local_azure.azurite import AzuriteNotInstalled, AzuriteNotStarted
from local_azure.commands.demo_device import Device, in_a_cluster
from local_azure.commands.demo_steps import Show, brief, folded
from local_azure.commands.function_app import AppNotStarted, FunctionApp, run_function_app
from local_azure.commands.workplace import Workplace
from local_azure.edge_agent.agent import EdgeAgent, edge_agent
from local_azure.edge_agent.images import PullFailed
from local_azure.edge_agent.rules import deployment
from local_azure.iot_hub.identities import DeviceSettings
from local_azure.iot_hub.models import EDGE_AGENT
from local_azure.iot_hub.twins import TwinPatch
from local_azure.kernel.addresses import NoAddressFree
from local_azure.kubernetes.cluster import Cluster, serve_cluster
from local_azure.kubernetes.nodes import pull_for_a_pod
from local_azure.stack import ConnectedRegistryOptions, Stack, StackOptions, start_stack

CONNECTED_REGISTRY = "plantone"
GRANTED, OTHER = "hello-world", "sensor-gateway"
_NOT_STARTED = (AppNotStarted, AzuriteNotInstalled, AzuriteNotStarted, NoAddressFree)
_STEP_SECONDS = 40.0
_LOOK_SECONDS = 0.1
_NAMESPACES = ("press", "weld")
_EVENT = re.compile(r"INFO firstpull: (device\.[a-z_.]+) (\{.*\})$")
_SAID = {
    "device.intent.recorded": "the intent is in the device's record",
    "device.scope_map.written": "scope map {scope_map}: what may be pulled",
    "device.token.created": "token {token}: who may pull",
    "device.password.generated": "a password in slot {slot}",
    "device.credential.stored": "the password is in Key Vault, as {secret}",
    "device.membership.joined": "the token is a client of {connected_registry}",
    "device.credential.delivered": "address, username and password are in the device twin",
    "device.reconcile.ready": "the device is ready: it has reported its login",
}


class DemoFailed(Exception):
    """A step failed."""


def main() -> int:
    """0 only if every step succeeded."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--engine",
        choices=("auto", "docker", "podman", "skopeo", "oci"),
        default="auto",
        help="the container engine of the device; auto takes the first one that works",
    )
    parser.add_argument(
        "--delivery",
        choices=tuple(_DEMOS),
        default="twin",
        help="how the credential reaches the device",
    )
    parser.add_argument(
        "--picture", type=Path, metavar="FILE", help="write what is shown to this SVG, too"
    )
    Workplace.add_option(parser)
    arguments = parser.parse_args()
    show = Show(picture=arguments.picture)
    try:
        demo = _demo(show, arguments.workplace, engine=arguments.engine, kind=arguments.delivery)
        asyncio.run(demo)
    except (DemoFailed, *_NOT_STARTED) as error:
        show.failed(str(error))
        return 1
    show.save_picture("make demo")
    return 0


async def _demo(show: Show, workplace: Workplace, *, engine: str, kind: str) -> None:
    log = Log(workplace.start_log("demo"))
    options = StackOptions(
        seed=secrets.randbelow(2**31),
        connected_registries=(ConnectedRegistryOptions(name=CONNECTED_REGISTRY),),
    )
    show.heading("A local Azure, and firstpull on it")
    started = time.monotonic()
    async with start_stack(options) as stack:
        show.done(
            f"container registry, connected registry {CONNECTED_REGISTRY}, Key Vault, IoT Hub and "
            "storage",
            seconds=time.monotonic() - started,
        )
        with workplace.ca("demo-ca", stack.ca_pem) as ca_file:
            await _demo_on(stack, show, log, ca_file=ca_file, engine=engine, kind=kind)


async def _demo_on(
    stack: Stack, show: Show, log: Log, *, ca_file: Path, engine: str, kind: str
) -> None:
    started = time.monotonic()
    async with run_function_app(stack, ca_file=str(ca_file), on_line=log.add) as app:
        show.done(
            "the function app, in Microsoft's Python worker", seconds=time.monotonic() - started
        )
        show.note(f"  Watch: {app.page}, which the key {app.page_key} opens.")
        with tempfile.TemporaryDirectory(prefix="firstpull-demo-") as folder:
            device = Device(
                device_id=f"gateway-{secrets.token_hex(3)}",
                folder=Path(folder),
                engine=engine,
                hub_ca=ca_file,
            )
            await _DEMOS[kind](show, stack, app, log, device).run()


class Log:
    """The function app's output: a file, and a queue of its log events."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.events: asyncio.Queue[tuple[str, dict[str, str]]] = asyncio.Queue()

    @property
    def shown(self) -> str:
        """The file's name, short where the command was started above it."""
        return (
            os.path.relpath(self.file) if self.file.is_relative_to(Path.cwd()) else str(self.file)
        )

    def add(self, line: str) -> None:
        """One line of output."""
        with self.file.open("a") as file:
            file.write(line + "\n")
        if found := _EVENT.search(line):
            self.events.put_nowait((found[1], json.loads(found[2])))


class Demo:
    """The steps of one device from its registration to its first pull."""

    said: ClassVar[Mapping[str, str]] = {}
    """Other words for some of the app's events."""

    def __init__(
        self,
        show: Show,
        stack: Stack,
        app: FunctionApp,
        log: Log,
        device: Device,
    ) -> None:
        self._show = show
        self._stack = stack
        self._app = app
        self._log = log
        self._device = device
        self._device_id = device.device_id
        self._agent_lines: asyncio.Queue[str] = asyncio.Queue()

    async def run(self) -> None:
        """Run all steps. Raises DemoFailed."""
        self._show.heading("A new device waits")
        connection_string = self._register()
        async with self._device.agent(connection_string, on_line=self._add_agent_line) as agent:
            with self._show.step("the device's agent connects to its hub") as say:
                await self._wait_for_agent_line(agent, "the twin holds 0 deliveries")
                say("the agent is connected, and the twin holds nothing yet")
            self._show.heading("The webhook onboards it")
            begun = time.monotonic()
            await self._post()
            await self._follow_events(begun, until="device.credential.delivered")
            self._show.heading("The device pulls")
            with self._show.step(f"the agent logs in, once {CONNECTED_REGISTRY} has synced") as say:
                await self._wait_for_agent_line(agent, "logged in with delivery")
                say(f"the agent has logged in, after the next sync of {CONNECTED_REGISTRY}")
            digest = await self._pull()
            seconds = time.monotonic() - begun
            await self._refusals()
            await self._follow_events(begun, until="device.reconcile.ready")
        self._show.note(f"\nThe app's log is in {self._log.shown}.")
        self._show.last(f"First pull: {brief(digest)} by {self._device_id} in {seconds:.1f} s")

    def _register(self, *, edge: bool = False) -> str:
        """Register the device as an operator does, and return its connection string."""
        begun = time.monotonic()
        device = self._stack.hub.create_device(DeviceSettings(self._device_id, iot_edge=edge))
        self._show.done(
            f"{self._device_id} is registered in IoT Hub", seconds=time.monotonic() - begun
        )
        return (
            f"HostName={self._stack.address};DeviceId={self._device_id};"
            f"SharedAccessKey={device.settings.authentication.primary_key}"
        )

    async def _post(self, **more: str) -> None:
        body = {
            "deviceId": self._device_id,
            "connectedRegistry": CONNECTED_REGISTRY,
            "repositories": [GRANTED],
            **more,
        }
        self._show.note(
            f"  curl -X POST {self._app.url}/api/devices \\\n"
            "    -H 'Content-Type: application/json' -H \"x-functions-key: $FIRSTPULL_KEY\" \\\n"
            f"    -d '{_in_lines(body)}'"
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

    async def _follow_events(self, begun: float, *, until: str) -> None:
        """Show the app's log events up to this one. Times are since the webhook."""
        deadline = begun + _STEP_SECONDS
        while True:
            try:
                async with asyncio.timeout(max(deadline - time.monotonic(), 0)):
                    event, fields = await self._log.events.get()
            except TimeoutError:
                raise DemoFailed(
                    f"no {until} within {_STEP_SECONDS:.0f} s of the webhook; see {self._log.file}"
                ) from None
            if event in _SAID:
                said = self.said.get(event, _SAID[event])
                self._show.done(said.format(**fields), seconds=time.monotonic() - begun)
            if event == until:
                return

    async def _pull(self) -> str:
        with self._show.step(f"pulling {GRANTED}") as say:
            ran = await self._device.pull(GRANTED, registry=CONNECTED_REGISTRY)
            if ran.code != 0:
                raise DemoFailed(f"the pull of {GRANTED} failed: {ran.errors}")
            say(f"{brief(ran.output)} with {ran.engine}")
        return ran.output

    async def _refusals(self) -> None:
        with self._show.step(f"pulling {OTHER}, which was not granted") as say:
            ran = await self._device.pull(OTHER, registry=CONNECTED_REGISTRY)
            if ran.code == 0:
                raise DemoFailed(f"{OTHER} was pulled, and should have been refused")
            say(f"{OTHER}, which was not granted, is refused:{folded(ran.reason)}")
        await self._refusal_of_a_wrong_password()

    async def _refusal_of_a_wrong_password(self) -> None:
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

    def _add_agent_line(self, line: str) -> None:
        with self._log.file.open("a") as file:
            file.write(f"agent: {line}\n")
        self._agent_lines.put_nowait(line)

    async def _wait_for_agent_line(self, agent: asyncio.subprocess.Process, pattern: str) -> None:
        found = asyncio.create_task(self._find_agent_line(pattern))
        ended = asyncio.create_task(agent.wait())
        done, _ = await asyncio.wait(
            (found, ended), timeout=_STEP_SECONDS, return_when=asyncio.FIRST_COMPLETED
        )
        for task in (found, ended):
            task.cancel()
        if found not in done:
            what = "ended" if ended in done else f"did not log {pattern!r}"
            raise DemoFailed(f"the device's agent {what}; see {self._log.file}")

    async def _find_agent_line(self, pattern: str) -> None:
        while not re.search(pattern, await self._agent_lines.get(), re.IGNORECASE):
            pass


class EdgeDemo(Demo):
    """The same with an IoT Edge device, whose runtime pulls its modules' images itself."""

    said: ClassVar[Mapping[str, str]] = {
        "device.credential.delivered": "address, username and password are in $edgeAgent's twin",
        "device.reconcile.ready": "the device is ready: edgeAgent has taken them, and the site "
        "has synced once more",
    }

    async def run(self) -> None:
        """Run all steps. Raises DemoFailed."""
        self._show.heading("A new IoT Edge device waits")
        self._register(edge=True)
        self._deploy({})
        registry = self._stack.sites.all()[0].endpoint
        async with edge_agent(
            self._stack.hub,
            self._device_id,
            address=self._stack.address,
            ca_pem=self._stack.ca_pem,
            tls=self._stack.kernel.certificates.client_context(),
        ) as agent:
            with self._show.step("edgeAgent reads its deployment") as say:
                await self._until(lambda: self._reported("lastDesiredStatus"), "no report")
                say("edgeAgent runs, with a deployment that has no registry credentials")
            self._show.heading("The webhook onboards it")
            begun = time.monotonic()
            await self._post(delivery="edgeAgent")
            await self._follow_events(begun, until="device.credential.delivered")
            self._show.heading("A deployment brings its first module")
            image = f"{registry}/{GRANTED}:latest"
            self._deploy({GRANTED: image})
            with self._show.step(f"edgeAgent pulls {image}") as say:
                await self._until(lambda: image in agent.pulled, f"{agent.refused}")
                digest = f"{GRANTED}@{agent.pulled[image]}"
                say(f"{brief(digest)} by edgeAgent, from {registry}")
            seconds = time.monotonic() - begun
            with self._show.step(f"pulling {OTHER}, which was not granted") as say:
                say(f"{OTHER}, which was not granted, is refused: {await self._refused(agent)}")
            await self._refusal_of_a_wrong_password()
            await self._follow_events(begun, until="device.reconcile.ready")
        self._show.note(f"\nThe app's log is in {self._log.shown}.")
        self._show.last(f"First pull: {brief(digest)} by {self._device_id} in {seconds:.1f} s")

    def _deploy(self, images: dict[str, str]) -> None:
        """Set the device's modules, as an operator does."""
        patch = TwinPatch(desired=deployment(images))
        self._stack.hub.patch_twin(self._device_id, patch, etag=None, module_id=EDGE_AGENT)

    def _reported(self, name: str) -> object:
        twin = self._stack.hub.module_twin(self._device_id, EDGE_AGENT)
        return twin.reported.values.get(name)

    async def _refused(self, agent: EdgeAgent) -> str:
        registry = self._stack.sites.all()[0].endpoint
        try:
            await agent.pull(f"{registry}/{OTHER}:latest")
        except PullFailed as error:
            return str(error)
        raise DemoFailed(f"{OTHER} was pulled, and should have been refused")

    async def _until(self, holds: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + _STEP_SECONDS
        while not holds():
            if time.monotonic() > deadline:
                raise DemoFailed(f"edgeAgent: {what}; see {self._log.file}")
            await asyncio.sleep(_LOOK_SECONDS)


class ClusterDemo(Demo):
    """The same with a cluster, whose pods pull with the secrets that the agent keeps there."""

    said: ClassVar[Mapping[str, str]] = {
        "device.reconcile.ready": "the device is ready: every pull secret has the login",
    }

    async def run(self) -> None:
        """Run all steps. Raises DemoFailed."""
        self._show.heading("A new cluster waits")
        connection_string = self._register()
        stack = self._stack
        async with serve_cluster(stack.kernel.certificates, address=stack.address) as served:
            for namespace in _NAMESPACES:
                await served.api.add_namespace(namespace)
            kubeconfig = served.kubeconfig(self._device.folder / "kubeconfig")
            options = in_a_cluster(kubeconfig, _NAMESPACES)
            async with self._device.agent(
                connection_string, on_line=self._add_agent_line, options=options
            ) as agent:
                with self._show.step("the cluster's agent connects to its hub") as say:
                    await self._wait_for_agent_line(agent, "the twin holds 0 deliveries")
                    say(f"the agent is connected, for the namespaces {' and '.join(_NAMESPACES)}")
                self._show.heading("The webhook onboards it")
                begun = time.monotonic()
                await self._post(delivery="kubernetes")
                await self._follow_events(begun, until="device.credential.delivered")
                self._show.heading("A pod pulls")
                with self._show.step("the agent makes the pull secrets") as say:
                    await self._wait_for_agent_line(agent, "logged in with delivery")
                    names = f"Secret firstpull-{CONNECTED_REGISTRY}"
                    say(f"{names} is in both namespaces, and their service accounts name it")
                digest = await self._pull_for_pods(served.api)
                seconds = time.monotonic() - begun
                await self._refusal_of_a_wrong_password()
                await self._follow_events(begun, until="device.reconcile.ready")
        self._show.note(f"\nThe app's log is in {self._log.shown}.")
        self._show.last(f"First pull: {brief(digest)} by {self._device_id} in {seconds:.1f} s")

    async def _pull_for_pods(self, cluster: Cluster) -> str:
        registry = self._stack.sites.all()[0].endpoint
        tls, digest = self._stack.kernel.certificates.client_context(), ""
        for namespace in _NAMESPACES:
            with self._show.step(f"kubelet pulls for a pod in {namespace}") as say:
                image = f"{registry}/{GRANTED}:latest"
                try:
                    found = await pull_for_a_pod(cluster, image, namespace=namespace, tls=tls)
                except PullFailed as error:
                    raise DemoFailed(f"a pod's pull failed: {error}") from None
                digest = f"{GRANTED}@{found}"
                say(f"{brief(digest)} for a pod in {namespace}")
        with self._show.step(f"pulling {OTHER}, which was not granted") as say:
            image = f"{registry}/{OTHER}:latest"
            try:
                await pull_for_a_pod(cluster, image, namespace=_NAMESPACES[0], tls=tls)
            except PullFailed as error:
                say(f"{OTHER}, which was not granted, is refused: {error}")
            else:
                raise DemoFailed(f"{OTHER} was pulled, and should have been refused")
        return digest


def _in_lines(body: Mapping[str, object]) -> str:
    """A request's JSON, with a line for each field but the first two."""
    first, second, *rest = (f"{json.dumps(k)}: {json.dumps(v)}" for k, v in body.items())
    return "{" + ",\n         ".join([f"{first}, {second}", *rest]) + "}"


_DEMOS: Mapping[str, type[Demo]] = {
    "twin": Demo,
    "kubernetes": ClusterDemo,
    "edgeAgent": EdgeDemo,
}


if __name__ == "__main__":
    sys.exit(main())
