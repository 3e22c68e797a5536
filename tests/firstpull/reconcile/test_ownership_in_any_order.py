"""Two devices and one token, in any order: it never has two owners, and no revoke is undone."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest

from firstpull.model.device_key import DeviceKey
from firstpull.model.errors import FirstpullError
from tests.firstpull.harness import HUB, OUR_PREFIX, Harness, make_policy
from tests.firstpull.scenarios import make_by_hand

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
DEVICES = tuple(DeviceKey(hub=HUB, device_id=name) for name in ("press-1", "press-2"))
ACTS = ("onboard", "adopt", "adopt elsewhere", "move away", "revoke", "lose record")


def owners(harness: Harness) -> list[str]:
    """The tokens that live records name, once for each record."""
    live = (r for r in harness.cloud.all_records() if r.spec.revocation is None)
    return [token for r in live for token in {g.names.token for g in r.grants}]


async def act(harness: Harness, device: DeviceKey, what: str) -> None:
    """Do one thing to a device; a request may be refused, or answered with 503."""
    name = device.device_id
    try:
        match what:
            case "onboard":
                await harness.ask(name)
            case "adopt":
                await harness.ask(name, adopt="by-hand")
            case "adopt elsewhere":
                await harness.ask(name, adopt="by-hand", connectedRegistry="planttwo")
            case "move away":
                await harness.ask(name, connectedRegistry="planttwo")
            case "revoke":
                revoking = harness.processes[0].application.revoking
                await revoking.revoke(device, requested_by="a test")
            case "lose record":
                harness.cloud.lose_record(device)
    except FirstpullError:
        return


@pytest.mark.parametrize(
    "seed", [0, 1, 2, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(3, 12))]
)
async def test_a_token_has_one_owner_whatever_happens_in_whatever_order(seed: int) -> None:
    chances = random.Random(seed)  # noqa: S311 - chance, not secrets
    harness = Harness(policy=make_policy(adoptableTokens=["by-hand"]))
    make_by_hand(harness, "by-hand")
    for device in DEVICES:
        harness.register(device.device_id)
    for _ in range(8):
        device, what = chances.choice(DEVICES), chances.choice(ACTS)
        is_busy, play = chances.random() < 0.4, chances.choice((MINUTE, 10 * MINUTE))
        with harness.cloud.unavailable(*(("registries.",) if is_busy else ("none.",))):
            await act(harness, device, what)
            await harness.run_until(lambda: False, MINUTE)
        await harness.run_until(lambda: False, play)
        named = owners(harness)
        assert len(named) == len(set(named)), named
    revoked_passwords = set()
    for device in DEVICES:
        before = set(harness.cloud.passwords_made)
        await act(harness, device, "revoke")
        await harness.run_until(lambda: False, HOUR)
        held = set(harness.cloud.devices[device].held.values())
        revoked_passwords |= held & before
    accepted = {p for name in harness.cloud.tokens for p in harness.cloud.accepted(name)}
    assert not revoked_passwords & accepted
    assert not any(name.startswith(OUR_PREFIX) for name in harness.cloud.tokens)
    harness.check_promises()
