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
from local_azure.key_vault.models import Properties, SecretVersion, Vault

NOTHING_SAID = Properties()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def vault(clock: Clock) -> Vault:
    return Vault(clock=clock, random=random.Random(7))  # noqa: S311 - ids, not secrets


def put(
    vault: Vault, name: str, text: str = "one", properties: Properties = NOTHING_SAID
) -> SecretVersion:
    return vault.set(name, SecretStr(text), properties)


def text_of(version: SecretVersion) -> str:
    return version.value.get_secret_value()


def test_a_second_value_becomes_the_current_version_and_the_first_can_still_be_read(
    vault: Vault,
) -> None:
    first, second = put(vault, "device", "one"), put(vault, "device", "two")

    assert text_of(vault.get("device")) == "two"
    assert text_of(vault.get("device", first.version)) == "one"
    assert first.version != second.version
    assert len(second.version) == 32
    assert int(second.version, 16) >= 0


@pytest.mark.parametrize("name", ["a", "0", "Device-7", "x" * 127])
def test_names_of_letters_digits_and_hyphens_are_taken(vault: Vault, name: str) -> None:
    assert put(vault, name).name == name


@pytest.mark.parametrize("name", ["", "a_b", "a.b", "a b", "ä", "x" * 128, "a\n"])
def test_other_names_are_refused(vault: Vault, name: str) -> None:
    with pytest.raises(BadParameter):
        put(vault, name)


def test_names_differing_in_case_are_the_same_secret(vault: Vault) -> None:
    put(vault, "Device", "one")
    put(vault, "device", "two")

    assert text_of(vault.get("DEVICE")) == "two"
    assert list(vault.list_secrets()) == ["device"]
    assert vault.get("device").name == "Device"


def test_a_value_of_25_kilobytes_is_taken_and_a_byte_more_is_refused(vault: Vault) -> None:
    put(vault, "device", "é" * (25 * 512))
    with pytest.raises(BadParameter):
        put(vault, "device", "é" * (25 * 512) + "x")


def test_fifteen_tags_are_taken_and_sixteen_are_refused(vault: Vault) -> None:
    put(vault, "device", properties=Properties(tags={str(n): "" for n in range(15)}))
    sixteen = Properties(tags={str(n): "" for n in range(16)})
    with pytest.raises(BadParameter):
        put(vault, "device", properties=sixteen)
    with pytest.raises(BadParameter):
        vault.update("device", None, sixteen)


@pytest.mark.parametrize(
    "too_long",
    [
        Properties(tags={"k" * 257: "v"}),
        Properties(tags={"k": "v" * 257}),
        Properties(content_type="t" * 256),
    ],
)
def test_long_tags_and_content_types_are_refused(vault: Vault, too_long: Properties) -> None:
    with pytest.raises(BadParameter):
        put(vault, "device", properties=too_long)


def test_a_disabled_version_is_refused_while_the_others_are_served(vault: Vault) -> None:
    first = put(vault, "device", "one")
    second = put(vault, "device", "two")
    vault.update("device", second.version, Properties(enabled=False))

    for version in (None, second.version):
        with pytest.raises(SecretDisabled):
            vault.get("device", version)
    assert text_of(vault.get("device", first.version)) == "one"
    assert vault.list_secrets()["device"].enabled is False


def test_an_update_changes_only_what_it_names(vault: Vault, clock: Clock) -> None:
    said = Properties(content_type="password", tags={"a": "1"}, expires=2_000_000_000)
    old = put(vault, "device", properties=said)
    clock.advance(timedelta(seconds=60))
    new = vault.update("device", None, Properties(tags={"b": "2"}))

    assert new.tags == {"b": "2"}
    assert (new.content_type, new.expires, text_of(new)) == ("password", 2_000_000_000, "one")
    assert new.created == old.created
    assert new.updated >= old.updated + 60


def test_an_update_of_an_older_version_leaves_the_current_one_current(vault: Vault) -> None:
    first = put(vault, "device", "one")
    put(vault, "device", "two")
    vault.update("device", first.version, Properties(enabled=False))

    assert text_of(vault.get("device")) == "two"


def test_a_version_outside_its_validity_is_served(vault: Vault, clock: Clock) -> None:
    now = int(clock.now().timestamp())
    put(vault, "expired", properties=Properties(expires=now - 1))
    put(vault, "early", properties=Properties(not_before=now + 3600))

    assert text_of(vault.get("expired")) == text_of(vault.get("early")) == "one"


