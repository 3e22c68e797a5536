"""Storage that stands still, ends and begins again, or has what it had an hour ago."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from azure.data.tables.aio import TableClient, TableServiceClient

from firstpull.adapters.storage.account import RECORDS_TABLE
from firstpull.adapters.storage.due_index import SCHEDULE_TABLE
from firstpull.model.device_record import State
from firstpull.model.reasons import Reason
from tests.chaos.hosts import End, Hosted, hosted
from tests.chaos.killed_hosts import onboarding_message
from tests.chaos.lab import PLANTS, Login
from tests.chaos.tally import Chaos

DEVICES, HOSTS = 60, 2
_LEAST_DEVICES = 6
_FROZEN_SECONDS = 10.0
_GONE_SECONDS = 3.0
_HOUR = timedelta(hours=1)
_PROBE_SECONDS = 12.0
_SILENT = {Reason.SERVICE_UNAVAILABLE, Reason.DEADLINE_EXCEEDED, Reason.THROTTLED}
type Entities = Mapping[str, Sequence[Mapping[str, Any]]]
type Trouble = Callable[[Chaos, Hosted, int], Awaitable[End]]


async def storage(chaos: Chaos) -> None:
    """Three troubles, each under load, with 60 devices at two hosts; or a share of them."""
    for name in TROUBLES:
        await storage_in(chaos, name)


async def storage_in(chaos: Chaos, name: str) -> None:
    """One of the troubles."""
    trouble, size = TROUBLES[name], max(_LEAST_DEVICES, round(DEVICES * min(chaos.share, 1.0)))
    with chaos.case(f"{name}, {size} devices"):
        await hosted(chaos, lambda found: trouble(chaos, found, size), hosts=HOSTS, on_disk=True)


async def _frozen(chaos: Chaos, found: Hosted, size: int) -> End:
    """Storage accepts connections and answers nothing for ten seconds."""
    return await _under_load(chaos, found, size, "frozen", _freeze)


async def _freeze(found: Hosted) -> None:
    found.stack.azurite.freeze()
    found.met["storage frozen"] += 1
    began = asyncio.get_running_loop().time()
    try:
        await _check_probes(found)
        left = began + _FROZEN_SECONDS - asyncio.get_running_loop().time()
        await asyncio.sleep(max(0.0, left))
    finally:
        found.stack.azurite.thaw()


async def _ended(chaos: Chaos, found: Hosted, size: int) -> End:
    """Storage ends in the middle of its requests, and begins again with what it had answered."""
    return await _under_load(chaos, found, size, "ended", _end_and_start)


async def _end_and_start(found: Hosted) -> None:
    await found.stack.azurite.save_and_end()
    found.met["storage ended"] += 1
    await _check_probes(found)
    await asyncio.sleep(_GONE_SECONDS)
    await found.stack.azurite.start()


async def _under_load(
    chaos: Chaos,
    found: Hosted,
    size: int,
    name: str,
    trouble: Callable[[Hosted], Awaitable[None]],
) -> End:
    """A third of the devices before the trouble, a third in it, by HTTP and by queue."""
    chance = chaos.chance(name)
    devices = await found.new_devices(f"{name}-{number:03}" for number in range(size))
    plants = {device: chance.choice(PLANTS) for device in devices}

    async def onboard(device_id: str) -> None:
        if chance.random() < 0.5:
            await found.onboard(device_id, plants[device_id])
        else:
            await found.send([onboarding_message(device_id, plants[device_id])])

    asked = [asyncio.create_task(onboard(device)) for device in devices[: size // 2]]
    await found.until(
        lambda: any(found.agents.delivered(device, plants[device]) for device in devices),
        "nothing is delivered",
    )
    asked += [asyncio.create_task(onboard(device)) for device in devices[size // 2 :]]
    await trouble(found)
    await asyncio.gather(*asked)
    for device_id in devices:
        await found.until_used(device_id, plants[device_id])
    await _until_ready(found)
    await found.until_done(devices)
    return lambda: found.check(devices, plants.__getitem__)


async def _check_probes(found: Hosted) -> None:
    """Each host says that it answers, and why it cannot work."""
    for host in found.serving:
        await _until_unready(found, host.url)
        status, _, document = await found.ask(
            "GET", "/api/healthz", url=host.url, seconds=_PROBE_SECONDS
        )
        assert (status, document) == (200, {"status": "ok"}), f"a probe says {status} {document}"
        found.lab.checks["probes"] += 1


async def _until_unready(found: Hosted, url: str) -> None:
    """It may say for five seconds what it saw before."""
    for _ in range(20):
        status, kind, document = await found.ask(
            "GET", "/api/readyz", url=url, seconds=_PROBE_SECONDS
        )
        if status == 503:
            assert kind == "application/problem+json", kind
            assert document["reason"] in _SILENT, f"readyz says {document['reason']}"
            return
        assert status == 200, f"readyz answers {status}"
        await asyncio.sleep(0.5)
    raise AssertionError("readyz says that a host is ready while storage does not answer")


async def _until_ready(found: Hosted) -> None:
    for host in found.serving:
        for _ in range(60):
            status, _, _ = await found.ask("GET", "/api/readyz", url=host.url)
            if status == 200:
                break
            await asyncio.sleep(0.5)
        else:
            raise AssertionError("readyz does not come back")


async def _restored(chaos: Chaos, found: Hosted, size: int) -> End:
    """The tables have what they had an hour ago: who can pull still can, who was revoked cannot."""
    chance = chaos.chance("restored")
    devices = await found.new_devices(f"restored-{number:03}" for number in range(size))
    plants = {device: chance.choice(PLANTS) for device in devices}
    new = devices[-1 - size // 6 :]
    old = [device for device in devices if device not in new]
    await asyncio.gather(*(found.onboard(device, plants[device]) for device in old))
    for device_id in old:
        await found.until_used(device_id, plants[device_id])
    await found.until_done(old)
    backup = await _tables(found)
    found.stack.kernel.clock.advance(_HOUR)
    await found.stack.kernel.clock.all_have_moved()
    await _live(found, old, plants)
    await asyncio.gather(*(found.onboard(device, plants[device]) for device in new))
    for device_id in new:
        await found.until_used(device_id, plants[device_id])
    await found.until_done(devices)
    logins = {device: found.login(device) for device in devices if device not in found.revoked}
    await _restore(found, backup)
    found.met["tables restored from an hour ago"] += 1
    await _act_on_old_records(found, old)
    _check_access(found, logins)
    await _rebuild(found)
    await found.until_done(devices)
    _check_access(found, logins)
    return lambda: found.check(devices, plants.__getitem__)


async def _live(found: Hosted, devices: Sequence[str], plants: Mapping[str, str]) -> None:
    """A third is revoked, one is rotated, one is moved."""
    revoked, rotated, moved = (devices[number::4] for number in range(3))
    for device_id in revoked:
        found.revoked[device_id] = found.login(device_id)
        await found.revoke(device_id)
    for device_id in rotated:
        before = found.agents.delivered(device_id, plants[device_id])
        await found.rotate(device_id)
        await found.until(
            lambda: found.agents.delivered(device_id, plants[device_id]) != before,  # noqa: B023
            f"{device_id} gets no other password",
        )
        await found.until_used(device_id, plants[device_id])
    for device_id in moved:
        found.moved[device_id] = next(each for each in PLANTS if each != plants[device_id])
        await found.onboard(device_id, found.moved[device_id])
        await found.until_used(device_id, found.moved[device_id])


async def _act_on_old_records(found: Hosted, devices: Sequence[str]) -> None:
    """Everybody is due, as the timer sees them soon: a pass may not harm anybody."""
    hub = found.stack.iot_hub_host_name
    await found.send(
        [{"hub": hub, "deviceId": device_id} for device_id in devices for _ in range(2)],
        queue="device-work",
    )
    for device_id in devices:
        if device_id in found.revoked:
            await _until_blocked(found, device_id)


async def _until_blocked(found: Hosted, device_id: str) -> None:
    """A record from before the revoke says so, and nothing is done by it."""
    for _ in range(300):
        record = await found.record(device_id)
        if record.status.condition.state is State.REVOKED:
            return
        if record.status.condition.reason is Reason.RECORD_OUT_OF_DATE:
            found.lab.checks["P7"] += 1
            return
        await asyncio.sleep(0.2)
    raise AssertionError(f"P7: the old record of {device_id} is believed: {record.status}")


def _check_access(found: Hosted, logins: Mapping[str, Login]) -> None:
    """P2 for those that had access, P7 for those that had none."""
    now = found.stack.kernel.clock.now()
    for device_id, login in logins.items():
        token = found.lab.token(login.username)
        assert token is not None, f"P2: {device_id} lost its token"
        assert token.accepts(login.password, now=now), f"P2: {device_id} lost its password"
        found.lab.checks["P2"] += 1
    for device_id, login in found.revoked.items():
        assert found.lab.token(login.username) is None, f"P7: {device_id} has its token again"
        found.lab.checks["P7"] += 1


async def _rebuild(found: Hosted) -> None:
    """As the runbook says: records are made of what there is."""
    after = ""
    while True:
        path = f"/api/devices:rebuild{after}"
        status, _, document = await found.ask("POST", path, seconds=200.0)
        assert status == 200, f"{status} {document}"
        if not document.get("next"):
            return
        after = f"?after={document['next']}"


async def _tables(found: Hosted) -> Entities:
    copied = {}
    for name in (RECORDS_TABLE, SCHEDULE_TABLE):
        async with _table(found, name) as table:
            copied[name] = [dict(entity) async for entity in table.list_entities()]
    return copied


async def _restore(found: Hosted, backup: Entities) -> None:
    """The later entities go, the earlier ones come back, while the hosts work."""
    for name, entities in backup.items():
        async with _table(found, name) as table:
            async for entity in table.list_entities(select=["PartitionKey", "RowKey"]):
                await table.delete_entity(entity["PartitionKey"], entity["RowKey"])
            for each in entities:
                await table.upsert_entity(dict(each))


@asynccontextmanager
async def _table(found: Hosted, name: str) -> AsyncIterator[TableClient]:
    text = found.stack.storage.connection_string
    async with TableServiceClient.from_connection_string(text) as service:
        yield service.get_table_client(name)


TROUBLES: Mapping[str, Trouble] = {"frozen": _frozen, "ended": _ended, "restored": _restored}
