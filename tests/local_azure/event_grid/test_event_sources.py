from __future__ import annotations

from datetime import timedelta
from random import Random
from typing import Any

import pytest
from pydantic import SecretStr

from local_azure.event_grid import EventGrid, EventSchema, EventSubscription, StorageQueue, Topic
from local_azure.event_grid.events import document
from local_azure.event_grid.hub_events import publish_hub_events
from local_azure.event_grid.vault_events import VaultEvents
from local_azure.iot_hub import IotHub
from local_azure.iot_hub.identities import DeviceSettings
from local_azure.iot_hub.twins import TwinPatch
from local_azure.kernel.clock import Clock
from local_azure.key_vault.models import Properties, Vault

VALUE = SecretStr("hunter2")
NEW_VERSION = "Microsoft.KeyVault.SecretNewVersionCreated"
NEAR_EXPIRY = "Microsoft.KeyVault.SecretNearExpiry"
EXPIRED = "Microsoft.KeyVault.SecretExpired"


@pytest.fixture
def hub(grid: EventGrid, clock: Clock, to_queue: EventSubscription) -> IotHub:
    hub = IotHub(name="egtesthub1", clock=clock, random=Random(3))  # noqa: S311 - chance
    publish_hub_events(grid, hub, clock=clock)
    grid.subscribe(to_queue)
    return hub


@pytest.fixture
def vault(clock: Clock) -> Vault:
    return Vault(clock=clock, random=Random(3))  # noqa: S311 - chance


@pytest.fixture
def vault_events(grid: EventGrid, vault: Vault, clock: Clock) -> VaultEvents:
    events = VaultEvents(
        grid,
        vault,
        vault_name="sample-kv",
        vault_url="https://vault.example",
        clock=clock,
        random=Random(3),  # noqa: S311 - chance
    )
    grid.subscribe(
        EventSubscription(name="vault", topic=Topic.VAULT, destination=StorageQueue("queue"))
    )
    return events


def due_events(grid: EventGrid) -> list[dict[str, Any]]:
    return [document(delivery.event, delivery.subscription.schema) for delivery in grid.take_due()]


def test_the_event_of_a_new_device_shows_a_default_twin(grid: EventGrid, hub: IotHub) -> None:
    hub.create_device(DeviceSettings("camera", iot_edge=True))
    hub.patch_twin("camera", TwinPatch(tags={"site": "a"}, desired={"b": 1}), etag=None)
    (event,) = due_events(grid)
    at = "2031-05-06T12:00:00.2500000Z"
    section = {"$metadata": {"$lastUpdated": at}, "$version": 1}
    assert event == {
        "id": event["id"],
        "topic": "/SUBSCRIPTIONS/S/HUB",
        "subject": "devices/camera",
        "eventType": "Microsoft.Devices.DeviceCreated",
        "eventTime": at,
        "data": {
            "twin": {
                "deviceId": "camera",
                "etag": "AAAAAAAAAAE=",
                "deviceEtag": "null",
                "status": "enabled",
                "statusUpdateTime": "0001-01-01T00:00:00",
                "connectionState": "Disconnected",
                "lastActivityTime": "0001-01-01T00:00:00",
                "cloudToDeviceMessageCount": 0,
                "authenticationType": "sas",
                "x509Thumbprint": {"primaryThumbprint": None, "secondaryThumbprint": None},
                "version": 2,
                "properties": {"desired": section, "reported": section},
            },
            "hubName": "egtesthub1",
            "deviceId": "camera",
        },
        "dataVersion": "1",
        "metadataVersion": "1",
    }


def test_a_deleted_device_has_an_event_and_an_updated_one_has_none(
    grid: EventGrid, hub: IotHub
) -> None:
    hub.create_device(DeviceSettings("camera"))
    hub.update_device(DeviceSettings("camera", status_reason="moved"), etag=None)
    hub.delete_device("camera", etag=None)
    kinds = sorted(event["eventType"] for event in due_events(grid))
    assert kinds == ["Microsoft.Devices.DeviceCreated", "Microsoft.Devices.DeviceDeleted"]


def test_an_event_has_the_attributes_of_cloud_events(grid: EventGrid, hub: IotHub) -> None:
    hub.create_device(DeviceSettings("camera"))
    (delivery,) = grid.take_due()
    shown = document(delivery.event, EventSchema.CLOUD_EVENTS)
    assert set(shown) == {"id", "source", "subject", "type", "time", "data", "specversion"}
    assert (shown["source"], shown["type"], shown["specversion"]) == (
        "/SUBSCRIPTIONS/S/HUB", "Microsoft.Devices.DeviceCreated", "1.0",
    )  # fmt: skip


