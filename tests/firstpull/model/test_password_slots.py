from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firstpull.model.azure_resources import NewPassword, Password, SecretVersion, Slot, Token
from firstpull.model.password_slots import (
    current_credential,
    slot_to_fill,
    superseded_versions,
    tags_for,
)
from tests.firstpull.builders import (
    MADE,
    NOW,
    PASSWORD,
    credential,
    password,
    secret_version,
    token,
)

ONE, TWO = Slot.ONE, Slot.TWO
LATER = MADE + timedelta(hours=1)
EXPIRED = timedelta(hours=1)


@pytest.mark.parametrize(
    ("passwords", "requested", "in_use", "slot"),
    [
        ((), (), (), ONE),
        ((password(ONE),), (), (ONE,), TWO),
        ((password(TWO),), (), (TWO,), ONE),
        ((password(ONE), password(TWO)), (), (ONE,), None),
        ((password(ONE), password(TWO)), (), (), None),
        ((password(ONE),), (), (), TWO),
        ((password(ONE, lives=None), password(TWO)), (), (), None),
        ((password(ONE, lives=EXPIRED), password(TWO)), (), (TWO,), ONE),
        ((password(ONE), password(TWO, lives=EXPIRED)), (), (ONE,), TWO),
        ((password(ONE, lives=EXPIRED),), (), (ONE,), ONE),
        ((password(ONE),), (ONE,), (), ONE),
        ((password(ONE), password(TWO)), (TWO,), (ONE,), TWO),
        ((password(ONE), password(TWO)), (ONE,), (TWO,), ONE),
        ((password(ONE), password(TWO)), (ONE,), (ONE,), None),
        ((password(ONE),), (TWO,), (ONE,), TWO),
        ((), (TWO,), (), TWO),
    ],
)
def test_the_slot_for_a_new_password(
    passwords: tuple[Password, ...],
    requested: tuple[Slot, ...],
    in_use: tuple[Slot, ...],
    slot: Slot | None,
) -> None:
    assert slot_to_fill(token(*passwords), now=NOW, requested=requested, in_use=in_use) is slot


def test_the_first_slot_is_for_a_device_without_a_token() -> None:
    assert slot_to_fill(None, now=NOW, requested=(), in_use=()) is ONE


slots = st.frozensets(st.sampled_from(list(Slot)))
lives = st.one_of(st.none(), st.integers(-3, 3).map(lambda days: timedelta(days=1 + days)))


@given(st.dictionaries(st.sampled_from(list(Slot)), lives), slots, slots)
def test_a_live_slot_that_may_be_in_use_is_never_chosen(
    found: dict[Slot, timedelta | None], requested: frozenset[Slot], in_use: frozenset[Slot]
) -> None:
    passwords = [password(slot, lives=life) for slot, life in found.items()]
    chosen = slot_to_fill(token(*passwords), now=NOW, requested=requested, in_use=in_use)
    live = {p.slot for p in passwords if p.is_live(NOW)}
    if chosen is None:
        assert live - (requested - in_use) == set(Slot)
    elif chosen in live:
        assert chosen in requested
        assert chosen not in in_use


def test_the_current_credential_is_the_newest_that_is_stored() -> None:
    old, new = password(ONE), password(TWO, made=LATER)
    stored = (secret_version("v1", of=old), secret_version("v2", of=new))
    found = current_credential(token(old, new), stored, now=NOW)
    assert found == credential(TWO, version="v2", made=LATER)


@pytest.mark.parametrize(
    ("found", "versions"),
    [
        (None, (secret_version(),)),
        (token(), (secret_version(),)),
        (token(password()), ()),
        (token(password()), (secret_version(enabled=False),)),
        (token(password(made=LATER)), (secret_version(),)),
        (token(password(TWO)), (secret_version(),)),
        (token(password(lives=EXPIRED)), (secret_version(of=password(lives=EXPIRED)),)),
        (token(password(lives=None)), (secret_version(of=password(lives=None)),)),
        (token(password()), (SecretVersion(version="v1", enabled=True, expires_at=None),)),
    ],
    ids=[
        "no token",
        "no password",
        "no version",
        "the version is disabled",
        "the slot was filled again",
        "it is of the other slot",
        "it has expired",
        "it never expires, so somebody else made it",
        "somebody else stored it",
    ],
)
def test_a_password_that_is_not_both_valid_and_stored_is_no_credential(
    found: Token | None, versions: tuple[SecretVersion, ...]
) -> None:
    assert current_credential(found, versions, now=NOW) is None


def test_the_time_of_creation_is_compared_to_the_millisecond_in_any_zone() -> None:
    created = datetime(2026, 4, 1, 9, 30, 0, 123456, tzinfo=UTC)
    new = NewPassword(slot=ONE, created_at=created, expires_at=None, value=PASSWORD)
    assert tags_for(new, more={"a": "b"}) == {
        "a": "b",
        "slot": "password1",
        "createdAt": "2026-04-01T09:30:00.123+00:00",
    }
    elsewhere = created.astimezone(timezone(timedelta(hours=-7))).replace(microsecond=123999)
    seen = Password(slot=ONE, created_at=elsewhere, expires_at=NOW + timedelta(days=1))
    tags = tags_for(new, more={})
    stored = SecretVersion(version="v1", enabled=True, expires_at=None, tags=tags)
    assert current_credential(token(seen), (stored,), now=NOW) is not None


def test_enabled_versions_without_their_password_are_superseded() -> None:
    old, new = password(ONE), password(ONE, made=LATER)
    stored = (
        secret_version("v1", of=old),
        secret_version("v2", of=new),
        secret_version("v3", of=password(TWO)),
        secret_version("v4", of=password(TWO), enabled=False),
    )
    assert superseded_versions(token(new), stored) == ("v1", "v3")
    assert superseded_versions(None, stored) == ("v1", "v2", "v3")


@pytest.mark.parametrize("delivered", ["a", "b", "c"])
def test_of_the_versions_of_one_password_the_delivered_one_is_current(delivered: str) -> None:
    versions = [secret_version(version) for version in "abc"]
    found = current_credential(token(password(ONE)), versions, now=NOW, delivered=delivered)
    assert found is not None
    assert found.version == delivered
