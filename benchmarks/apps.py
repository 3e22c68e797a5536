"""firstpull on a local Azure, in hosts as on Azure, and a client that signs webhooks."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import aiohttp
from standardwebhooks import Webhook

from benchmarks.profile import Profile
from benchmarks.trust import Trust
from local_azure.commands.function_app import ScalableApp, run_function_app
from local_azure.iot_hub.identities import DeviceSettings
from local_azure.kernel.calls import Call
from local_azure.stack import ConnectedRegistryOptions, Stack, StackOptions, start_stack
from local_azure.stack.options import OPERATOR_PRINCIPAL_ID

SEED = 20261129
_POLL_SECONDS = 0.01


@dataclass(frozen=True, kw_only=True)
class Bench:
    """firstpull under measurement: its Azure, its hosts, and a session that calls them."""

    stack: Stack
    app: ScalableApp
    profile: Profile
    session: aiohttp.ClientSession
    ca_file: str
    webhook_key: str = field(repr=False)

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
        url = f"{self.app.urls[hash(device) % len(self.app.urls)]}/api/webhooks/devices"
        async with self.session.post(url, data=body, headers=headers) as answer:
            if answer.status not in (200, 201, 202):
                raise RequestRefused(f"{answer.status} {await answer.text()}")
            return time.monotonic()

    def is_delivered(self, device: str) -> bool:
        """Whether the twin has the device's credentials."""
        return "firstpull" in self.stack.hub.twin(device).desired.values

    async def delivered(
        self, devices: Iterable[str], *, at_most: float, poll_seconds: float = _POLL_SECONDS
    ) -> dict[str, float]:
        """Wait for deliveries; the monotonic time of each. `at_most`: seconds from now."""
        missing, found, give_up = set(devices), {}, time.monotonic() + at_most
        while missing and time.monotonic() < give_up:
            for device in [each for each in missing if self.is_delivered(each)]:
                found[device] = time.monotonic()
                missing.discard(device)
            await asyncio.sleep(poll_seconds)
        return found

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


@asynccontextmanager
async def running_bench(
    trust: Trust,
    connected_registries: Iterable[ConnectedRegistryOptions],
    *,
    profile: Profile | None = None,
    hosts: int = 1,
    throttled: bool = True,
    more_settings: Mapping[str, str] | None = None,
    on_change: Callable[[str], None] | None = None,
) -> AsyncIterator[Bench]:
    """An Azure with this profile, and hosts, which work at what they are asked for alone.

    With `on_change`, a host that is killed is started again.
    """
    address, authority, ca_file = trust
    profile = profile or Profile()
    key = f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"
    options = StackOptions(
        seed=SEED,
        connected_registries=tuple(connected_registries),
        event_subscriptions=(),
        throttled=throttled,
    )
    settings = {
        "AzureWebJobs__sweep__Disabled": "true",
        "FIRSTPULL_WEBHOOK_KEYS": key,
        **(more_settings or {}),
    }
    async with (
        start_stack(options, address=address, certificates=authority) as stack,
        run_function_app(
            stack,
            ca_file=ca_file,
            on_line=lambda _: None,
            hosts=hosts,
            on_change=on_change,
            more_settings=settings,
        ) as app,
        aiohttp.ClientSession() as session,
    ):
        profile.apply_to(stack)
        yield Bench(
            stack=stack,
            app=app,
            profile=profile,
            session=session,
            ca_file=ca_file,
            webhook_key=key,
        )


def operator_token(stack: Stack) -> str:
    """A bearer token for ARM of the operator, who may do everything."""
    return stack.kernel.tokens.issue(
        issuer="https://sts.windows.net/local/",
        audience="https://management.azure.com",
        lifetime=timedelta(days=3650),
        claims={"oid": OPERATOR_PRINCIPAL_ID},
    )
