"""The parts of `make chaos`. Another part is one more entry here."""

from __future__ import annotations

import asyncio
import logging
import traceback

from tests import conftest  # noqa: F401 - before any HTTP client: whom this process trusts
from tests.chaos import (
    crashes,
    hostile,
    interleavings,
    killed_hosts,
    load,
    orders,
    real_crashes,
    storage,
    toxic,
)
from tests.chaos.fuzz.part import fuzz
from tests.chaos.tally import Chaos, Part, Tally, run_part
from tests.chaos.upgrade.part import upgrade

PARTS: dict[str, Part] = {
    "three-workers": interleavings.at_one_place,
    **{f"real-{name}": real_crashes.crashes_of(name) for name in real_crashes.REAL_SCENARIOS},
    "killed-hosts": killed_hosts.killed_hosts,
    "toxic-wire": toxic.toxic_wire,
    "real-storms": hostile.storms,
    "fuzz": fuzz,
    "load": load.load,
    "requests-in-a-pass": orders.requests_in_a_pass,
    "storage": storage.storage,
    "upgrade": upgrade,
    "one-crash": crashes.one_crash,
    "two-workers": interleavings.on_one_device,
    "two-crashes": crashes.two_crashes,
    "hosts-apart": orders.hosts_apart,
    "random-schedules": interleavings.beyond,
    "lifetimes": orders.lifetimes,
}
"""By name, the longest first: two run at a time."""


def tally_of(chaos: Chaos) -> Tally:
    """Run one part in this process. An error of its own is a failure, too: others go on."""
    logging.getLogger().addHandler(logging.NullHandler())  # firstpull says what goes wrong
    try:
        return asyncio.run(run_part(PARTS[chaos.part], chaos))
    except Exception:
        chaos.tally.failures.append(f"{chaos.part} ended: {traceback.format_exc()}")
        return chaos.tally