@pytest.mark.usefixtures("vault_events")
def test_the_event_of_a_new_version_has_its_expiry_and_not_its_value(
    grid: EventGrid, vault: Vault
) -> None:
    version = vault.set("camera", VALUE, Properties(expires=1559082102))
    (event,) = due_events(grid)
    assert (event["eventType"], event["subject"]) == (NEW_VERSION, "camera")
    assert event["topic"] == "/subscriptions/s/vault"
    data = event["data"]
    assert {name: data[name] for name in data if name not in {"NBF", "EXP"}} == {
        "Id": f"https://vault.example/secrets/camera/{version.version}",
        "VaultName": "sample-kv",
        "ObjectType": "Secret",
        "ObjectName": "camera",
        "Version": version.version,
    }
    assert int(data["EXP"]) == 1559082102
    assert "hunter2" not in str(event)


@pytest.mark.usefixtures("vault_events")
def test_times_are_texts_numbers_null_or_absent(grid: EventGrid, vault: Vault) -> None:
    for _ in range(30):
        vault.set("camera", VALUE, Properties(expires=1559082102))
    data = [event["data"] for event in due_events(grid)]
    assert {type(each["EXP"]) for each in data} == {str, int}
    assert {each.get("NBF", "left out") for each in data} == {None, "left out"}


def expiring(vault: Vault, clock: Clock, *, days: float) -> str:
    expires = int((clock.now() + timedelta(days=days)).timestamp())
    return vault.set("camera", VALUE, Properties(expires=expires)).version


def kinds(grid: EventGrid) -> list[str]:
    return [event["eventType"] for event in due_events(grid)]


def test_a_secret_has_events_thirty_days_before_its_expiry_and_at_it(
    grid: EventGrid, vault: Vault, vault_events: VaultEvents, clock: Clock
) -> None:
    expiring(vault, clock, days=90)
    kinds(grid)
    for days, expected in ((59, []), (2, [NEAR_EXPIRY]), (28, []), (2, [EXPIRED]), (90, [])):
        vault_events.publish_expiries()
        clock.advance(timedelta(days=days))
        vault_events.publish_expiries()
        clock.advance(timedelta(minutes=16))
        vault_events.publish_expiries()
        assert kinds(grid) == expected


def test_a_short_lived_secret_is_near_its_expiry_at_once(
    grid: EventGrid, vault: Vault, vault_events: VaultEvents, clock: Clock
) -> None:
    for _ in range(5):
        expiring(vault, clock, days=1)
    newest = expiring(vault, clock, days=1)
    kinds(grid)
    vault_events.publish_expiries()
    clock.advance(timedelta(minutes=15))
    vault_events.publish_expiries()
    (event,) = due_events(grid)
    assert (event["eventType"], event["data"]["Version"]) == (NEAR_EXPIRY, newest)


def test_a_replaced_or_deleted_secret_does_not_expire(
    grid: EventGrid, vault: Vault, vault_events: VaultEvents, clock: Clock
) -> None:
    expiring(vault, clock, days=40)
    vault.set("camera", VALUE, Properties())
    vault.set("other", VALUE, Properties(expires=int(clock.now().timestamp()) + 60))
    vault.delete("other")
    kinds(grid)
    for _ in range(3):
        clock.advance(timedelta(days=20))
        vault_events.publish_expiries()
    assert kinds(grid) == []


def test_another_expiry_of_the_same_version_is_another_event(
    grid: EventGrid, vault: Vault, vault_events: VaultEvents, clock: Clock
) -> None:
    version = expiring(vault, clock, days=1)
    clock.advance(timedelta(days=2))
    vault_events.publish_expiries()
    later = int((clock.now() + timedelta(days=1)).timestamp())
    vault.update("camera", version, Properties(expires=later))
    clock.advance(timedelta(days=2))
    vault_events.publish_expiries()
    assert sorted(kinds(grid)) == sorted([NEW_VERSION, *[NEAR_EXPIRY] * 2, *[EXPIRED] * 2])


def test_a_subscription_gets_no_expiry_of_older_secrets(
    grid: EventGrid, vault: Vault, vault_events: VaultEvents, clock: Clock
) -> None:
    expiring(vault, clock, days=1)
    clock.advance(timedelta(seconds=2))
    grid.subscribe(
        EventSubscription(name="young", topic=Topic.VAULT, destination=StorageQueue("queue"))
    )
    clock.advance(timedelta(days=2))
    vault_events.publish_expiries()
    delivered = [(d.subscription.name, d.event.type) for d in grid.take_due()]
    assert sorted(delivered) == sorted(
        ("vault", kind) for kind in (NEW_VERSION, NEAR_EXPIRY, EXPIRED)
    )
