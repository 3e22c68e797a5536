"""What sets off the bugs that `test_found` shows: kept off until they are mended."""

from __future__ import annotations

from firstpull.records import DeviceRecord


def has_asked_for_slots(record: DeviceRecord | None) -> bool:
    """Whether a device without names has asked for passwords of a token that it did not get."""
    return record is not None and record.names is None and bool(record.slots_requested)
