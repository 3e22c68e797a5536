"""Rules and snapshots in process, with a clock that the test moves."""

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
from local_azure.container_registry.exceptions import (
    AlreadyActivated,
    InvalidProperty,
    TokenNotActive,
    TooManyConnectedRegistries,
)
from local_azure.container_registry.models import CloudSettings, ContainerRegistryCloud, Registry
from local_azure.container_registry.resources import (
    ConnectedRegistryChanges,
    ConnectedRegistrySettings,
)
from local_azure.container_registry.rules import allows, check_actions
from local_azure.kernel.clock import Clock
from local_azure.registry.images import hello_world
from local_azure.resource_manager.exceptions import ArmError

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
        settings=CloudSettings(token_activation_seconds=(0.0, 0.0)),
    )
    registry = cloud.create_registry(REGISTRY_ID, login_server="contosofleet.azurecr.io")
    registry.images["hello-world"] = {"latest": hello_world()}
    registry.images["secret-sauce"] = {"latest": hello_world()}
    registry.put_scope_map("hello-readers", actions=[READ_HELLO])
    registry.put_token(DEVICE, scope_map_id=REGISTRY_ID.child("scopeMaps", "hello-readers"))
    return registry


@pytest.fixture
def site(registry: Registry) -> ConnectedRegistryBackend:
    """Serves the device already; syncs only on request."""
    site = deploy_connected_registry(
        registry,
        "factory1",
        login_server="127.0.0.1:8000",
        repositories=["hello-world"],
        override=SyncOverride(every_seconds=None),
    )
    admit(registry, DEVICE)
    return site


def admit(registry: Registry, *names: str) -> None:
    ids = tuple(REGISTRY_ID.child("tokens", name) for name in names)
    registry.update_connected_registry("factory1", ConnectedRegistryChanges(client_token_ids=ids))


def new_password(registry: Registry, *, expiry: datetime | None = None) -> str:
    token_id = REGISTRY_ID.child("tokens", DEVICE)
    credentials = registry.generate_credentials(token_id, name="password1", expiry=expiry)
    return credentials.value_of("password1")


def test_a_token_becomes_active_within_the_time_that_the_cloud_takes(
    registry: Registry, clock: Clock
) -> None:
    registry.surroundings.settings.token_activation_seconds = (0.2, 1.0)
    token = registry.put_token(
        "device-002", scope_map_id=REGISTRY_ID.child("scopeMaps", "hello-readers")
    )
    token_id = REGISTRY_ID.child("tokens", token.name)
    clock.advance(timedelta(seconds=0.19))
    assert token.provisioning.state(clock.now()) == "Creating"
    with pytest.raises(TokenNotActive):
        registry.generate_credentials(token_id)
    clock.advance(timedelta(seconds=0.82))
    assert token.provisioning.state(clock.now()) == "Succeeded"
    assert len(registry.generate_credentials(token_id).passwords) == 2


def test_a_password_is_not_found_in_what_the_registry_keeps(registry: Registry) -> None:
    password = new_password(registry)
    assert password not in str(asdict(registry.token(DEVICE)))


def test_generated_credentials_do_not_show_their_values(registry: Registry) -> None:
    token_id = REGISTRY_ID.child("tokens", DEVICE)
    credentials = registry.generate_credentials(token_id)
    assert credentials.value_of("password1") not in repr(credentials)


def test_an_expiry_in_the_past_is_refused(registry: Registry) -> None:
    with pytest.raises(InvalidProperty):
        new_password(registry, expiry=NOON)


def test_a_password_that_does_not_exist_cannot_be_kept(registry: Registry) -> None:
    with pytest.raises(InvalidProperty):
        registry.update_token(DEVICE, keep_passwords=["password2"])


def test_a_new_client_is_known_at_the_site_after_a_sync_and_not_before(
    registry: Registry, site: ConnectedRegistryBackend
) -> None:
    password = new_password(registry)
    assert site.authenticate(DEVICE, password) is None
    assert site.sync()
    grant = site.authenticate(DEVICE, password)
    assert grant
    assert grant.actions == {READ_HELLO}


def test_a_new_password_is_known_at_the_site_after_a_sync_and_the_old_one_until_then(
    registry: Registry, site: ConnectedRegistryBackend
) -> None:
    old = new_password(registry)
    site.sync()
    new = new_password(registry)
    assert site.authenticate(DEVICE, old)
    assert site.authenticate(DEVICE, new) is None
    site.sync()
    assert site.authenticate(DEVICE, old) is None
    assert site.authenticate(DEVICE, new)


def test_a_client_that_has_left_the_list_logs_in_until_the_next_sync(
    registry: Registry, site: ConnectedRegistryBackend
) -> None:
    password = new_password(registry)
    site.sync()
    admit(registry)
    assert site.authenticate(DEVICE, password)
    site.sync()
    assert site.authenticate(DEVICE, password) is None


