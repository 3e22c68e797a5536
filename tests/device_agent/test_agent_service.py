"""The service: what it does when the twin, the hub or the registry change under it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from firstpull_agent.applied import AppliedStore
from firstpull_agent.convergence import Convergence
from firstpull_agent.logins import Logins
from firstpull_agent.service import Service

from .deliveries import desired, entry
from .fakes import FakeCheck, FakeEngine, FakeHub, ManualTime

SITE = "10.0.0.4:8080"
OTHER = "10.0.0.5:8080"
NEW = {"deliveryId": "delivery-2", "password": "new"}


@dataclass(frozen=True)
class Running:
    """A service at work, and all that it works with."""

    hub: FakeHub
    check: FakeCheck
    engine: FakeEngine
    time: ManualTime
    service: Service

    def says(self, state: str, delivery_id: str = "delivery-1", name: str = "site1") -> bool:
        reported = self.hub.reported.get(name, {})
        return (reported.get("deliveryId"), reported.get("state")) == (delivery_id, state)


@asynccontextmanager
async def running(folder: Path, hub: FakeHub, *, accepted: set[str]) -> AsyncIterator[Running]:
    time, check, engine = ManualTime(), FakeCheck(accepted=accepted), FakeEngine(folder)
    rng = random.Random(1)  # noqa: S311
    logins = Logins(engine=engine, store=AppliedStore(folder / "applied.json"))
    convergence = Convergence(logins, check=check, time=time, rng=rng)
    service = Service(hub, convergence, time=time, rng=rng)
    task = asyncio.create_task(service.run())
    try:
        yield Running(hub, check, engine, time, service)
    finally:
        service.stop()
        await task
        assert hub.closed


@pytest.fixture
def hub() -> FakeHub:
    return FakeHub(desired(site1=entry(SITE)))


async def test_it_logs_in_and_reports_at_start(tmp_path: Path, hub: FakeHub) -> None:
    async with running(tmp_path, hub, accepted={"delivery-1"}) as it:
        await hub.until(lambda: it.says("LoggedIn"))

        assert it.engine.auth_file.has(SITE)
        assert len(hub.reports) == 1


async def test_it_keeps_trying_and_reports_the_failure_once(tmp_path: Path, hub: FakeHub) -> None:
    async with running(tmp_path, hub, accepted=set()) as it:
        await hub.until(lambda: len(it.check.checked) > 10)
        assert it.says("Failed")
        it.check.accepted.add("delivery-1")
        await hub.until(lambda: it.says("LoggedIn"))

        assert [report["site1"]["state"] for report in hub.reports] == ["Failed", "LoggedIn"]


async def test_a_newer_delivery_ends_the_tries_with_the_older(tmp_path: Path, hub: FakeHub) -> None:
    async with running(tmp_path, hub, accepted={"delivery-2"}) as it:
        await hub.until(lambda: len(it.check.checked) > 3)
        hub.change(desired(site1=entry(SITE, deliveryId="delivery-2")))
        await hub.until(lambda: it.says("LoggedIn", "delivery-2"))

        assert it.check.checked[-1] == "delivery-2"
        assert it.check.checked.count("delivery-2") == 1


async def test_a_withdrawn_delivery_is_logged_out(tmp_path: Path, hub: FakeHub) -> None:
    async with running(tmp_path, hub, accepted={"delivery-1"}) as it:
        await hub.until(lambda: it.says("LoggedIn"))
        hub.change(desired())
        await hub.until(lambda: "site1" not in hub.reported)

        assert not it.engine.auth_file.has(SITE)
        assert hub.reports[-1] == {"site1": None}


async def test_a_move_is_acknowledged_at_both_places_and_then_at_the_new_one_alone(
    tmp_path: Path, hub: FakeHub
) -> None:
    async with running(tmp_path, hub, accepted={"delivery-1", "delivery-2"}) as it:
        await hub.until(lambda: it.says("LoggedIn"))
        hub.change(desired(site1=entry(SITE), site2=entry(OTHER, **NEW)))
        await hub.until(lambda: it.says("LoggedIn", "delivery-2", "site2"))
        assert it.says("LoggedIn")
        assert it.engine.auth_file.has(SITE)

        hub.change(desired(site2=entry(OTHER, **NEW)))
        await hub.until(lambda: "site1" not in hub.reported)
        assert not it.engine.auth_file.has(SITE)
        assert it.says("LoggedIn", "delivery-2", "site2")


@pytest.mark.parametrize("restarted", [True, False])
async def test_a_revoke_while_the_device_was_offline_is_carried_out_when_it_is_back(
    tmp_path: Path, hub: FakeHub, *, restarted: bool
) -> None:
    async with running(tmp_path, hub, accepted={"delivery-1"}) as it:
        await hub.until(lambda: it.says("LoggedIn"))
        if not restarted:
            hub.down = True
            hub.change(desired())
            waited = len(it.time.waits)
            await hub.until(lambda: len(it.time.waits) > waited + 2)
            assert it.engine.auth_file.has(SITE)
            hub.down = False
            await hub.until(lambda: hub.reported == {})
            assert not it.engine.auth_file.has(SITE)
    if restarted:
        hub.desired = desired()
        async with running(tmp_path, hub, accepted=set()) as it:
            await hub.until(lambda: hub.reported == {})
            assert not it.engine.auth_file.has(SITE)


async def test_a_new_onboarding_after_a_revoke_is_logged_in_and_acknowledged(
    tmp_path: Path, hub: FakeHub
) -> None:
    async with running(tmp_path, hub, accepted={"delivery-1", "delivery-2"}) as it:
        await hub.until(lambda: it.says("LoggedIn"))
        hub.change({"firstpull": {"registryCredentials": {}}})
        await hub.until(lambda: hub.reported == {})
        hub.change(desired(site1=entry(SITE, **NEW)))
        await hub.until(lambda: it.says("LoggedIn", "delivery-2"))


async def test_a_hub_that_takes_no_report_keeps_no_revoke_from_the_device(
    tmp_path: Path, hub: FakeHub
) -> None:
    hub.deaf = True
    async with running(tmp_path, hub, accepted={"delivery-1"}) as it:
        await hub.until(lambda: it.engine.auth_file.has(SITE))
        await hub.until(lambda: len(it.time.waits) > 3)
        hub.change(desired())
        await hub.until(lambda: not it.engine.auth_file.has(SITE))


async def test_a_hub_that_is_down_at_start_is_tried_until_it_answers(
    tmp_path: Path, hub: FakeHub
) -> None:
    hub.down = True
    async with running(tmp_path, hub, accepted={"delivery-1"}) as it:
        await hub.until(lambda: len(it.time.waits) > 12)
        assert max(it.time.waits) <= 60
        hub.down = False
        await hub.until(lambda: it.says("LoggedIn"))


async def test_logins_go_on_while_the_hub_is_down_and_are_reported_later(
    tmp_path: Path, hub: FakeHub
) -> None:
    async with running(tmp_path, hub, accepted=set()) as it:
        await hub.until(lambda: it.says("Failed"))
        hub.down = True
        it.check.accepted.add("delivery-1")
        await hub.until(lambda: it.engine.auth_file.has(SITE))
        assert it.says("Failed")

        hub.down = False
        await hub.until(lambda: it.says("LoggedIn"))


async def test_desired_properties_that_make_no_sense_change_nothing(
    tmp_path: Path, hub: FakeHub
) -> None:
    async with running(tmp_path, hub, accepted={"delivery-1"}) as it:
        await hub.until(lambda: it.says("LoggedIn"))
        hub.change({"firstpull": "nonsense"})
        await hub.until(lambda: hub.reads == 2)
        assert it.engine.auth_file.has(SITE)

        hub.change(desired())
        await hub.until(lambda: "site1" not in hub.reported)


async def test_an_unrelated_change_costs_one_read_and_nothing_else(
    tmp_path: Path, hub: FakeHub
) -> None:
    async with running(tmp_path, hub, accepted={"delivery-1"}) as it:
        await hub.until(lambda: it.says("LoggedIn"))
        hub.change({**hub.desired, "temperature": 20})
        await hub.until(lambda: hub.reads == 2)
        await asyncio.sleep(0.02)

        assert it.check.checked == ["delivery-1"]
        assert len(hub.reports) == 1


async def test_a_report_that_the_cloud_removed_is_made_again(tmp_path: Path, hub: FakeHub) -> None:
    async with running(tmp_path, hub, accepted={"delivery-1"}) as it:
        await hub.until(lambda: it.says("LoggedIn"))
        hub.reported = {}
        hub.change()
        await hub.until(lambda: it.says("LoggedIn"))

        assert it.check.checked == ["delivery-1"]


async def test_a_twin_that_never_stops_changing_is_read_once_a_second(
    tmp_path: Path, hub: FakeHub
) -> None:
    async with running(tmp_path, hub, accepted={"delivery-1"}) as it:
        await hub.until(lambda: it.says("LoggedIn"))
        began, reads = it.time.seconds, hub.reads
        for _ in range(5):
            already = hub.reads
            hub.change()
            await hub.until(lambda already=already: hub.reads > already)  # type: ignore[misc]

        assert it.time.seconds - began >= hub.reads - reads
