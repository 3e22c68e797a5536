from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from firstpull_agent.applied import Applied
from firstpull_agent.auth_file import AuthFile
from firstpull_agent.ca_files import CaFiles
from firstpull_agent.deliveries import Delivery
from firstpull_agent.engines.oci import Oci
from firstpull_agent.hub import HubUnavailable, Twin
from firstpull_agent.images import Image
from firstpull_agent.reports import Failure, Reason


class ManualTime:
    """Time that passes when someone waits, and then at once."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.waits: list[float] = []

    def now(self) -> datetime:
        return datetime(2026, 11, 23, 10, 0, tzinfo=UTC) + timedelta(seconds=self.seconds - 1000)

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.seconds += seconds

    async def wait(self, event: asyncio.Event, seconds: float | None) -> None:
        """As the service waits: for good when nothing is due."""
        if seconds is None:
            await event.wait()
        elif not event.is_set():
            await asyncio.sleep(0)
            self.sleep(seconds)


class FakeEngine:
    """Keeps logins like the agent's own, and records what it was asked to do."""

    name = "fake"

    def __init__(self, folder: Path) -> None:
        self.auth_file = AuthFile(folder / "auth.json")
        self.ca_files = CaFiles(folder / "certs.d")
        self.calls: list[str] = []
        self.broken = False
        self._keeper = Oci(self.auth_file, self.ca_files)

    def login(self, delivery: Delivery) -> None:
        self.calls.append(f"login {delivery.address} {delivery.delivery_id}")
        if self.broken:
            raise Failure(Reason.ENGINE_FAILED, "the engine is broken")
        self._keeper.login(delivery)

    def logout(self, address: str) -> None:
        self.calls.append(f"logout {address}")
        if self.broken:
            raise Failure(Reason.ENGINE_FAILED, "the engine is broken")
        self._keeper.logout(address)

    def pull(self, image: Image, login: Applied, *, output: Path) -> str:
        raise NotImplementedError


@dataclass
class FakeCheck:
    """The registries' answers: a delivery that is not accepted fails with `reason`."""

    accepted: set[str] = field(default_factory=set)
    reason: Reason = Reason.CREDENTIALS_NOT_ACCEPTED
    checked: list[str] = field(default_factory=list)
    before: Callable[[], None] = lambda: None

    async def __call__(self, delivery: Delivery, seconds: float) -> None:  # noqa: ARG002
        self.before()
        self.checked.append(delivery.delivery_id)
        if delivery.delivery_id not in self.accepted:
            raise Failure(self.reason, "says the fake")


class FakeHub:
    """A hub with one twin. `down` makes it unreachable, `deaf` refuses reports only."""

    device_id: str | None = "device-1"

    def __init__(self, desired: dict[str, Any]) -> None:
        self.desired = desired
        self.reported: dict[str, Any] = {}
        self.reports: list[dict[str, Any]] = []
        self.reads = 0
        self.down = False
        self.deaf = False
        self.closed = False
        self._changed: Callable[[], None] = lambda: None

    def on_change(self, changed: Callable[[], None]) -> None:
        self._changed = changed

    async def twin(self) -> Twin:
        self._refuse_when_down()
        self.reads += 1
        return Twin(self.desired, {"firstpull": {"registryCredentials": dict(self.reported)}})

    async def report(self, patch: dict[str, Any]) -> None:
        self._refuse_when_down()
        if self.deaf:
            raise HubUnavailable("takes no report")
        entries = patch["firstpull"]["registryCredentials"]
        self.reports.append(entries)
        self.reported = {k: v for k, v in {**self.reported, **entries}.items() if v is not None}

    async def close(self) -> None:
        self.closed = True

    def change(self, desired: dict[str, Any] | None = None) -> None:
        if desired is not None:
            self.desired = desired
        self._changed()

    async def until(self, reached: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not reached():  # noqa: ASYNC110 - what is waited for is in files and lists
                await asyncio.sleep(0.001)

    def _refuse_when_down(self) -> None:
        if self.down:
            raise HubUnavailable("down")
