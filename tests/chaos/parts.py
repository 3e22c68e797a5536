"""The parts of `make chaos`. Another part is one more entry here."""

from __future__ import annotations

import asyncio
import logging

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
    "killed-hosts": killed_hosts.killed_hosts,
    "load": load.load,
    "storage": storage.storage,
    "toxic-wire": toxic.toxic_wire,
    **{f"real-{name}": real_crashes.crashes_of(name) for name in real_crashes.REAL_SCENARIOS},
    "real-storms": hostile.storms,
    "two-workers": interleavings.on_one_device,
    "three-workers": interleavings.at_one_place,
    "random-schedules": interleavings.beyond,
    "one-crash": crashes.one_crash,
    "two-crashes": crashes.two_crashes,
    "requests-in-a-pass": orders.requests_in_a_pass,
    "hosts-apart": orders.hosts_apart,
    "lifetimes": orders.lifetimes,
    "upgrade": upgrade,
    "fuzz": fuzz,
}
"""By name, the longest first: two run at a time."""


def tally_of(chaos: Chaos) -> Tally:
    """Run one part in this process."""
    logging.getLogger().addHandler(logging.NullHandler())  # firstpull says what goes wrong
    return asyncio.run(run_part(PARTS[chaos.part], chaos))
