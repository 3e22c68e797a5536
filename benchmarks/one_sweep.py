"""One sweep, in a process of its own: `sweeps` starts it with an app's settings."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import time

from benchmarks.memory import resident_mib
from benchmarks.storage_calls import StorageCalls
from firstpull.bootstrap import connect, wire
from firstpull.config.settings import read_settings


async def _sweep() -> dict[str, object]:
    settings = read_settings()
    ports = await connect(settings)
    sweeper = wire(settings, ports).sweeper
    storage, before = StorageCalls(os.environ), resident_mib(peak=False)
    started = time.monotonic()
    report = await sweeper.run()
    seconds = time.monotonic() - started
    # An app is never closed, so that its wiring offers no way: its connections end with it.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    return {
        "seconds": round(seconds, 1),
        "peakMib": round(resident_mib(peak=True) - before, 1),
        "storage": dict(storage.counts),
        "report": {
            "devices": report.devices,
            "drifted": sum(report.drifted.values()),
            "orphans": len(report.orphans),
            "unread": len(report.unread),
        },
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(_sweep())))
