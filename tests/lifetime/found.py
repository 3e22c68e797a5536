"""What sets off the bugs that `test_found` shows: kept off until they are mended."""

from __future__ import annotations

from datetime import datetime

from firstpull.records import DeviceRecord, State


def has_asked_for_slots(record: DeviceRecord | None) -> bool:
    """Whether a device without names has asked for passwords of a token that it did not get."""
    return record is not None and record.names is None and bool(record.slots_requested)


def revoked_at(record: DeviceRecord) -> datetime:
    """When a device was revoked first: what late messages are held against."""
    if record.revocation is None:
        raise AssertionError("the answer to a revoke is a revoked device")
    return record.revocation.at


def keeps_what_was_anothers(record: DeviceRecord) -> bool:
    """Whether a device cannot leave where it was, whoever it is by now."""
    return record.condition.state is State.BLOCKED and bool(record.leaving)
