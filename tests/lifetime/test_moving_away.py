"""A move away from a container registry that firstpull may not read any more."""

from __future__ import annotations

import pytest

from firstpull.model.device_record import DeviceRecord, State
from firstpull.model.reasons import Reason
from tests.firstpull.records import grant_of
from tests.firstpull.refusals import DENIED, refuse
from tests.lifetime.machine import Lifetime, device_key
from tests.lifetime.short_scenarios import run
from tests.lifetime.sites import ref_of
from tests.world.ports import FakeContainerRegistries

READS = ("get_token", "get_connected_registry", "get_scope_map")


def test_a_grant_that_cannot_be_read_holds_up_its_own_teardown_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old = ref_of("plantone")

    def record(life: Lifetime) -> DeviceRecord:
        found = life.world.record(device_key("press-1"))
        assert found is not None
        return found

    def scenario(life: Lifetime) -> None:
        life.some_are_there(["press-1"], "plantone")
        with monkeypatch.context() as patch:
            refuse(patch, FakeContainerRegistries, READS, of=old.registry, error=DENIED)
            life.ask("press-1", "portone", ["plant/app"], meanwhile=False)
            life.run_for(130)
            status = record(life).status
            assert grant_of(record(life)).ref == ref_of("portone")
            assert status.acknowledged_at is not None
            assert [grant.ref for grant in status.retiring] == [old]
            assert status.condition.reason is Reason.ACCESS_DENIED
        life.run_for(130)
        status = record(life).status
        assert (status.condition.state, status.retiring) == (State.READY, ())

    run(scenario)
