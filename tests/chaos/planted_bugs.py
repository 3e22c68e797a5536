"""Bugs of the kinds that `make chaos` looks for, each with the part that has to find it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest

from firstpull.adapters import azure_errors
from firstpull.adapters.container_registry import resources as container_registry
from firstpull.membership import Membership
from firstpull.model import record_codec, transitions, twin_entry
from firstpull.model.azure_resources import ArmId, ConnectedRegistryRef
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import DeviceRecord, Grant
from firstpull.model.ledger import Ledger
from firstpull.model.ports import Records, Stored
from firstpull.reconcile.claim import HeldClaim
from firstpull.reconcile.reconciler import Reconciler
from tests.chaos import crashes, interleavings, load, orders, storage, toxic
from tests.chaos.fuzz.part import fuzz_one
from tests.chaos.hostile import in_storms
from tests.chaos.lab import Lab
from tests.chaos.real_crashes import crash_at_every_request
from tests.chaos.tally import Chaos
from tests.chaos.upgrade import part as upgrade
from tests.firstpull.promises.test_promise_restored_in_any_order import restored_at_some_moment
from tests.lifetime.planted_bugs import believe_old_records, claim_for_good, forget_grant

type Plant = Callable[[pytest.MonkeyPatch], None]


def _forget_requested_slots(patch: pytest.MonkeyPatch) -> None:
    granted = transitions.granted

    def without_slots(record: DeviceRecord, grant: Grant, **more: Any) -> DeviceRecord:  # noqa: ANN401
        return granted(record, grant, **{**more, "slots": ()})

    patch.setattr(transitions, "granted", without_slots)


def _respect_no_claim(patch: pytest.MonkeyPatch) -> None:
    async def is_free(_: Reconciler, record: DeviceRecord) -> bool:
        del record
        return True

    patch.setattr(Reconciler, "_is_free", is_free)


def _respect_dead_claims(patch: pytest.MonkeyPatch) -> None:
    is_free = Reconciler._is_free

    async def is_free_without_claim(worker: Reconciler, record: DeviceRecord) -> bool:
        return await is_free(worker, record) and record.claim is None

    patch.setattr(Reconciler, "_is_free", is_free_without_claim)


def _check_no_claim(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(HeldClaim, "check", lambda _: None)


class _NoLease:
    predecessor_vanished = False

    async def renew(self) -> None:
        """Nothing to renew."""

    def remaining_seconds(self) -> float:
        return 30.0

    async def release(self) -> None:
        """Nothing to release."""


def _write_lists_without_lease(patch: pytest.MonkeyPatch) -> None:
    async def commit(
        membership: Membership,
        ref: ConnectedRegistryRef,
        *,
        capacity: int | None,
        is_soon: bool = False,
    ) -> object:
        return await membership._commit_under(_NoLease(), ref, capacity=capacity, is_soon=is_soon)

    patch.setattr(Membership, "_commit", commit)


def _reserve_without_looking(patch: pytest.MonkeyPatch) -> None:
    async def admit(
        _: Membership, __: ConnectedRegistryRef, ledger: Ledger, *___: object, **____: object
    ) -> Ledger:
        return ledger

    patch.setattr(Membership, "_admit", admit)
    patch.setattr(Ledger, "used", lambda _ledger, listed: len(listed))


def _compare_ids_with_case(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ArmId, "__eq__", lambda one, other: str(one) == str(other))
    patch.setattr(ArmId, "__hash__", lambda one: hash(str(one)))


def _forget_retiring_grants(patch: pytest.MonkeyPatch) -> None:
    read = record_codec._record

    def without(stored: Any) -> DeviceRecord:  # noqa: ANN401 - private
        return read(replace(stored, leaving=()))

    patch.setattr(record_codec, "_record", without)


def _raise_the_schema(patch: pytest.MonkeyPatch) -> None:
    to_json = record_codec.to_json

    def renamed(record: DeviceRecord) -> str:
        return to_json(record).replace('"condition"', '"state"', 1)

    def read(text: str) -> DeviceRecord:
        return from_json(text.replace('"state"', '"condition"', 1) if _is_new(text) else text)

    def _is_new(text: str) -> bool:
        return '"condition"' not in text

    from_json = record_codec.from_json
    patch.setattr(record_codec, "to_json", renamed)
    patch.setattr(record_codec, "from_json", read)


def _trust_twins(patch: pytest.MonkeyPatch) -> None:
    def below(properties: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
        return functools.reduce(lambda found, name: found.get(name, {}), path, properties)

    patch.setattr(twin_entry, "object_at", below)


class _WithoutEtag:
    """Records that are written whatever is there."""

    def __init__(self, records: Records) -> None:
        self._records = records

    async def get(self, device: DeviceKey) -> Stored[DeviceRecord] | None:
        return await self._records.get(device)

    async def replace(self, record: DeviceRecord, *, etag: str) -> Stored[DeviceRecord]:
        there = await self.get(record.device)
        return await self._records.replace(record, etag=there.etag if there else etag)


def _write_over_requests(patch: pytest.MonkeyPatch) -> None:
    conclude = Reconciler._conclude

    async def over(worker: Reconciler, *args: Any, **more: Any) -> None:  # noqa: ANN401 - passed on
        records: Any = _WithoutEtag(worker.records)
        await conclude(replace(worker, records=records), *args, **more)

    patch.setattr(Reconciler, "_conclude", over)


def _take_silence_for_a_defect(patch: pytest.MonkeyPatch) -> None:
    unavailable = azure_errors._unavailable

    def defect(service: str, what: str) -> Exception:
        if service == container_registry.SERVICE:
            return RuntimeError(what)
        return unavailable(service, what)

    patch.setattr(azure_errors, "_unavailable", defect)


async def _one_crash(chaos: Chaos) -> None:
    await crashes.one_crash_in(chaos, "onboarding")


async def _two_workers(chaos: Chaos) -> None:
    race = interleavings.ON_ONE_DEVICE["onboarding"]
    await interleavings.explore(chaos, "onboarding", race)


async def _three_workers(chaos: Chaos) -> None:
    await interleavings.explore(chaos, "three come", interleavings.AT_ONE_PLACE["three come"])


async def _room_for_two(chaos: Chaos) -> None:
    name = "room for two of three"
    await interleavings.explore(chaos, name, interleavings.AT_ONE_PLACE[name])


async def _restored(chaos: Chaos) -> None:
    for seed in range(40):
        with chaos.case(f"restored {seed}"):
            await restored_at_some_moment(seed)


async def _storage_frozen(chaos: Chaos) -> None:
    await storage.storage_in(chaos, "frozen")


async def _twins(chaos: Chaos) -> None:
    fuzz_one(chaos, "twin", seconds=5.0)


async def _real_crash(chaos: Chaos, lab: Lab) -> None:
    await crash_at_every_request(chaos, lab, "onboard")


async def _storms(chaos: Chaos, lab: Lab) -> None:
    await in_storms(chaos, lab, range(10))


@dataclass(frozen=True, kw_only=True)
class PlantedBug:
    """A bug, and the part that has to find it; one of them needs a lab.

    Without `plant`, the app of real hosts plants what has this name there.
    """

    what: str
    plant: Plant | None = None
    part: Callable[[Chaos], Any] | None = None
    lab_part: Callable[[Chaos, Lab], Any] | None = None
    share: float = 1.0


PLANTED_BUGS = (
    PlantedBug(
        what="a slot is not noted before its password is made",
        plant=_forget_requested_slots,
        part=_one_crash,
    ),
    PlantedBug(
        what="a claim does not make the device due again", plant=claim_for_good, part=_one_crash
    ),
    PlantedBug(what="a claim never expires", plant=_respect_dead_claims, part=_one_crash),
    PlantedBug(what="two workers share a device", plant=_respect_no_claim, part=_two_workers),
    PlantedBug(
        what="a late writer does not check its claim", plant=_check_no_claim, part=_two_workers
    ),
    PlantedBug(
        what="the list is written without a lease",
        plant=_write_lists_without_lease,
        part=_three_workers,
    ),
    PlantedBug(
        what="reservations of others do not count",
        plant=_reserve_without_looking,
        part=_room_for_two,
    ),
    PlantedBug(
        what="grants that retire are not read back",
        plant=_forget_retiring_grants,
        part=upgrade.forward,
    ),
    PlantedBug(
        what="a field of the record has another name", plant=_raise_the_schema, part=upgrade.back
    ),
    PlantedBug(what="a restored record is believed", plant=believe_old_records, part=_restored),
    PlantedBug(what="a twin's sections are taken for objects", plant=_trust_twins, part=_twins),
    PlantedBug(
        what="a pass writes its outcome over a request",
        plant=_write_over_requests,
        part=orders.requests_in_a_pass,
        share=0.05,
    ),
    PlantedBug(
        what="an answer that ends too early is a defect",
        plant=_take_silence_for_a_defect,
        part=toxic.toxic_wire,
        share=0.15,
    ),
    PlantedBug(what="what fails is tried again at once", part=load.starved, share=0.02),
    PlantedBug(what="what a request needed stays in memory", part=load.messages, share=0.02),
    PlantedBug(
        what="a request is taken though no storage recorded it", part=_storage_frozen, share=0.02
    ),
    PlantedBug(
        what="the claim does not name what will be made",
        plant=forget_grant,
        lab_part=_real_crash,
        share=0.2,
    ),
    PlantedBug(
        what="ids of resources are compared with their case",
        plant=_compare_ids_with_case,
        lab_part=_storms,
    ),
)
