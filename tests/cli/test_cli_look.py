"""What an operator sees: the fleet, its devices, one device, the sites."""

from __future__ import annotations

import json
import signal

from firstpull_cli.errors import Exit

from tests.endpoints.endpoints import Endpoints

from .command import Operator


async def onboarded(service: Endpoints, device_id: str, *, logged_in: bool = False) -> None:
    """Onboard a device at plant23."""
    await service.onboarded(
        device_id, logged_in=logged_in, connectedRegistry="plant23", repositories=["hello-world"]
    )


async def test_the_list_shows_devices_of_a_filter(service: Endpoints, operator: Operator) -> None:
    await onboarded(service, "cli-listed-1", logged_in=True)
    wish = {"connectedRegistry": "plant23", "repositories": ["hello-world"]}
    await service.call("PUT", "devices/cli-listed-2", wish)
    await service.until_state("cli-listed-2", "Waiting")
    shown = await operator.ok("devices", "--state", "Waiting", "--state", "Blocked")
    (row,) = [line.split() for line in shown.out.splitlines()[1:]]
    assert row[:3] == ["cli-listed-2", "Waiting", "DeviceNotRegistered"]
    listed = (await operator.ok("devices", "--json", "--order", "since")).document["devices"]
    assert {"cli-listed-1", "cli-listed-2"} <= {device["deviceId"] for device in listed}
    limited = (await operator.ok("devices", "--json", "--limit", "1")).document["devices"]
    assert len(limited) == 1
    refused = await operator.run("devices", "--connected-registry", "nowhere")
    assert refused.status == Exit.FAILED
    assert "not listed in the policy" in refused.err


async def test_a_watcher_sees_a_device_change(service: Endpoints, operator: Operator) -> None:
    async with operator.started("devices", "--watch", "--json", "--interval", "0.1") as watching:
        assert watching.stdout is not None
        await onboarded(service, "cli-watched-1")
        states: list[str] = []
        while states[-1:] != ["Delivered"]:
            seen = json.loads(await watching.stdout.readline())
            if seen["device"]["deviceId"] == "cli-watched-1":
                states.append(seen["device"]["state"])
        watching.send_signal(signal.SIGINT)
        assert await watching.wait() == 130


async def test_a_device_is_shown_with_its_history_as_a_timeline(
    service: Endpoints, operator: Operator
) -> None:
    await onboarded(service, "cli-shown-1", logged_in=True)
    shown = await operator.ok("device", "cli-shown-1")
    assert shown.out.startswith("cli-shown-1  Ready  Acknowledged for ")
    events = [line.split("●")[1].split()[0] for line in shown.out.splitlines() if "●" in line]
    assert events[0] == "intent.recorded"
    assert events.index("credential.stored") < events.index("credential.delivered")
    as_json = (await operator.ok("device", "cli-shown-1", "--json")).document
    assert as_json == await service.device("cli-shown-1")
    unknown = await operator.run("device", "nobody-1")
    assert unknown.status == Exit.NOT_FOUND
    assert "firstpull devices" in unknown.err


async def test_what_waits_for_a_person_is_shown_with_its_remedy(
    service: Endpoints, operator: Operator
) -> None:
    wish = {"connectedRegistry": "plant25", "repositories": ["hello-world"]}
    for number in (1, 2):
        service.register(f"cli-blocked-{number}")
        await service.call("PUT", f"devices/cli-blocked-{number}", wish)
        await service.until_state(f"cli-blocked-{number}", "Delivered", "Blocked")
    device = await service.until_state("cli-blocked-2", "Blocked")
    shown = await operator.ok("device", "cli-blocked-2")
    assert f"→ {device['condition']['remedy']}" in shown.out
    overview = await operator.ok("status")
    assert "blocked: firstpull devices --state Blocked" in overview.out
    assert (await operator.run("status", "--check")).status == Exit.FAILED
    found = (await operator.ok("status", "--json")).document
    assert any("nearly full" in concern for concern in found["concerns"])
    assert found["fleet"]["states"]["Blocked"] == 1


async def test_an_id_that_no_path_can_carry_is_shown(
    service: Endpoints, operator: Operator
) -> None:
    device_id = "cli%25id"
    service.register(device_id)
    wish = {"connectedRegistry": "plant23", "repositories": ["hello-world"]}
    await service.call("PUT", "devices?deviceId=cli%2525id", wish)
    shown = await operator.ok("device", device_id)
    assert shown.out.startswith(device_id)
    assert (await operator.run("device", "no%25body")).status == Exit.NOT_FOUND


async def test_sites_show_used_and_free_places_as_bars(
    service: Endpoints, operator: Operator
) -> None:
    await onboarded(service, "cli-counted-1")
    shown = await operator.ok("sites")
    row = next(line for line in shown.out.splitlines() if "/plant24" in line)
    assert "░" * 24 in row
    first = next(line for line in shown.out.splitlines() if "/plant23" in line)
    assert "█" in first
    assert first.startswith("works")
    names = [site["name"] for site in (await operator.ok("sites", "--json")).document["sites"]]
    assert names == ["works", "small"]
