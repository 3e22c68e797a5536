"""More at once than a host can do: what it needs of memory, and who waits for whom."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import timedelta

from benchmarks.memory import resident_mib, with_children
from local_azure.kernel.clock import wire_time
from local_azure.stack.identities import VAULT_ID
from local_azure.stack.options import HUB_NAME
from tests.chaos.hosts import End, Hosted, hosted
from tests.chaos.killed_hosts import onboarding_message
from tests.chaos.lab import PLANTS
from tests.chaos.tally import Chaos

MESSAGES, REQUESTS, CLOSED = 10_000, 1_000, 500
_LEAST_MESSAGES, _LEAST_REQUESTS, _LEAST_CLOSED = 200, 40, 20
_REPEATED = 50
"""Messages that name the same device, and at least"""
_LEAST_DEVICES = 20
"""devices, so that no two of the messages under way usually name the same one."""
_WAIT = "wait=20"
_ANSWERED_SECONDS = 120.0
MOST_MIB = 400.0
"""That a process of a host may have had at its peak. Azure's smallest instance has 512."""
_AT_ONCE = 128
"""Devices that a host works at already: 64 by the queue, 64 right where they were recorded."""
_HEALTHY = 5
_DUE_AGAIN = 2
"""From this healthy device on, all closed ones are due at the same time."""
_PAST_THEIR_WAIT = timedelta(hours=25)
"""Devices with a forbidden action wait for a day at most."""


async def load(chaos: Chaos) -> None:
    """10,000 messages, 1,000 requests that wait, 500 devices that fail; or a share of each."""
    for case in (messages, requests, starved):
        await case(chaos)


async def messages(chaos: Chaos) -> None:
    """Onboarding messages, each of them fifty times, and as many events, late and twice."""
    await _at_a_host(chaos, _messages, max(_LEAST_MESSAGES, _share_of(chaos, MESSAGES)))


async def requests(chaos: Chaos) -> None:
    """Requests that wait for devices which nobody has registered; one device is."""
    await _at_a_host(chaos, _requests, max(_LEAST_REQUESTS, _share_of(chaos, REQUESTS)))


async def starved(chaos: Chaos) -> None:
    """The vault is closed to some devices, which are tried again and again; others are not."""
    await _at_a_host(chaos, _starved, max(_LEAST_CLOSED, _share_of(chaos, CLOSED)))


def _share_of(chaos: Chaos, whole: int) -> int:
    return round(whole * min(chaos.share, 1.0))


async def _at_a_host(chaos: Chaos, case: Case, size: int) -> None:
    with chaos.case(f"{case.__name__.strip('_')}, {size}"):
        await hosted(chaos, lambda found: _measured(chaos, found, case, size), hosts=1)


type Case = Callable[[Chaos, Hosted, int], Awaitable[End | None]]


async def _measured(chaos: Chaos, found: Hosted, case: Case, size: int) -> End | None:
    ended = await case(chaos, found, size)
    peak = max(resident_mib(process, peak=True) for process in _processes(found))
    found.lab.checks["memory"] += 1
    chaos.note(f"{case.__name__.strip('_')}: {size}, {peak:.0f} MiB at the peak")
    assert peak <= MOST_MIB, f"a process had {peak:.0f} MiB"
    return ended


def _processes(found: Hosted) -> Iterator[int]:
    """Each host and its worker."""
    for host in found.app.hosts.all():
        if host.process is not None:
            yield from with_children(host.process.pid)


