from __future__ import annotations

from datetime import timedelta

import pytest

from firstpull.model.azure_resources import TokenId
from firstpull.model.ledger import Entry, Ledger, Standing, from_json, to_json
from tests.firstpull.builders import NOW
from tests.firstpull.harness import REGISTRY


def token(name: str) -> TokenId:
    return REGISTRY.token(f"{name}")


def ledger(**standings: Standing) -> Ledger:
    """Entries in the order in which they reserved."""
    found = Ledger()
    for number, (name, standing) in enumerate(standings.items()):
        since = NOW + timedelta(seconds=number)
        found = found.with_entry(Entry(token_id=token(name), standing=standing, since=since))
    return found


RESERVED, JOINING, MEMBER, LEAVING = Standing


@pytest.mark.parametrize(
    ("entries", "listed", "wanted"),
    [
        ({}, [], []),
        ({}, ["x", "y"], ["x", "y"]),
        ({"a": RESERVED}, ["x"], ["x"]),
        ({"a": JOINING}, ["x"], ["x", "a"]),
        ({"a": MEMBER}, ["x"], ["x", "a"]),
        ({"a": MEMBER}, ["a", "x"], ["a", "x"]),
        ({"a": MEMBER}, ["A", "x"], ["A", "x"]),
        ({"a": LEAVING}, ["x", "A", "y"], ["x", "y"]),
        ({"b": JOINING, "a": JOINING}, ["x"], ["x", "b", "a"]),
        ({"a": LEAVING, "b": JOINING, "c": MEMBER}, ["a", "c", "x"], ["c", "x", "b"]),
    ],
)
def test_the_wanted_list_keeps_others_and_holds_ours(
    entries: dict[str, Standing], listed: list[str], wanted: list[str]
) -> None:
    found = ledger(**entries).wanted_list(tuple(map(token, listed)))
    assert found == tuple(map(token, wanted))


@pytest.mark.parametrize(
    ("entries", "listed", "used"),
    [
        ({}, [], 0),
        ({}, ["x"], 1),
        ({"a": RESERVED}, ["x"], 2),
        ({"a": MEMBER}, ["A", "x"], 2),
        ({"a": LEAVING}, [], 1),
    ],
)
def test_room_is_used_by_ours_wherever_they_stand_and_by_others_in_the_list(
    entries: dict[str, Standing], listed: list[str], used: int
) -> None:
    assert ledger(**entries).used(tuple(map(token, listed))) == used


def test_entries_are_found_in_any_case_and_told_in_the_order_of_reservation() -> None:
    found = ledger(b=JOINING, a=MEMBER, c=JOINING)
    assert found.get(TokenId(str(token("B")).upper())) == found.get(token("b"))
    assert [e.token_id for e in found.of(JOINING, MEMBER)] == [token(n) for n in "bac"]
    assert found.without(TokenId(str(token("b")).upper())).get(token("b")) is None


def test_a_standing_is_changed_only_where_there_is_an_entry() -> None:
    found = ledger(a=JOINING)
    assert found.standing_at(token("a"), MEMBER).of(MEMBER)[0].since == NOW
    assert found.standing_at(token("z"), MEMBER) == found


def test_a_ledger_survives_being_stored() -> None:
    found = ledger(a=RESERVED, b=JOINING, c=MEMBER, d=LEAVING)
    assert from_json(to_json(found)) == found


def test_a_ledger_that_cannot_be_read_is_empty() -> None:
    assert from_json(b'{"entries": 7}') == Ledger()
