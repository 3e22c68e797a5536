"""A record that an earlier release stored is read, and written back as it was."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from firstpull.model.azure_resources import ArmId, RegistryId, ScopeMapId, Slot, TokenId
from firstpull.model.device_record import Applied, DeviceRecord, Schedule, Spec, Status
from firstpull.model.record_codec import from_json, to_json
from tests.firstpull.builders import record
from tests.firstpull.harness import REGISTRY

STORED: dict[str, Any] = json.loads(Path(__file__).with_name("stored_record.json").read_text())
"""A record with something in every field."""
FIRST_RELEASE: dict[str, Any] = {
    **{
        name: value
        for name, value in STORED.items()
        if name not in ("intent_generation", "applied")
    },
    "revocation": None,
    "rotation": {**STORED["rotation"], "generation": 0},
    "slots_requested": ["password2"],
}
"""What the first release would have written."""


def test_a_stored_record_is_read_and_written_back_field_for_field() -> None:
    assert json.loads(to_json(from_json(json.dumps(STORED)))) == STORED


def test_every_field_of_a_record_is_stored() -> None:
    read, least = from_json(json.dumps(STORED)), record()
    for part in (read, read.spec, read.status, read.schedule):
        assert isinstance(part, DeviceRecord | Spec | Status | Schedule)
        assert [f.name for f in fields(part) if getattr(part, f.name) == f.default] == []
    assert from_json(to_json(least)) == least


def test_a_record_without_the_fields_that_have_a_default_is_read() -> None:
    needed = ("device", "intent", "generation", "condition", "due_at")
    read = from_json(json.dumps({name: STORED[name] for name in needed}))
    assert (read.status.grant, read.status.observed_generation, read.history) == (None, 0, ())


def test_a_record_that_spells_its_registry_in_another_case_is_the_same_record() -> None:
    text = json.dumps(STORED)
    assert str(REGISTRY) in text
    again = from_json(text.replace(str(REGISTRY), str(REGISTRY).lower()))
    assert again == from_json(text)
    assert str(REGISTRY).lower() in to_json(again)


@pytest.mark.parametrize(
    "text", ["{}", "", json.dumps(STORED | {"schema_version": 2})], ids=["{}", "empty", "later"]
)
def test_anything_else_is_no_record(text: str) -> None:
    with pytest.raises(ValueError, match=r"schema|valid"):
        from_json(text)


def test_a_record_from_before_there_were_kinds_is_delivered_in_the_twin() -> None:
    before = json.loads(json.dumps(STORED))
    del before["delivery_kind"], before["leaving"][0]["delivery_kind"]
    for intent in (before["intent"], before["applied"]["intent"]):
        del intent["delivery"], intent["delivery_options"]
    read = from_json(json.dumps(before))
    assert {grant.delivery for grant in read.grants} == {"twin"} == {read.spec.intent.delivery}


@pytest.mark.parametrize("place", ["delivery_kind", "intent"])
def test_a_record_with_a_kind_of_a_later_release_is_not_readable(place: str) -> None:
    later = {
        "delivery_kind": STORED | {"delivery_kind": "pigeon"},
        "intent": STORED | {"intent": STORED["intent"] | {"delivery": "pigeon"}},
    }[place]
    with pytest.raises(ValueError, match="unknown delivery kind"):
        from_json(json.dumps(later))


@pytest.mark.parametrize("kind", [ArmId, RegistryId, TokenId, ScopeMapId])
def test_an_arm_id_compares_without_case_and_keeps_its_spelling(kind: type[ArmId]) -> None:
    text = "/subscriptions/0000/Registries/acrTest/tokens/Press-1"
    one, other = kind(text), kind(text.upper())
    assert one == other
    assert len({one, other}) == 1
    assert sorted([kind("/B"), kind("/a"), kind("/C")]) == [kind("/A"), kind("/b"), kind("/c")]
    assert (str(one), one.name) == (text, "Press-1")
    assert one != text


def test_a_record_of_the_first_release_is_read_with_what_it_implies() -> None:
    unfinished = from_json(json.dumps(FIRST_RELEASE))
    assert unfinished.status.grant is not None
    token = unfinished.status.grant.ref.registry.token(unfinished.status.grant.names.token)
    assert unfinished.requested_slots(token) == {Slot.TWO}
    assert unfinished.spec.intent_generation == unfinished.spec.generation
    assert unfinished.status.applied is None
    done = from_json(json.dumps(FIRST_RELEASE | {"observed_generation": 5, "rotation": None}))
    assert done.status.applied == Applied(intent=done.spec.intent, generation=5)
    assert done.pending == frozenset()
