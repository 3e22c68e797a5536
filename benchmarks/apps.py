"""firstpull on a local Azure, in hosts as on Azure, and a client that signs webhooks."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import aiohttp
from standardwebhooks import Webhook

from benchmarks.profile import Profile
from benchmarks.trust import Trust
from local_azure.commands.function_app import ScalableApp, run_function_app
from local_azure.container_registry.models import AT_ONCE
from local_azure.iot_hub.identities import DeviceSettings
from local_azure.iot_hub.models import DesiredPropertiesChanged, HubEvent
from local_azure.kernel.calls import Call
from local_azure.stack import ConnectedRegistryOptions, Stack, StackOptions, start_stack
from local_azure.stack.options import OPERATOR_PRINCIPAL_ID

SEED = 20261129


@dataclass(frozen=True, kw_only=True)
class Bench:
    """firstpull under measurement: its Azure, its hosts, and a session that calls them."""

    stack: Stack
    app: ScalableApp
    profile: Profile
    session: aiohttp.ClientSession
    ca_file: str
    webhook_key: str = field(repr=False)
    deliveries: dict[str, float] = field(default_factory=dict)
    """The monotonic time of each device's first delivery."""
    _delivered: asyncio.Event = field(default_factory=asyncio.Event, repr=False)

    def register(self, devices: Iterable[str]) -> None:
        """Make identities for devices in the hub."""
        for device in devices:
            self.stack.hub.create_device(DeviceSettings(device))

    async def ask(self, device: str, **request: object) -> float:
        """Send a signed webhook for a device; the monotonic time at which it was accepted."""
        body = json.dumps({"deviceId": device, "repositories": ["hello-world"], **request})
        message, now = f"msg_{uuid.uuid4().hex}", self.stack.kernel.clock.now()
        headers = {
            "webhook-id": message,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Webhook(self.webhook_key).sign(message, now, body),
        }
        url = f"{self.app.urls[sum(device.encode()) % len(self.app.urls)]}/api/webhooks/devices"
        async with self.session.post(url, data=body, headers=headers) as answer:
            if answer.status not in (200, 201, 202):
                raise RequestRefused(f"{answer.status} {await answer.text()}")
            return time.monotonic()

    async def view(self, device: str) -> dict[str, Any]:
        """A device, as the API shows it."""
        url = f"{self.app.url}/api/devices/{device}"
        async with self.session.get(url, headers={"x-functions-key": self.app.key}) as answer:
            found: dict[str, Any] = await answer.json()
            return found

    def delivery(self, device: str, plant: str) -> str | None:
        """The id of what a twin delivers for a connected registry."""
        desired: Any = self.stack.hub.twin(device).desired.values
        entry = desired.get("firstpull", {}).get("registryCredentials", {}).get(plant)
        return None if entry is None else str(entry["deliveryId"])

    def log_in(self, device: str, plant: str) -> None:
        """Report a login with what the twin holds, as the device's agent does."""
        report: Any = {
            "deliveryId": self.delivery(device, plant),
            "state": "LoggedIn",
            "reason": None,
            "at": f"{self.stack.kernel.clock.now():%Y-%m-%dT%H:%M:%SZ}",
        }
        self.stack.hub.report(device, {"firstpull": {"registryCredentials": {plant: report}}})

    def is_delivered(self, device: str) -> bool:
        """Whether the twin has got the device's credentials."""
        return device in self.deliveries

    async def delivered(self, devices: Iterable[str], *, at_most: float) -> dict[str, float]:
        """Wait for deliveries; the monotonic time of each. `at_most`: seconds from now."""
        wanted = set(devices)
        with suppress(TimeoutError):
            async with asyncio.timeout(at_most):
                while not wanted <= self.deliveries.keys():
                    self._delivered.clear()
                    await self._delivered.wait()
        return {device: self.deliveries[device] for device in wanted & self.deliveries.keys()}

    def note(self, event: HubEvent) -> None:
        """Note the time of a device's first delivery."""
        if isinstance(event, DesiredPropertiesChanged) and "firstpull" in event.patch:
            self.deliveries.setdefault(event.device_id, time.monotonic())
            self._delivered.set()

    async def settled(self, *, quiet_seconds: float = 1.5, at_most: float = 30.0) -> None:
        """Wait until firstpull has made no change of Azure for a while."""
        give_up, writes, since = time.monotonic() + at_most, -1, time.monotonic()
        while time.monotonic() < min(give_up, since + quiet_seconds):
            now = sum(call.method not in ("GET", "MQTT") for call in self.calls())
            if now != writes:
                writes, since = now, time.monotonic()
            await asyncio.sleep(0.1)

    def calls(self) -> list[Call]:
        """The latest calls to Azure."""
        return self.stack.kernel.calls.latest()

    def operation_seconds(self, device: str) -> float:
        """How long the operation took that made a device's token."""
        registry = self.stack.cloud.registries()[0]
        token = next(t for t in registry.tokens() if t.name.startswith(f"fp-{device}-"))
        return (token.provisioning.until - token.provisioning.since).total_seconds()


class RequestRefused(Exception):
    """firstpull refused a request of the benchmark."""


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What a benchmark wants of its Azure and its hosts.

    `settings`: more of the app's. With `on_change`, a host that is killed is started again.
    `prepare` fills the Azure before the hosts start.
    """

    profile: Profile = field(default_factory=Profile)
    hosts: int = 1
    throttled: bool = True
    settings: Mapping[str, str] = field(default_factory=dict)
    on_change: Callable[[str], None] | None = None
    prepare: Callable[[Stack], Awaitable[None]] | None = None


@asynccontextmanager
async def running_bench(
    trust: Trust,
    connected_registries: Iterable[ConnectedRegistryOptions],
    setup: Setup | None = None,
) -> AsyncIterator[Bench]:
    """An Azure, and hosts, which work at what they are asked for alone."""
    setup = setup or Setup()
    address, authority, ca_file = trust
    key = f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"
    options = StackOptions(
        seed=SEED,
        connected_registries=tuple(connected_registries),
        event_subscriptions=(),
        operation_lengths=AT_ONCE,
        throttled=setup.throttled,
    )
    settings = {
        "AzureWebJobs__sweep__Disabled": "true",
        "FIRSTPULL_WEBHOOK_KEYS": key,
        **setup.settings,
    }
    async with (
        start_stack(options, address=address, certificates=authority) as stack,
        _prepared(stack, setup.prepare),
        run_function_app(
            stack,
            ca_file=ca_file,
            on_line=lambda _: None,
            hosts=setup.hosts,
            on_change=setup.on_change,
            more_settings=settings,
        ) as app,
        aiohttp.ClientSession() as session,
    ):
        setup.profile.apply_to(stack)
        bench = Bench(
            stack=stack,
            app=app,
            profile=setup.profile,
            session=session,
            ca_file=ca_file,
            webhook_key=key,
        )
        stack.hub.subscribe(bench.note)
        yield bench


@asynccontextmanager
async def _prepared(
    stack: Stack, prepare: Callable[[Stack], Awaitable[None]] | None
) -> AsyncIterator[None]:
    if prepare is not None:
        await prepare(stack)
    yield


def operator_token(stack: Stack) -> str:
    """A bearer token for ARM of the operator, who may do everything."""
    return stack.kernel.tokens.issue(
        issuer="https://sts.windows.net/local/",
        audience="https://management.azure.com",
        lifetime=timedelta(days=3650),
        claims={"oid": OPERATOR_PRINCIPAL_ID},
    )
