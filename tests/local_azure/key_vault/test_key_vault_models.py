from __future__ import annotations

import random
from datetime import timedelta

import pytest
from pydantic import SecretStr

from local_azure.kernel.clock import Clock
from local_azure.key_vault.exceptions import (
    BadParameter,
    SecretDisabled,
    SecretIsBeingDeleted,
    SecretIsBeingRecovered,
    SecretIsDeletedButRecoverable,
    SecretNotFound,
)
from local_azure.key_vault.models import Properties, SecretVersion, Vault, VaultSettings

NO_PROPERTIES = Properties()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def vault(clock: Clock) -> Vault:
    settings = VaultSettings(moving_seconds=(0.0, 0.0))
    return Vault(clock=clock, random=random.Random(7), settings=settings)  # noqa: S311 - ids, not secrets


def put(
    vault: Vault, name: str, text: str = "one", properties: Properties = NO_PROPERTIES
) -> SecretVersion:
    return vault.set(name, SecretStr(text), properties)


def text_of(version: SecretVersion) -> str:
    return version.value.get_secret_value()


def test_names_have_letters_digits_and_hyphens_and_no_case(vault: Vault) -> None:
    for name in ("a", "0", "Device-7", "x" * 127):
        assert put(vault, name).name == name
    put(vault, "device-7", "two")
    assert text_of(vault.get("DEVICE-7")) == "two"
    assert vault.get("device-7").name == "Device-7"
    assert list(vault.list_secrets()) == ["0", "a", "device-7", "x" * 127]
    for name in ("", "a_b", "a.b", "a b", "ä", "x" * 128, "a\n"):
        with pytest.raises(BadParameter):
            put(vault, name)


@pytest.mark.parametrize(
    "properties",
    [
        Properties(tags={str(n): "" for n in range(16)}),
        Properties(tags={"k" * 257: "v"}),
        Properties(tags={"k": "v" * 257}),
        Properties(content_type="t" * 256),
    ],
)
def test_too_many_or_too_long_properties_are_refused(vault: Vault, properties: Properties) -> None:
    put(vault, "device", properties=Properties(tags={str(n): "" for n in range(15)}))
    with pytest.raises(BadParameter):
        put(vault, "device", properties=properties)
    with pytest.raises(BadParameter):
        vault.update("device", None, properties)


def test_a_value_has_at_most_25_kilobytes(vault: Vault) -> None:
    put(vault, "device", "é" * (25 * 512))
    with pytest.raises(BadParameter):
        put(vault, "device", "é" * (25 * 512) + "x")


def test_every_version_can_be_read_and_disabled_on_its_own(vault: Vault) -> None:
    first, second = put(vault, "device", "one"), put(vault, "device", "two")
    assert first.version != second.version
    assert text_of(vault.get("device")) == "two"

    vault.update("device", first.version, Properties(enabled=False))
    assert text_of(vault.get("device")) == "two"
    vault.update("device", first.version, Properties(enabled=True))
    vault.update("device", second.version, Properties(enabled=False))
    for version in (None, second.version):
        with pytest.raises(SecretDisabled):
            vault.get("device", version)
    assert text_of(vault.get("device", first.version)) == "one"
    assert vault.list_secrets()["device"].enabled is False


def test_an_update_changes_only_the_given_properties(vault: Vault, clock: Clock) -> None:
    given = Properties(content_type="password", tags={"a": "1"}, expires=2_000_000_000)
    old = put(vault, "device", properties=given)
    clock.advance(timedelta(seconds=60))
    new = vault.update("device", None, Properties(tags={"b": "2"}))

    assert new.tags == {"b": "2"}
    assert (new.content_type, new.expires, text_of(new)) == ("password", 2_000_000_000, "one")
    assert new.created == old.created
    assert new.updated >= old.updated + 60


def test_an_expired_version_is_served(vault: Vault, clock: Clock) -> None:
    put(vault, "expired", properties=Properties(expires=int(clock.now().timestamp()) - 1))
    assert text_of(vault.get("expired")) == "one"


def test_versions_are_listed_by_id_not_by_age(vault: Vault) -> None:
    by_age = [put(vault, "device", str(n)).version for n in range(10)]
    assert list(vault.list_versions("device")) == sorted(by_age) != by_age
    assert vault.list_versions("nobody") == {}


def test_a_deleted_secret_keeps_its_name_until_it_is_purged(vault: Vault) -> None:
    put(vault, "device")
    for refused in (vault.recover, vault.purge, vault.get_deleted):
        with pytest.raises(SecretNotFound):
            refused("device")
    vault.delete("device")
    for missing in (vault.get, vault.delete):
        with pytest.raises(SecretNotFound):
            missing("device")
    with pytest.raises(SecretIsDeletedButRecoverable):
        put(vault, "Device", "two")

    vault.purge("device")
    assert text_of(put(vault, "device", "three")) == "three"
    assert len(vault.list_versions("device")) == 1


def test_a_deleted_secret_is_purged_after_ninety_days(vault: Vault, clock: Clock) -> None:
    put(vault, "device")
    vault.delete("device")
    clock.advance(timedelta(days=89, hours=23))
    assert list(vault.list_deleted()) == ["device"]
    clock.advance(timedelta(hours=2))

    assert vault.list_deleted() == {}
    for missing in (vault.recover, vault.purge, vault.get_deleted):
        with pytest.raises(SecretNotFound):
            missing("device")
    put(vault, "device", "two")


def test_a_secret_is_found_nowhere_while_it_is_deleted_purged_or_recovered(
    vault: Vault, clock: Clock
) -> None:
    vault.settings.moving_seconds = (5, 5)
    put(vault, "device")
    vault.delete("device")
    for missing in (vault.get, vault.delete, vault.get_deleted):
        with pytest.raises(SecretNotFound):
            missing("device")
    assert [vault.list_secrets(), vault.list_versions("device"), vault.list_deleted()] == [{}] * 3
    for refused in (put, Vault.recover, Vault.purge):
        with pytest.raises(SecretIsBeingDeleted):
            refused(vault, "Device")

    clock.advance(timedelta(seconds=5))
    vault.recover("device")
    for missing in (vault.get, vault.get_deleted):
        with pytest.raises(SecretNotFound):
            missing("device")
    with pytest.raises(SecretIsBeingRecovered):
        put(vault, "device", "two")
    clock.advance(timedelta(seconds=5))
    assert text_of(vault.get("device")) == "one"

    vault.delete("device")
    clock.advance(timedelta(seconds=5))
    vault.purge("device")
    with pytest.raises(SecretIsBeingDeleted):
        put(vault, "device", "two")
    clock.advance(timedelta(seconds=5))
    assert text_of(put(vault, "device", "two")) == "two"


def test_no_representation_shows_a_value(vault: Vault) -> None:
    added = put(vault, "device", "hush-hush")
    for shown in (added, vault.delete("device"), vault.list_deleted()):
        assert "hush-hush" not in f"{shown!r} {shown!s}"
