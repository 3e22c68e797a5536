"""Devices with a key: their password is sealed in the twin, also after a loss of the record."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from joserfc.jwk import ECKey

from firstpull.model.delivery_kinds import KINDS
from firstpull.model.delivery_kinds.twin import TwinKind
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import Delivery, DeviceRecord, State
from firstpull.model.errors import Invalid, NotAllowed
from firstpull.model.reasons import Reason
from firstpull.model.record_codec import to_json
from functions.answers.devices import Wants
from local_azure.iot_hub.twins import JsonObject
from tests.firstpull.harness import PLANT_ONE, PLANT_TWO, Harness, make_process
from tests.firstpull.records import grant_of
from tests.world.calls import Fault

KEY, OTHER = ECKey.generate_key("P-256"), ECKey.generate_key("P-256")
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)


def delivery_of(record: DeviceRecord) -> Delivery:
    assert record.status.delivery is not None
    return record.status.delivery


def jwk(key: ECKey) -> dict[str, Any]:
    return dict(key.as_dict(private=False))


async def make_sealed(harness: Harness, device_id: str = "press-1") -> DeviceKey:
    device = harness.register(device_id)
    harness.cloud.devices[device].keys = [KEY]
    await harness.ask(device_id, sealingKey=jwk(KEY))
    await harness.run_until_quiet()
    assert harness.state(device) is State.READY
    return device


def sealed_entry(harness: Harness, device: DeviceKey) -> dict[str, Any]:
    entry = harness.cloud.twin_entry(device, PLANT_ONE)
    assert "password" not in entry
    return entry


async def test_the_twin_has_no_password_and_the_device_logs_in() -> None:
    harness = Harness()
    device = await make_sealed(harness)
    entry = sealed_entry(harness, device)
    (password,) = harness.cloud.accepted(entry["username"])
    assert entry["sealedTo"] == KEY.thumbprint()
    assert harness.cloud.devices[device].held == {"plantone": password}
    twin = harness.cloud.hub.twin(device.device_id)
    assert password not in json.dumps([twin.desired.values, twin.reported.values])
    assert delivery_of(harness.cloud.record(device)).id == entry["deliveryId"]


async def test_one_more_pass_a_sweep_and_the_same_request_write_nothing() -> None:
    harness = Harness()
    device = await make_sealed(harness)
    before = harness.cloud.state()
    await harness.reconcile(device)
    await harness.sweep()
    await harness.ask(sealingKey={**jwk(KEY), "kid": KEY.thumbprint(), "use": "enc"})
    await harness.run_until_quiet()
    assert harness.cloud.state() == before
    assert harness.cloud.record(device).spec.generation == 1


async def test_another_key_is_sealed_to_with_the_same_password() -> None:
    harness = Harness()
    device = await make_sealed(harness)
    harness.must_stay_logged_in = {device}
    before, delivered = sealed_entry(harness, device), delivery_of(harness.cloud.record(device))
    accepted = harness.cloud.accepted(before["username"])
    harness.cloud.devices[device].keys = [OTHER, KEY]

    await harness.ask(sealingKey=jwk(OTHER))
    await harness.run_until_quiet()

    assert harness.state(device) is State.READY
    record, entry = harness.cloud.record(device), sealed_entry(harness, device)
    assert record.spec.generation == 2
    assert (entry["sealedTo"], entry["expiresOn"]) == (OTHER.thumbprint(), before["expiresOn"])
    assert delivery_of(record).secret_version == delivered.secret_version
    assert delivery_of(record).id == entry["deliveryId"] != before["deliveryId"]
    assert harness.cloud.accepted(before["username"]) == accepted


async def test_a_device_changes_from_plain_to_sealed_and_back_without_a_new_password() -> None:
    harness = Harness()
    device = await harness.make_ready()
    harness.must_stay_logged_in = {device}
    harness.cloud.devices[device].keys = [KEY]
    plain = harness.cloud.twin_entry(device, PLANT_ONE)

    await harness.ask(sealingKey=jwk(KEY))
    await harness.run_until_quiet()
    sealed_entry(harness, device)

    await harness.ask()
    await harness.run_until_quiet()
    assert harness.cloud.twin_entry(device, PLANT_ONE) == plain


async def test_a_rotation_and_a_move_stay_sealed() -> None:
    harness = Harness()
    device = await make_sealed(harness)
    harness.must_stay_logged_in = {device}
    before = sealed_entry(harness, device)
    await harness.rotate(device)
    await harness.run_until_quiet()
    assert sealed_entry(harness, device)["expiresOn"] != before["expiresOn"]

    await harness.ask(connectedRegistry="planttwo", sealingKey=jwk(KEY))
    await harness.run_until_quiet()
    assert harness.state(device) is State.READY
    moved = harness.cloud.twin_entry(device, PLANT_TWO)
    assert moved["sealedTo"] == KEY.thumbprint()
    assert harness.cloud.twin_entry(device, PLANT_ONE) == {}
    assert grant_of(harness.cloud.record(device)).ref == PLANT_TWO


@pytest.mark.parametrize("field", ["address", "sealed", "deliveryId", "sealedTo", "password"])
async def test_an_edited_entry_is_recognised_and_delivered_again(field: str) -> None:
    harness = Harness()
    device = await make_sealed(harness)
    before = sealed_entry(harness, device)
    harness.cloud.edit_entry(device, PLANT_ONE, {field: "edited"})

    await harness.sweep()
    await harness.run_until_quiet()

    after = sealed_entry(harness, device)
    assert harness.state(device) is State.READY
    sealed = {"sealed", "deliveryId"}
    assert {k: v for k, v in after.items() if k not in sealed} == {
        k: v for k, v in before.items() if k not in sealed
    }
    # The same delivery, sealed anew.
    first, second = before["deliveryId"].split("."), after["deliveryId"].split(".")
    assert first[0] == second[0]
    assert first[1] != second[1]


async def test_a_crash_after_the_twin_was_written_seals_nothing_again() -> None:
    harness = Harness(sync_every=None)
    device = harness.register()
    harness.cloud.devices[device].keys = [KEY]
    await harness.ask(sealingKey=jwk(KEY))
    harness.cloud.inject(Fault.CRASH_AFTER, at="hubs.patch_desired")
    await harness.run_for(5 * MINUTE)
    entry = sealed_entry(harness, device)
    assert harness.crashes == 1
    assert harness.cloud.writes()["hubs.patch_desired"] == 1
    assert delivery_of(harness.cloud.record(device)).id == entry["deliveryId"]


async def test_a_lost_record_comes_back_and_never_delivers_in_plain() -> None:
    harness = Harness()
    device = await make_sealed(harness)
    before = sealed_entry(harness, device)
    harness.cloud.lose_record(device)
    harness.cloud.queue.clear()
    rebuilding = harness.processes[0].application.rebuilding
    await rebuilding.one(device, dry_run=False)
    await harness.run_until_quiet()
    record = harness.cloud.record(device)
    assert sealed_entry(harness, device) == before
    key = record.spec.intent.sealing_key
    assert key is not None
    assert (key.thumbprint, key.jwk) == (KEY.thumbprint(), None)
    shown = Wants.read(record.spec.intent)
    assert (shown.sealed_to, shown.sealing_key) == (KEY.thumbprint(), None)

    await harness.rotate(device)
    await harness.run_for(5 * MINUTE)
    assert harness.reason(device) is Reason.SEALING_KEY_NOT_KNOWN
    assert sealed_entry(harness, device) == before

    await harness.ask(sealingKey=jwk(KEY))
    await harness.run_until_quiet()
    assert harness.state(device) is State.READY
    assert sealed_entry(harness, device)["expiresOn"] != before["expiresOn"]


async def test_a_tag_gives_a_lost_device_no_plain_password() -> None:
    harness = Harness()
    device = await make_sealed(harness)
    harness.opt_in(device)
    harness.cloud.lose_record(device)
    harness.cloud.queue.clear()
    await harness.sweep()
    await harness.run_for(5 * MINUTE)
    sealed_entry(harness, device)
    assert harness.state(device) is State.READY


async def test_a_tag_cannot_name_a_key() -> None:
    harness = Harness()
    device = harness.register()
    tag: JsonObject = {
        "connectedRegistry": "plantone",
        "repositories": ["plant/app"],
        "sealingKey": jwk(KEY),
    }
    harness.cloud.patch_twin(device, tags={"firstpull": tag})
    _, process = harness._next_process()
    with pytest.raises(Invalid) as refused:
        await process.application.event_handler.onboard_if_opted_in(device, requested_by="a test")
    assert [error.path for error in refused.value.errors] == ["/tags/firstpull/sealingKey"]


def forbid_plain(harness: Harness) -> None:
    harness.processes = [make_process(harness.cloud, harness.policy, requires_sealing=True)]


async def test_where_plain_is_forbidden_a_request_without_a_key_is_refused() -> None:
    harness = Harness()
    forbid_plain(harness)
    with pytest.raises(NotAllowed) as refused:
        await harness.ask()
    assert [error.path for error in refused.value.errors] == ["/sealingKey"]
    await make_sealed(harness)


async def test_where_plain_is_forbidden_later_a_device_gets_no_new_password_in_plain() -> None:
    harness = Harness()
    device = await harness.make_ready()
    plain = harness.cloud.twin_entry(device, PLANT_ONE)
    forbid_plain(harness)
    await harness.reconcile(device)
    assert harness.reason(device) is Reason.SEALING_REQUIRED
    await harness.run_after(60 * DAY)
    assert harness.cloud.twin_entry(device, PLANT_ONE) == plain
    assert harness.reason(device) is Reason.SEALING_REQUIRED

    harness.cloud.devices[device].keys = [KEY]
    await harness.ask(sealingKey=jwk(KEY))
    await harness.run_until_quiet()
    assert harness.state(device) is State.READY
    sealed_entry(harness, device)


async def test_a_kind_whose_consumer_opens_no_seal_takes_no_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(KINDS, "deaf", TwinKind(name="deaf", seals=False))
    harness = Harness()
    harness.register()
    with pytest.raises(NotAllowed) as refused:
        await harness.ask(delivery="deaf", sealingKey=jwk(KEY))
    (error,) = refused.value.errors
    assert error.path == "/sealingKey"
    assert "deaf" in error.message
    await harness.ask(delivery="kubernetes", sealingKey=jwk(KEY))


async def test_the_history_says_to_which_key_a_request_seals() -> None:
    harness = Harness()
    device = await make_sealed(harness)
    await harness.ask(sealingKey=jwk(OTHER))
    details = " ".join(entry.detail for entry in harness.cloud.record(device).history)
    assert f"sealed to {KEY.thumbprint()[:12]}" in details
    assert f"sealed to {OTHER.thumbprint()[:12]}" in details


async def test_the_record_has_the_public_key_and_no_password() -> None:
    harness = Harness()
    device = await make_sealed(harness)
    text = to_json(harness.cloud.record(device))
    (password,) = harness.cloud.accepted(sealed_entry(harness, device)["username"])
    assert jwk(KEY)["x"] in text
    assert password not in text
    assert str(KEY.as_dict(private=True)["d"]) not in text
