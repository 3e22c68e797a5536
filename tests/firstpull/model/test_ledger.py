from __future__ import annotations

import json
from datetime import timedelta

import pytest

from firstpull.model.azure_resources import TokenId
from firstpull.model.ledger import Entry, Ledger, Standing, from_json, to_json
from tests.firstpull.builders import NOW
from tests.firstpull.harness import REGISTRY

RESERVED, JOINING, MEMBER, LEAVING = Standing


def ids(names: str) -> tuple[TokenId, ...]:
    """The token of each letter."""
    return tuple(map(REGISTRY.token, names))


def ledger(**standings: Standing) -> Ledger:
    """Entries in the order in which they reserved."""
    found = Ledger()
    for number, (name, standing) in enumerate(standings.items()):
        since = NOW + timedelta(seconds=number)
        entry = Entry(token_id=REGISTRY.token(name), standing=standing, since=since)
        found = found.with_entry(entry)
    return found


@pytest.mark.parametrize(
    ("entries", "listed", "wanted", "used"),
    [
        (ledger(), "", "", 0),
        (ledger(), "xy", "xy", 2),
        (ledger(a=RESERVED), "x", "x", 2),
        (ledger(a=JOINING), "x", "xa", 2),
        (ledger(a=MEMBER), "x", "xa", 2),
        (ledger(a=MEMBER), "ax", "ax", 2),
        (ledger(a=MEMBER), "Ax", "Ax", 2),
        (ledger(a=LEAVING), "xAy", "xy", 3),
        (ledger(a=LEAVING), "", "", 1),
        (ledger(b=JOINING, a=JOINING), "x", "xba", 3),
        (ledger(a=LEAVING, b=JOINING, c=MEMBER), "acx", "cxb", 4),
    ],
)
def test_the_list_keeps_others_and_holds_ours_and_all_of_them_use_room(
    entries: Ledger, listed: str, wanted: str, used: int
) -> None:
    assert entries.wanted_list(ids(listed)) == ids(wanted)
    assert entries.used(ids(listed)) == used


def test_entries_are_in_the_order_of_reservation() -> None:
    found = ledger(b=JOINING, a=MEMBER, c=JOINING)
    assert [entry.token_id for entry in found.of(JOINING, MEMBER)] == [*ids("bac")]
    assert [entry.token_id for entry in found.without(ids("b")[0]).of(*Standing)] == [*ids("ac")]


def test_a_standing_is_changed_only_where_there_is_an_entry() -> None:
    found, (a, z) = ledger(a=JOINING), ids("az")
    assert found.standing_at(a, MEMBER).of(MEMBER)[0].since == NOW
    assert found.standing_at(z, MEMBER) == found


def test_a_ledger_survives_being_stored() -> None:
    found = ledger(a=RESERVED, b=JOINING, c=MEMBER, d=LEAVING)
    assert from_json(to_json(found)) == found


@pytest.mark.parametrize("since", ["2026-01-01T00:00:00", "0001-01-01T00:00:00+14:00", "today"])
def test_a_ledger_that_cannot_be_read_is_empty(since: str) -> None:
    """A time without a zone could be compared with no other."""
    assert from_json(b'{"entries": 7}') == Ledger()
    text = to_json(ledger(a=MEMBER)).decode()
    at = json.loads(text)["entries"].popitem()[1]["since"]
    assert from_json(text.encode()) == ledger(a=MEMBER)
    assert from_json(text.replace(at, since).encode()) == Ledger()
