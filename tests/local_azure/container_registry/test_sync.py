"""Connected registries and their syncs in process, with a clock that the test moves."""

from __future__ import annotations

import random
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

import pytest

from local_azure.container_registry.backends import (
    CloudRegistryBackend,
    ConnectedRegistryBackend,
    SyncOverride,
    deploy_connected_registry,
)
from local_azure.container_registry.exceptions import InvalidProperty
from local_azure.container_registry.models import (
    AT_ONCE,
    CloudSettings,
    ContainerRegistryCloud,
    Registry,
)
from local_azure.container_registry.resources import ConnectedRegistryChanges
from local_azure.container_registry.rules import check_actions
from local_azure.kernel.clock import Clock
from local_azure.registry.images import hello_world

from .arm_harness import READ_HELLO, REGISTRY_ID

NOON = datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)
DEVICE = "device-001"


@pytest.fixture
def clock() -> Clock:
    return Clock(source=lambda: NOON)


@pytest.fixture
def registry(clock: Clock) -> Registry:
    cloud = ContainerRegistryCloud(
        clock=clock,
        random=random.Random(3),  # noqa: S311 - chance, not secrets
        settings=CloudSettings(operation_lengths=AT_ONCE),
    )
    registry = cloud.create_registry(REGISTRY_ID, login_server="contosofleet.azurecr.io")
    registry.images["hello-world"] = {"latest": hello_world()}
    registry.images["secret-sauce"] = {"latest": hello_world()}
    registry.put_scope_map("hello-readers", actions=[READ_HELLO])
    registry.put_token(DEVICE, scope_map_id=REGISTRY_ID.child("scopeMaps", "hello-readers"))
    return registry


@pytest.fixture
def site(registry: Registry) -> ConnectedRegistryBackend:
    """Has the device as its client; syncs only on request."""
    site = deploy_connected_registry(
        registry,
        "factory1",
        login_server="127.0.0.1:8000",
        repositories=["hello-world"],
        override=SyncOverride(every_seconds=None),
    )
    set_clients(registry, DEVICE)
    return site


def set_clients(registry: Registry, *names: str) -> None:
    ids = tuple(REGISTRY_ID.child("tokens", name) for name in names)
    registry.update_connected_registry("factory1", ConnectedRegistryChanges(client_token_ids=ids))


def new_password(registry: Registry, *, expiry: datetime | None = None) -> str:
    token_id = REGISTRY_ID.child("tokens", DEVICE)
    credentials = registry.generate_credentials(token_id, name="password1", expiry=expiry)
    return credentials.value_of("password1")


def test_a_password_is_neither_stored_nor_shown(registry: Registry) -> None:
    credentials = registry.generate_credentials(REGISTRY_ID.child("tokens", DEVICE))

    for shown in (str(asdict(registry.token(DEVICE))), repr(credentials)):
        assert credentials.value_of("password1") not in shown


def test_an_expiry_in_the_past_and_an_unknown_password_to_keep_are_refused(
    registry: Registry,
) -> None:
    with pytest.raises(InvalidProperty):
        new_password(registry, expiry=NOON)
    with pytest.raises(InvalidProperty):
        registry.update_token(DEVICE, keep_passwords=["password2"])


def test_a_change_of_a_client_takes_effect_at_the_next_sync(
    registry: Registry, site: ConnectedRegistryBackend
) -> None:
    old = new_password(registry)
    assert site.authenticate(DEVICE, old) is None
    assert site.sync()
    assert site.authenticate(DEVICE, old)

    new = new_password(registry)
    other = "repositories/sensor-gateway/content/read"
    registry.update_scope_map("hello-readers", actions=[other])
    grant = site.authenticate(DEVICE, old)
    assert grant
    assert grant.actions == {READ_HELLO}
    assert site.authenticate(DEVICE, new) is None

    site.sync()
    assert site.authenticate(DEVICE, old) is None
    grant = site.authenticate(DEVICE, new)
    assert grant
    assert grant.actions == {other}


@pytest.mark.parametrize("revocation", ["disabled", "removed from the list"])
def test_a_revoked_client_logs_in_until_the_next_sync(
    registry: Registry, site: ConnectedRegistryBackend, revocation: str
) -> None:
    password = new_password(registry)
    site.sync()
    if revocation == "disabled":
        registry.update_token(DEVICE, status="disabled")
        assert CloudRegistryBackend(registry).authenticate(DEVICE, password) is None
    else:
        set_clients(registry)

    assert site.authenticate(DEVICE, password)
    site.sync()
    assert site.authenticate(DEVICE, password) is None


def test_a_deleted_token_logs_in_at_a_site_that_is_offline(
    registry: Registry, site: ConnectedRegistryBackend, clock: Clock
) -> None:
    password = new_password(registry)
    site.sync()
    site.go_offline()
    set_clients(registry)
    assert registry.delete_token(DEVICE)
    assert registry.delete_scope_map("hello-readers")
    clock.advance(timedelta(days=1))
    assert not site.sync()
    assert site.authenticate(DEVICE, password)

    site.go_online()
    assert site.sync()
    assert site.authenticate(DEVICE, password) is None


