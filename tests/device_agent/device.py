from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path
from typing import Any

from firstpull_agent.applied import AppliedStore
from firstpull_agent.convergence import Convergence
from firstpull_agent.logins import Logins
from firstpull_agent.secret import Secret

from .deliveries import PASSWORD, USERNAME, desired
from .fake_registry import AUTHORITY
from .fakes import FakeCheck, FakeEngine, ManualTime

SITE = "10.0.0.4:8080"
OTHER = "10.0.0.5:8080"
LOGIN = (USERNAME, Secret(PASSWORD))
NEW_LOGIN = (USERNAME, Secret("new"))
NEW = {"deliveryId": "delivery-2", "password": "new"}
LATER = {**NEW, "expiresOn": "2027-05-21T10:00:00Z"}
PERSON = ("somebody", Secret("their own"))
CA = AUTHORITY.ca_pem


class Device:
    """A device whose agent can be restarted: files stay, memory does not."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.check = FakeCheck(accepted={"delivery-1", "delivery-2"})
        self.engine = FakeEngine(folder)
        self.time = ManualTime()
        self.reported: dict[str, Any] = {}
        self.restart()

    @property
    def state_file(self) -> Path:
        return self.folder / "state" / "applied.json"

    def files(self) -> list[Path]:
        return sorted(path for path in self.folder.rglob("*") if path.is_file())

    def remembered(self) -> list[dict[str, Any]]:
        """What the agent has noted of the logins that it made."""
        entries: list[dict[str, Any]] = json.loads(self.state_file.read_text())
        return entries

    def restart(self) -> None:
        store = AppliedStore(self.state_file)
        store.discard_unfinished()
        logins = Logins(engine=self.engine, store=store)
        self.agent = Convergence(
            logins,
            check=self.check,
            time=self.time,
            rng=random.Random(1),  # noqa: S311
        )

    def change_engine(self, name: str) -> None:
        self.engine = FakeEngine(self.folder / name)
        self.restart()

    def want(self, **entries: object) -> None:
        self.adopt(desired(**entries))

    def adopt(self, whole: object) -> None:
        self.agent.adopt(whole, {"firstpull": {"registryCredentials": self.reported}})
        self.work()

    def work(self) -> None:
        async def attempts() -> None:
            while attempt := self.agent.next_attempt():
                await attempt

        asyncio.run(attempts())

    def report(self) -> dict[str, tuple[str | None, str, str | None] | None]:
        """What is new to report, as the cloud would then have it."""
        entries = self.agent.unreported()
        self.agent.confirm(entries)
        said = {name: outcome and outcome.as_property() for name, outcome in entries.items()}
        self.reported = {k: v for k, v in {**self.reported, **said}.items() if v is not None}
        return {
            name: None
            if outcome is None
            else (outcome.delivery_id, outcome.state.value, outcome.reason)
            for name, outcome in entries.items()
        }

    def login(self, address: str) -> tuple[str, Secret] | None:
        return self.engine.auth_file.credentials(address)

    def log_in_by_hand(self, address: str, login: tuple[str, Secret]) -> None:
        self.engine.auth_file.put(address, username=login[0], password=login[1])