def test_a_disabled_client_logs_in_until_the_next_sync(
    registry: Registry, site: ConnectedRegistryBackend
) -> None:
    password = new_password(registry)
    site.sync()
    registry.update_token(DEVICE, status="disabled")
    assert CloudRegistryBackend(registry).authenticate(DEVICE, password) is None
    assert site.authenticate(DEVICE, password)
    site.sync()
    assert site.authenticate(DEVICE, password) is None


def test_a_changed_scope_map_holds_at_the_site_after_a_sync(
    registry: Registry, site: ConnectedRegistryBackend
) -> None:
    password = new_password(registry)
    site.sync()
    other = "repositories/sensor-gateway/content/read"
    registry.update_scope_map("hello-readers", actions=[other])
    before = site.authenticate(DEVICE, password)
    site.sync()
    after = site.authenticate(DEVICE, password)
    assert before
    assert after
    assert before.actions == {READ_HELLO}
    assert after.actions == {other}


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


def test_a_site_serves_the_repositories_that_its_sync_token_covers(
    registry: Registry, site: ConnectedRegistryBackend
) -> None:
    assert set(site.repositories()) == {"hello-world"}
    assert set(CloudRegistryBackend(registry).repositories()) == {"hello-world", "secret-sauce"}


def test_a_new_tag_is_served_at_the_site_after_a_sync(
    registry: Registry, site: ConnectedRegistryBackend
) -> None:
    registry.images["hello-world"]["v2"] = hello_world()
    assert set(site.repositories()["hello-world"]) == {"latest"}
    site.sync()
    assert set(site.repositories()["hello-world"]) == {"latest", "v2"}


def test_a_site_that_is_offline_keeps_its_snapshot_and_shows_as_offline(
    registry: Registry, site: ConnectedRegistryBackend, clock: Clock
) -> None:
    password = new_password(registry)
    site.sync()
    site.go_offline()
    clock.advance(timedelta(hours=1))
    assert not site.sync()
    assert site.authenticate(DEVICE, password)
    offline = registry.connected_registry("factory1")
    assert (offline.connection_state, offline.last_sync_time) == ("Offline", NOON)
    site.go_online()
    assert registry.connected_registry("factory1").connection_state == "Offline"
    assert site.sync()
    online = registry.connected_registry("factory1")
    assert (online.connection_state, online.last_sync_time) == ("Online", clock.now())


def test_a_site_whose_sync_token_is_disabled_syncs_no_more_and_shows_as_offline(
    registry: Registry, site: ConnectedRegistryBackend
) -> None:
    registry.update_token("factory1", status="disabled")
    assert registry.connected_registry("factory1").connection_state == "Online"
    assert not site.sync()
    assert registry.connected_registry("factory1").connection_state == "Offline"
    registry.update_token("factory1", status="enabled")
    assert site.sync()
    assert registry.connected_registry("factory1").connection_state == "Online"


def test_a_sync_that_fails_is_tried_again_at_the_next_tick(
    registry: Registry, site: ConnectedRegistryBackend, clock: Clock
) -> None:
    site.override = SyncOverride(every_seconds=60)
    site.problem = "DISK_ERROR"
    clock.advance(timedelta(seconds=60))
    assert site.sync_is_due(clock.now())
    assert not site.sync_if_due()
    assert not site.sync_is_due(clock.now())
    site.problem = None
    clock.advance(timedelta(seconds=60))
    assert site.sync_if_due()
    assert registry.connected_registry("factory1").last_sync_time == clock.now()


def test_a_site_with_a_problem_serves_what_it_knew(
    registry: Registry, site: ConnectedRegistryBackend
) -> None:
    old = new_password(registry)
    site.sync()
    new = new_password(registry)
    site.problem = "DISK_STORAGE_FULL"
    assert not site.sync()
    assert site.authenticate(DEVICE, old)
    assert site.authenticate(DEVICE, new) is None


def test_a_revoked_device_logs_in_at_a_site_that_has_been_offline_since(
    registry: Registry, site: ConnectedRegistryBackend, clock: Clock
) -> None:
    password = new_password(registry)
    site.sync()
    site.go_offline()
    registry.update_token(DEVICE, status="disabled")
    admit(registry)
    assert registry.delete_token(DEVICE)
    assert registry.delete_scope_map("hello-readers")
    clock.advance(timedelta(days=1))
    assert not site.sync_if_due()
    assert CloudRegistryBackend(registry).authenticate(DEVICE, password) is None
    assert site.authenticate(DEVICE, password)
    site.go_online()
    assert site.sync()
    assert site.authenticate(DEVICE, password) is None


def test_a_name_that_was_deleted_comes_back_without_its_passwords(
    registry: Registry, site: ConnectedRegistryBackend
) -> None:
    old = new_password(registry)
    admit(registry)
    registry.delete_token(DEVICE)
    registry.put_token(DEVICE, scope_map_id=REGISTRY_ID.child("scopeMaps", "hello-readers"))
    assert registry.token(DEVICE).passwords == ()
    admit(registry, DEVICE)
    new = new_password(registry)
    site.sync()
    assert site.authenticate(DEVICE, old) is None
    assert site.authenticate(DEVICE, new)


