"""The tags of a secret version hold what a tool that reads the vault needs for a login."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import State
from firstpull.model.password_slots import address_tags
from local_azure.key_vault.models import Properties
from tests.firstpull.harness import PLANT_ONE, PLANT_TWO, Harness, make_policy

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
MOST_TAGS = 15
"""Of a secret version in Key Vault (about-keys-secrets-certificates)."""


def versions_of(harness: Harness) -> tuple[Any, ...]:
    (versions,) = harness.cloud.secrets.values()
    return versions


def login_in_tags(harness: Harness) -> tuple[str, str]:
    """Address and user name in the tags of the newest version."""
    tags = versions_of(harness)[-1].tags
    assert len(tags) <= MOST_TAGS
    return tags["address"], tags["username"]


def delivered_login(harness: Harness, device: DeviceKey, **of: Any) -> tuple[str, str]:  # noqa: ANN401 - a connected registry
    entry = harness.cloud.twin_entry(device, of.get("ref", PLANT_ONE))
    return entry["address"], entry["username"]


async def test_the_newest_version_names_the_address_and_the_user_name_of_the_delivery() -> None:
    harness = Harness()
    device = await harness.make_ready()
    assert login_in_tags(harness) == delivered_login(harness, device)
    before = len(versions_of(harness))
    await harness.rotate(device)
    await harness.run_for(HOUR)
    assert len(versions_of(harness)) > before
    assert login_in_tags(harness) == delivered_login(harness, device)


async def test_the_address_follows_a_move() -> None:
    harness = Harness()
    device = await harness.make_ready()
    await harness.ask(connectedRegistry="planttwo")
    await harness.run_for(HOUR)
    assert harness.state(device) is State.READY
    assert login_in_tags(harness) == delivered_login(harness, device, ref=PLANT_TWO)
    assert login_in_tags(harness)[0].startswith("planttwo")


async def test_the_address_follows_the_policy_and_one_more_pass_writes_nothing() -> None:
    harness = Harness()
    device = await harness.make_ready()
    moved = [{"name": "plantone", "endpoint": "10.0.0.4:8080"}, {"name": "planttwo"}]
    harness = Harness(policy=make_policy(connectedRegistries=moved), cloud=harness.cloud)
    harness.make_due(device)
    await harness.run_for(HOUR)
    assert login_in_tags(harness) == delivered_login(harness, device)
    assert login_in_tags(harness)[0] == "10.0.0.4:8080"
    before = harness.cloud.writes()
    await harness.reconcile(device)
    assert harness.cloud.writes() == before


async def test_versions_that_an_earlier_release_tagged_are_still_the_devices_own() -> None:
    harness = Harness()
    device = await harness.make_ready()
    ((name, versions),) = harness.cloud.secrets.items()
    for version in versions:
        tags = {k: v for k, v in (version.tags or {}).items() if k not in ("address", "username")}
        tags["token"] = (version.tags or {})["username"]
        harness.cloud.vault.update(name, version.version, Properties(tags=tags))
    before = harness.cloud.writes()
    assert not (await harness.sweep()).orphans
    await harness.reconcile(device)
    assert harness.cloud.writes() == before
    await harness.rotate(device)
    await harness.run_for(HOUR)
    assert harness.state(device) is State.READY
    assert login_in_tags(harness) == delivered_login(harness, device)


async def test_a_revoked_device_has_tags_to_spare() -> None:
    """An adopted, rotated and revoked one in a site has every other tag at once."""
    harness = Harness(policy=make_policy(adoptableTokens=["by-hand"]))
    device = await harness.make_ready(connectedRegistry=None, site="plant")
    await harness.rotate(device)
    await harness.run_for(HOUR)
    ((name, versions),) = harness.cloud.secrets.items()
    newest = versions[-1]
    tags = {**(newest.tags or {}), "adopted": "true"}
    assert len(tags) == MOST_TAGS
    harness.cloud.vault.update(name, newest.version, Properties(tags=tags))
    await harness.revoke(device)
    await harness.run_for(HOUR)
    assert harness.state(device) is State.REVOKED
    tags = versions_of(harness)[-1].tags
    assert "revokedAt" in tags
    assert "address" not in tags
    assert len(tags) <= MOST_TAGS


def test_an_address_that_no_tag_can_hold_is_left_out() -> None:
    host = ".".join(["a" * 63] * 4)
    assert address_tags(host[:250] + ":8080") == {"address": host[:250] + ":8080"}
    assert address_tags(host[:253] + ":8080") == {}