async def _messages(chaos: Chaos, found: Hosted, size: int) -> End:
    chance = chaos.chance("messages")
    count = max(_LEAST_DEVICES, size // _REPEATED)
    repeated = size // count
    devices = await found.new_devices(f"message-{number:03}" for number in range(count))
    plants = {device: chance.choice(PLANTS) for device in devices}
    messages = [
        onboarding_message(device, plants[device]) for device in devices for _ in range(repeated)
    ]
    events = [_created(found, device) for device in devices for _ in range(max(2, repeated // 5))]
    chance.shuffle(messages)
    chance.shuffle(events)
    await asyncio.gather(found.send(messages), found.send(events, queue="device-events"))
    found.met.update({"messages at once": len(messages), "duplicate events": len(events)})
    for device_id in devices:
        await found.until_used(device_id, plants[device_id])
    await found.until_done(devices)
    _, _, kept = await found.ask("GET", "/api/poison")
    assert not kept["messages"], f"P10: {kept}"
    return lambda: found.check(devices, plants.__getitem__)


def _created(found: Hosted, device_id: str) -> dict[str, object]:
    return {
        "id": device_id,
        "subject": f"devices/{device_id}",
        "eventType": "Microsoft.Devices.DeviceCreated",
        "eventTime": wire_time(found.stack.kernel.clock.now()),
        "data": {"hubName": HUB_NAME, "deviceId": device_id},
        "dataVersion": "1",
    }


async def _requests(chaos: Chaos, found: Hosted, size: int) -> End:
    chance = chaos.chance("requests")
    (healthy,) = await found.new_devices(["request-healthy"])

    async def ask(number: int) -> int:
        content = {"connectedRegistry": chance.choice(PLANTS), "repositories": ["hello-world"]}
        return await found.until_taken(
            *("PUT", f"/api/devices/request-{number:04}", content),
            headers={"Prefer": _WAIT},
            seconds=_ANSWERED_SECONDS,
        )

    asked = [asyncio.create_task(ask(number)) for number in range(size)]
    await asyncio.sleep(0)
    await found.onboard(healthy, PLANTS[0])
    await found.until_used(healthy, PLANTS[0])
    answers = Counter(await asyncio.gather(*asked))
    await found.until_done([healthy])
    found.met["requests that wait"] += size
    found.lab.checks["P10"] += size
    assert answers == {202: size}, f"P10: {size} requests were answered with {answers}"
    return lambda: found.check([healthy], lambda _: PLANTS[0])


async def _starved(chaos: Chaos, found: Hosted, size: int) -> End:
    chance = chaos.chance("starved")
    found.stack.kernel.access.denied.append(f"{VAULT_ID}/secrets/fp-closed-")
    closed = await found.new_devices(f"closed-{number:03}" for number in range(size))
    await found.send(onboarding_message(device, chance.choice(PLANTS)) for device in closed)
    await found.until(lambda: _blocked(found) >= size, "the vault is not tried")
    healthy = await found.new_devices(f"healthy-{number}" for number in range(_HEALTHY))
    for number, device_id in enumerate(healthy):
        if number == _DUE_AGAIN:  # all of the closed ones, at once
            await _until_at_rest(found, healthy[:number])
            await _send_work(found, closed)
        before = _blocked(found)
        await found.send([onboarding_message(device_id, PLANTS[0])])
        await found.until(
            lambda: found.agents.delivered(device_id, PLANTS[0]),  # noqa: B023
            f"{device_id} starves",
        )
        tried = _blocked(found) - before
        found.lab.checks["no starvation"] += 1
        assert tried <= size + min(size, _AT_ONCE), (
            f"{size} failing devices were tried {tried} times before {device_id} was served"
        )
    found.met["devices whose vault is closed"] += size
    found.stack.kernel.access.denied.clear()
    await _until_at_rest(found, healthy)
    return lambda: found.check(healthy, lambda _: PLANTS[0])


async def _until_at_rest(found: Hosted, devices: Sequence[str]) -> None:
    """Who waits for a login when a day passes is looked at once an hour."""
    for device_id in devices:
        await found.until_used(device_id, PLANTS[0])
    await found.until_done(devices)


async def _send_work(found: Hosted, devices: Sequence[str]) -> None:
    """Make devices due, as the timer does."""
    found.stack.kernel.clock.advance(_PAST_THEIR_WAIT)
    await found.stack.kernel.clock.all_have_moved()
    hub = found.stack.iot_hub_host_name
    await found.send(({"hub": hub, "deviceId": device} for device in devices), queue="device-work")


def _blocked(found: Hosted) -> int:
    """How often a pass has met the closed vault."""
    said = ("device.reconcile.blocked" in line and "closed-" in line for line in found.lines)
    return sum(said)
