from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest
from azure.core.exceptions import ResourceExistsError

from .hosts import RunningHost, Storage, host_running, until

BLOBS = "azure-webjobs-hosts"
OFF = "AzureWebJobs__every_second__Disabled"


def settings_of(storage: Storage, host_id: str) -> dict[str, str]:
    return storage.settings | {"AzureFunctionsWebHost__hostid": host_id}


async def runs(host: RunningHost, timer: str) -> list[dict[str, object]]:
    return [run for run in await host.get("/api/runs") if run["timer"] == timer]


async def test_of_two_hosts_one_runs_a_timer_and_the_other_takes_over(storage: Storage) -> None:
    settings = settings_of(storage, "takeover")
    async with (
        host_running("timers", settings) as first,
        host_running("timers", settings) as second,
    ):

        async def owners() -> list[RunningHost]:
            return [host for host in (first, second) if await runs(host, "every_second")]

        await until(owners)
        (owner,) = await owners()
        assert (await owner.end())[0] == 0
        heir = second if owner is first else first
        await until(lambda: runs(heir, "every_second"))


async def test_a_missed_occurrence_is_made_up_for_and_the_schedule_recorded(
    storage: Storage,
) -> None:
    then = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=5)
    recorded = {
        "Last": then.isoformat(),
        "Next": (then + timedelta(minutes=1)).isoformat(),
        "LastUpdated": then.isoformat(),
    }
    status = "timers/missed/Host.Functions.every_minute/status"
    async with storage.blobs() as blobs:
        container = blobs.get_container_client(BLOBS)
        if not await container.exists():
            await container.create_container()
        await container.upload_blob(status, json.dumps(recorded))
        async with host_running("timers", settings_of(storage, "missed") | {OFF: "1"}) as host:
            await until(lambda: runs(host, "every_minute"))
            (run, *_) = await runs(host, "every_minute")
            await host.end()
        written = json.loads(await (await container.download_blob(status)).readall())
    assert run["past_due"] is True
    assert run["status"] == recorded
    assert then < datetime.fromisoformat(written["Last"]) < datetime.fromisoformat(written["Next"])


async def test_a_host_that_ends_releases_its_locks(storage: Storage) -> None:
    settings = settings_of(storage, "released")
    async with storage.blobs() as blobs, host_running("timers", settings) as host:
        await until(lambda: runs(host, "every_second"))
        lock = blobs.get_blob_client(BLOBS, "locks/released/Host.Functions.every_second.Listener")
        with pytest.raises(ResourceExistsError):
            await lock.acquire_lease(15)
        await host.end()
        await lock.acquire_lease(15)


async def test_a_killed_host_leaves_its_locks_to_run_out(storage: Storage) -> None:
    async with (
        storage.blobs() as blobs,
        host_running("timers", settings_of(storage, "killed")) as host,
    ):
        await until(lambda: runs(host, "every_second"))
        host.process.kill()
        await host.process.wait()
        lock = blobs.get_blob_client(BLOBS, "locks/killed/Host.Functions.every_second.Listener")
        with pytest.raises(ResourceExistsError):
            await lock.acquire_lease(15)


async def test_a_timer_that_an_administrator_runs_sees_its_schedule_and_leaves_it(
    storage: Storage,
) -> None:
    settings = settings_of(storage, "asked-for")
    async with (
        storage.blobs() as blobs,
        host_running("recorded", settings) as host,
        aiohttp.ClientSession() as client,
    ):
        status = blobs.get_blob_client(BLOBS, "timers/asked-for/Host.Functions.every_minute/status")
        await until(status.exists)
        recorded = json.loads(await (await status.download_blob()).readall())
        assert recorded["Last"] == "0001-01-01T00:00:00+00:00"
        async with client.post(
            host.url("/admin/functions/every_minute"),
            json={"input": ""},
            headers={"x-functions-key": "key-of-the-master"},
        ) as response:
            assert response.status == 202
        await host.tells(f"timer {json.dumps(recorded)}")
        assert json.loads(await (await status.download_blob()).readall()) == recorded
