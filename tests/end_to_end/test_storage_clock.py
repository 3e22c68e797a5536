"""The answers of the table set the clock, whatever the host's own says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest

from firstpull.adapters.storage import StorageServices, TableRecords
from firstpull.model.clock import ServiceClock, SystemClock
from firstpull.model.device_key import DeviceKey
from local_azure.stack import Stack


@dataclass(frozen=True)
class WrongClock(SystemClock):
    """A host's clock that is off."""

    azures_time: Callable[[], datetime]
    off: timedelta

    def now(self) -> datetime:
        return self.azures_time() + self.off


@pytest.mark.parametrize("off", [timedelta(minutes=-5), timedelta(), timedelta(minutes=5)], ids=str)
async def test_the_time_is_that_of_the_tables_answers(stack: Stack, off: timedelta) -> None:
    clock = ServiceClock(WrongClock(stack.kernel.clock.now, off))
    storage = StorageServices.from_connection_string(stack.storage.connection_string, clock=clock)
    await storage.prepare()
    await TableRecords(storage).get(DeviceKey(hub="h", device_id="d"))
    assert abs(clock.offset() + off) <= timedelta(seconds=2)
    assert abs(clock.now() - stack.kernel.clock.now()) <= timedelta(seconds=2)
    await storage.close()
