"""Whether a host is ready, asked by many at once while storage is silent."""

from __future__ import annotations

import asyncio

import pytest

from firstpull.fleet import readiness
from firstpull.model.reasons import Reason
from tests.firstpull.harness import Harness


async def test_probes_of_a_host_whose_storage_is_silent_share_one_short_look(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(readiness, "_PATIENCE_SECONDS", 0.05)
    harness = Harness()
    host = harness.processes[0].application.readiness
    harness.cloud.silent = ("records.get",)
    calls = len(harness.cloud.calls)
    found = await asyncio.gather(*(host.errors() for _ in range(50)))
    assert {error.reason for errors in found for error in errors} == {Reason.SERVICE_UNAVAILABLE}
    assert len(harness.cloud.calls) - calls == 1
    harness.cloud.silent = ()
    harness.clock.advance(readiness._FRESH)
    assert await host.errors() == []