def test_versions_are_listed_by_id_not_by_age(vault: Vault) -> None:
    by_age = [put(vault, "device", str(n)).version for n in range(10)]

    assert list(vault.list_versions("device")) == sorted(by_age) != by_age
    assert vault.list_versions("nobody") == {}


@pytest.mark.parametrize("version", [None, "0" * 32])
def test_what_is_not_there_is_not_found(vault: Vault, version: str | None) -> None:
    if version is not None:
        put(vault, "device")
    with pytest.raises(SecretNotFound):
        vault.get("device", version)
    with pytest.raises(SecretNotFound):
        vault.update("device", version, Properties())


def test_a_deleted_secret_keeps_its_name_until_it_is_purged(vault: Vault) -> None:
    put(vault, "device")
    vault.delete("device")

    with pytest.raises(SecretNotFound):
        vault.get("device")
    with pytest.raises(SecretNotFound):
        vault.delete("device")
    with pytest.raises(SecretIsDeletedButRecoverable):
        put(vault, "Device", "two")

    vault.purge("device")
    assert text_of(put(vault, "device", "three")) == "three"
    assert len(vault.list_versions("device")) == 1


def test_a_recovered_secret_has_all_its_versions_and_attributes(vault: Vault) -> None:
    first = put(vault, "device", "one", Properties(enabled=False))
    put(vault, "device", "two")
    vault.delete("device")
    vault.recover("device")

    assert text_of(vault.get("device")) == "two"
    assert vault.list_versions("device")[first.version].enabled is False
    assert vault.list_deleted() == {}


def test_a_deleted_secret_is_purged_after_ninety_days(vault: Vault, clock: Clock) -> None:
    put(vault, "device")
    put(vault, "other")
    vault.delete("device")
    clock.advance(timedelta(days=89, hours=23))
    assert list(vault.list_deleted()) == ["device"]
    clock.advance(timedelta(hours=2))

    assert vault.list_deleted() == {}
    for gone in (vault.recover, vault.purge, vault.get_deleted):
        with pytest.raises(SecretNotFound):
            gone("device")
    put(vault, "device", "two")


def test_what_was_never_deleted_cannot_be_recovered_or_purged(vault: Vault) -> None:
    put(vault, "device")
    for refused in (vault.recover, vault.purge, vault.get_deleted):
        with pytest.raises(SecretNotFound):
            refused("device")


def test_a_secret_that_is_being_deleted_is_nowhere_and_can_neither_be_set_nor_purged(
    vault: Vault, clock: Clock
) -> None:
    vault.settings.moving_seconds = (5, 5)
    put(vault, "device")
    vault.delete("device")
    for absent in (vault.get, vault.delete, vault.get_deleted):
        with pytest.raises(SecretNotFound):
            absent("device")
    assert not vault.list_secrets()
    assert not vault.list_versions("device")
    assert not vault.list_deleted()
    for refused in (put, Vault.recover, Vault.purge):
        with pytest.raises(SecretIsBeingDeleted):
            refused(vault, "Device")

    clock.advance(timedelta(seconds=5))
    assert list(vault.list_deleted()) == ["device"]
    vault.purge("device")
    with pytest.raises(SecretIsBeingDeleted):
        put(vault, "device", "two")
    clock.advance(timedelta(seconds=5))
    assert text_of(put(vault, "device", "two")) == "two"


def test_a_secret_that_is_being_recovered_is_nowhere_until_it_is_back(
    vault: Vault, clock: Clock
) -> None:
    put(vault, "device")
    vault.delete("device")
    vault.settings.moving_seconds = (5, 5)
    vault.recover("device")
    for absent in (vault.get, vault.get_deleted):
        with pytest.raises(SecretNotFound):
            absent("device")
    with pytest.raises(SecretIsBeingRecovered):
        put(vault, "device", "two")
    clock.advance(timedelta(seconds=5))
    assert text_of(vault.get("device")) == "one"


def test_a_value_shows_in_no_text_of_the_models(vault: Vault) -> None:
    added = put(vault, "device", "hush-hush")
    for shown in (added, vault.delete("device"), vault.list_deleted()):
        assert "hush-hush" not in f"{shown!r} {shown!s}"
