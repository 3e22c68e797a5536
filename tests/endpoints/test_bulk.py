"""Many messages at once: each device is recorded once, and none is lost."""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import AsyncIterator
from itertools import batched
from pathlib import Path

import pytest

from local_azure.stack import ConnectedRegistryOptions, Stack
from tests.end_to_end.cloud import clients_of, entry_of

from .documents import in_base64, request
from .endpoints import ONBOARDING, WORK, Endpoints, open_endpoints, policy_for

pytestmark = [
    pytest.mark.timeout(600),  # as much work as no other test has, on a busy machine
    pytest.mark.xdist_group("endpoints of other apps"),
]
_MANY = 120
_FLEET = 60
_FIRST_HAS_ROOM_FOR = 40


@pytest.fixture
async def idle_doors(stack: Stack, ca_file: Path) -> AsyncIterator[Endpoints]:
    """An app that writes down what is wanted, and leaves it at that."""
    async with open_endpoints(
        stack,
        ca_file=str(ca_file),
        policy=policy_for(stack),
        system_key=secrets.token_urlsafe(32),
        more_settings={"AzureWebJobs__reconcile_device__Disabled": "true"},
    ) as opened:
        yield opened


async def _put_all(endpoints: Endpoints, bodies: list[object]) -> None:
    for some in batched(bodies, 50, strict=False):
        await asyncio.gather(*(endpoints.put_message(ONBOARDING, body) for body in some))


@pytest.mark.slow
async def test_each_of_many_messages_at_once_is_one_record(idle_doors: Endpoints) -> None:
    endpoints = idle_doors
    wishes = [request(f"bulk-{number:04}") for number in range(_MANY)]
    twice = [in_base64(wish) for wish in wishes[::10]]
    await _put_all(endpoints, [*wishes, *twice])
    await endpoints.until_taken(ONBOARDING, within=500.0)
    records = await endpoints.records()
    assert set(records) == {wish["deviceId"] for wish in wishes}
    assert Counter(record["generation"] for record in records.values()) == {1: _MANY}
    assert await endpoints.poison() == []
    assert await endpoints.length(WORK) >= _MANY


@pytest.fixture
async def hall_doors(stack: Stack, ca_file: Path) -> AsyncIterator[Endpoints]:
    """An app with a site of two connected registries, the first of which takes fewer."""
    for name in ("hallone", "halltwo"):
        await stack.sites.deploy(ConnectedRegistryOptions(name=name, sync_every_seconds=3600.0))
    connected = [
        {"name": "hallone", "capacity": _FIRST_HAS_ROOM_FOR},
        {"name": "halltwo"},
    ]
    policy = policy_for(
        stack,
        connectedRegistries=connected,
        sites=[{"name": "hall", "connectedRegistries": ["hallone", "halltwo"]}],
    )
    async with open_endpoints(
        stack, ca_file=str(ca_file), policy=policy, system_key=secrets.token_urlsafe(32)
    ) as opened:
        yield opened


@pytest.mark.slow
async def test_a_fleet_fills_the_connected_registries_of_its_site_in_order(
    hall_doors: Endpoints,
) -> None:
    endpoints = hall_doors
    devices = [f"fleet-{number:02}" for number in range(_FLEET)]
    wishes = [
        request(device_id, connectedRegistry=..., site="hall", repositories=["hello-world"])
        for device_id in devices
    ]
    for device_id in devices:
        endpoints.register(device_id)
    await _put_all(endpoints, list(wishes))

    async def all_delivered() -> bool:
        states = [record["condition"]["state"] for record in (await endpoints.records()).values()]
        return states == ["Delivered"] * _FLEET

    await endpoints.until(all_delivered, within=500.0)
    records = await endpoints.records()
    tokens: dict[str, list[str]] = {"hallone": [], "halltwo": []}
    for device_id in devices:
        record = records[device_id]
        plant, token = record["place"]["connected_registry"], record["names"]["token"]
        tokens[plant].append(token)
        assert entry_of(endpoints.stack, device_id, plant)["username"] == token
    assert len(tokens["hallone"]) == _FIRST_HAS_ROOM_FOR
    for plant, expected in tokens.items():
        assert sorted(clients_of(endpoints.stack, plant)) == sorted(expected)
    assert len({*tokens["hallone"], *tokens["halltwo"]}) == _FLEET
    assert await endpoints.poison() == []
