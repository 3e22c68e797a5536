from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from azure.core.exceptions import ResourceExistsError

from .hosts import Storage, host_running, take

STATUS = "timers/{}/Host.Functions.yearly/status"
LOCK = "locks/{}/Host.Functions.yearly.Listener"


def settings_of(storage: Storage, host_id: str) -> dict[str, str]:
    now = datetime.now(UTC)
    return storage.settings | {
        "AzureFunctionsWebHost__hostid": host_id,
        "SITE": host_id,
        "YEARLY": f"0 0 0 1 {now.month % 12 + 1} *",  # not within the next days of any test
    }


async def test_of_two_hosts_one_runs_a_timer_and_the_other_takes_over(storage: Storage) -> None:
    settings = settings_of(storage, "takeover")
    async with storage.queues() as queues:
        ticks = queues.get_queue_client("takeover-ticks")
        async with (
            host_running("timers", settings, "--instance-id", "first") as first,
            host_running("timers", settings, "--instance-id", "second") as second,
        ):
            owner, again = await take(ticks), await take(ticks)
            assert again == owner
            code, _ = await {"first": first, "second": second}[owner].end()
            assert code == 0
            heir = owner
            while heir == owner:  # what it had sent before it ended
                heir = await take(ticks)
            assert heir == ({"first", "second"} - {owner}).pop()


async def test_a_timer_may_run_at_startup_and_records_when_it_is_next(storage: Storage) -> None:
    settings = settings_of(storage, "startup") | {"AzureWebJobs__every_second__Disabled": "1"}
    async with storage.queues() as queues, storage.blobs() as blobs:
        starts = queues.get_queue_client("startup-starts")
        async with host_running("timers", settings) as host:
            started = json.loads(await take(starts))
            await host.end()
        container = blobs.get_container_client("azure-webjobs-hosts")
        download = await container.download_blob(STATUS.format("startup"))
        recorded = json.loads(await download.readall())
    assert started["past_due"] is False
    assert started["status"]["Last"] is None
    assert started["status"]["Next"] == recorded["Next"]
    assert datetime.fromisoformat(recorded["Last"]) < datetime.now(UTC)


async def test_an_occurrence_missed_while_no_host_ran_is_made_up_for(storage: Storage) -> None:
    settings = settings_of(storage, "missed") | {
        "AzureWebJobs__every_second__Disabled": "1",
        "YEARLY": "0 * * * * *",
    }
    then = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=5)
    recorded = {
        "Last": then.isoformat(),
        "Next": (then + timedelta(minutes=1)).isoformat(),
        "LastUpdated": then.isoformat(),
    }
    async with storage.queues() as queues, storage.blobs() as blobs:
        container = blobs.get_container_client("azure-webjobs-hosts")
        if not await container.exists():
            await container.create_container()
        await container.upload_blob(STATUS.format("missed"), json.dumps(recorded))
        async with host_running("timers", settings):
            started = json.loads(await take(queues.get_queue_client("missed-starts")))
    assert started["past_due"] is True
    assert started["status"]["Next"] == recorded["Next"]


async def test_a_host_that_ends_gives_its_locks_back(storage: Storage) -> None:
    settings = settings_of(storage, "released") | {"AzureWebJobs__every_second__Disabled": "1"}
    async with storage.queues() as queues, storage.blobs() as blobs:
        lock = blobs.get_blob_client("azure-webjobs-hosts", LOCK.format("released"))
        async with host_running("timers", settings) as host:
            await take(queues.get_queue_client("released-starts"))
            with pytest.raises(ResourceExistsError):
                await lock.acquire_lease(15)
            await host.end()
        await lock.acquire_lease(15)