def test_a_password_expires_at_a_site_that_is_offline(
    registry: Registry, site: ConnectedRegistryBackend, clock: Clock
) -> None:
    password = new_password(registry, expiry=NOON + timedelta(days=1))
    site.sync()
    site.go_offline()
    clock.advance(timedelta(hours=23))
    assert site.authenticate(DEVICE, password)
    clock.advance(timedelta(hours=1))
    assert site.authenticate(DEVICE, password) is None


def test_a_token_that_is_created_again_has_no_passwords(
    registry: Registry, site: ConnectedRegistryBackend
) -> None:
    old = new_password(registry)
    set_clients(registry)
    registry.delete_token(DEVICE)
    registry.put_token(DEVICE, scope_map_id=REGISTRY_ID.child("scopeMaps", "hello-readers"))
    set_clients(registry, DEVICE)
    new = new_password(registry)
    site.sync()

    assert site.authenticate(DEVICE, old) is None
    assert site.authenticate(DEVICE, new)


def test_a_site_serves_the_images_that_its_sync_token_covers_as_of_the_last_sync(
    registry: Registry, site: ConnectedRegistryBackend
) -> None:
    registry.images["hello-world"]["v2"] = hello_world()
    assert set(CloudRegistryBackend(registry).repositories()) == {"hello-world", "secret-sauce"}
    assert {name: set(tags) for name, tags in site.repositories().items()} == {
        "hello-world": {"latest"}
    }
    site.sync()
    assert set(site.repositories()["hello-world"]) == {"latest", "v2"}


def test_a_site_with_a_disabled_sync_token_is_offline(
    registry: Registry, site: ConnectedRegistryBackend
) -> None:
    registry.update_token("factory1", status="disabled")
    assert not site.sync()
    assert registry.connected_registry("factory1").connection_state == "Offline"
    registry.update_token("factory1", status="enabled")
    assert site.sync()
    assert registry.connected_registry("factory1").connection_state == "Online"


def test_a_failed_sync_keeps_the_snapshot_and_is_repeated_at_the_next_tick(
    registry: Registry, site: ConnectedRegistryBackend, clock: Clock
) -> None:
    old = new_password(registry)
    site.sync()
    site.override = SyncOverride(every_seconds=60)
    new = new_password(registry)
    site.problem = "DISK_ERROR"
    clock.advance(timedelta(seconds=60))
    assert not site.sync_if_due()
    site.problem = None
    assert not site.sync_if_due()
    assert site.authenticate(DEVICE, old)
    assert site.authenticate(DEVICE, new) is None

    clock.advance(timedelta(seconds=60))
    assert site.sync_if_due()
    assert registry.connected_registry("factory1").last_sync_time == clock.now()
    assert site.authenticate(DEVICE, new)


def test_a_site_serves_its_snapshot_after_its_connected_registry_is_deleted(
    registry: Registry, site: ConnectedRegistryBackend, clock: Clock
) -> None:
    password = new_password(registry)
    site.sync()
    site.override = None
    assert registry.delete_connected_registry("factory1")
    clock.advance(timedelta(days=1))
    assert not site.sync()
    assert not site.sync_if_due()
    assert site.authenticate(DEVICE, password)


def test_a_site_syncs_by_the_schedule_of_its_resource(
    registry: Registry, site: ConnectedRegistryBackend, clock: Clock
) -> None:
    def due_at(when: datetime) -> bool:
        clock.advance(when - clock.now())
        return site.sync_if_due()

    assert not due_at(NOON + timedelta(days=1))  # only on request
    site.sync()
    site.override = None
    every_minute = [due_at(NOON + timedelta(days=1, seconds=s)) for s in (29, 30, 31, 90)]
    assert every_minute == [False, True, False, True]

    nightly = ConnectedRegistryChanges(schedule="0 1 * * *", sync_window=timedelta(hours=3))
    registry.update_connected_registry("factory1", nightly)
    night = datetime(2026, 3, 3, 1, tzinfo=UTC)
    hours = (-0.1, 0, 1, 24 + 4, 48 + 3)
    assert [due_at(night + timedelta(hours=h)) for h in hours] == [False, True, False, False, True]


def test_an_override_takes_the_place_of_the_schedule(
    site: ConnectedRegistryBackend, clock: Clock
) -> None:
    site.override = SyncOverride(every_seconds=5)
    clock.advance(timedelta(seconds=4))
    assert not site.sync_if_due()
    clock.advance(timedelta(seconds=1))
    assert site.sync_if_due()


@pytest.mark.parametrize(
    ("actions", "valid"),
    [
        (["repositories/hello-world/content/read"], True),
        (["repositories/team/a/b/metadata/write"], True),
        (["repositories/samples/*/content/read"], True),
        (["repositories/*/content/delete"], True),
        (["gateway/factory1/config/read"], True),
        ([], False),
        (["repositories/hello-world/content/read"] * 501, False),
        (["repositories/hello-world/content/push"], False),
        (["repositories/Hello/content/read"], False),
        (["repositories/sample/*/team/content/read"], False),
        (["repositories/sample/team*/content/read"], False),
        (["hello-world/content/read"], False),
        (["gateway/factory1/config/delete"], False),
    ],
)
def test_a_scope_map_has_1_to_500_actions_of_the_known_form(
    actions: list[str], *, valid: bool
) -> None:
    if valid:
        check_actions(actions)
    else:
        with pytest.raises(InvalidProperty):
            check_actions(actions)