def test_a_site_whose_connected_registry_is_deleted_serves_on(
    registry: Registry, site: ConnectedRegistryBackend
) -> None:
    password = new_password(registry)
    site.sync()
    assert registry.delete_connected_registry("factory1")
    assert not site.sync()
    assert not site.sync_is_due(NOON + timedelta(days=1))
    assert site.authenticate(DEVICE, password)


def test_by_default_a_site_syncs_every_minute(
    registry: Registry, site: ConnectedRegistryBackend, clock: Clock
) -> None:
    site.override = None
    assert not site.sync_is_due(NOON + timedelta(seconds=29))
    assert site.sync_is_due(NOON + timedelta(seconds=30))
    clock.advance(timedelta(seconds=30))
    assert site.sync_if_due()
    assert not site.sync_if_due()
    assert registry.connected_registry("factory1").last_sync_time == clock.now()


def test_a_site_with_a_window_syncs_only_inside_of_it(
    registry: Registry, site: ConnectedRegistryBackend
) -> None:
    site.override = None
    nightly = ConnectedRegistryChanges(schedule="0 1 * * *", sync_window=timedelta(hours=3))
    registry.update_connected_registry("factory1", nightly)
    one_at_night = datetime(2026, 3, 2, 1, 0, tzinfo=UTC)
    due = {
        hours: site.sync_is_due(one_at_night + timedelta(hours=hours)) for hours in (-0.1, 0, 3, 4)
    }
    assert due == {-0.1: False, 0: True, 3: True, 4: False}


def test_an_override_takes_the_place_of_the_schedule(site: ConnectedRegistryBackend) -> None:
    later = NOON + timedelta(days=30)
    assert not site.sync_is_due(later)
    site.override = SyncOverride(every_seconds=5)
    assert not site.sync_is_due(NOON + timedelta(seconds=4))
    assert site.sync_is_due(NOON + timedelta(seconds=5))


def test_a_second_deployment_needs_a_deactivation_first(
    registry: Registry, site: ConnectedRegistryBackend
) -> None:
    login_server = registry.connected_registry(site.name).login_server
    with pytest.raises(AlreadyActivated):
        registry.activate_connected_registry(site.name, login_server)
    registry.deactivate_connected_registry(site.name)
    registry.activate_connected_registry(site.name, login_server)
    assert site.sync()


def test_a_read_write_site_takes_pushes_and_a_read_only_one_does_not(
    registry: Registry, site: ConnectedRegistryBackend
) -> None:
    other = deploy_connected_registry(
        registry, "factory2", login_server=None, repositories=["*"], mode="ReadWrite"
    )
    assert (site.read_only, other.read_only) == (True, False)
    assert set(other.repositories()) == {"hello-world", "secret-sauce"}


@pytest.mark.usefixtures("site")
def test_the_mode_of_a_connected_registry_cannot_be_changed(registry: Registry) -> None:
    with pytest.raises(InvalidProperty):
        registry.put_connected_registry(
            "factory1",
            mode="ReadWrite",
            sync_token_id=REGISTRY_ID.child("tokens", "factory1"),
            settings=ConnectedRegistrySettings(),
        )


@pytest.mark.usefixtures("site")
def test_a_registry_has_no_more_connected_registries_than_it_takes(registry: Registry) -> None:
    registry.surroundings.settings.max_connected_registries = 1
    with pytest.raises(TooManyConnectedRegistries):
        deploy_connected_registry(registry, "factory2", login_server=None, repositories=["*"])


@pytest.mark.parametrize(
    "action",
    [
        "repositories/hello-world/content/read",
        "repositories/team/a/b/metadata/write",
        "repositories/samples/*/content/read",
        "repositories/*/content/delete",
        "gateway/factory1/config/read",
    ],
)
def test_actions_that_a_scope_map_takes(action: str) -> None:
    check_actions([action])


@pytest.mark.parametrize(
    "actions",
    [
        [],
        ["repositories/hello-world/content/read"] * 501,
        ["repositories/hello-world/content/push"],
        ["repositories/Hello/content/read"],
        ["repositories/sample/*/team/content/read"],
        ["repositories/sample/team*/content/read"],
        ["hello-world/content/read"],
        ["gateway/factory1/config/delete"],
    ],
)
def test_actions_that_no_scope_map_takes(actions: list[str]) -> None:
    with pytest.raises(ArmError):
        check_actions(actions)


@pytest.mark.parametrize(
    ("granted", "repository", "allowed"),
    [
        ("repositories/hello-world/content/read", "hello-world", True),
        ("repositories/hello-world/content/read", "hello-world/sub", False),
        ("repositories/samples/*/content/read", "samples/a", True),
        ("repositories/samples/*/content/read", "samples/a/b", True),
        ("repositories/samples/*/content/read", "samples", False),
        ("repositories/samples/*/content/read", "samples2/a", False),
        ("repositories/*/content/read", "team/a", True),
        ("repositories/hello-world/metadata/read", "hello-world", False),
    ],
)
def test_wildcards_cover_what_is_below_them(
    granted: str, repository: str, *, allowed: bool
) -> None:
    assert allows([granted], repository=repository, action="content/read") is allowed
