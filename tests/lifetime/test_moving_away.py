"""A move away from a container registry that firstpull may not read any more."""

from __future__ import annotations

import pytest

from firstpull.model.device_record import State
from firstpull.model.reasons import Reason
from tests.firstpull.records import grant_of
from tests.firstpull.refusals import DENIED, refuse
from tests.lifetime.azure import ref_of
from tests.lifetime.machine import Lifetime, device_key
from tests.lifetime.ports import LocalContainerRegistries
from tests.lifetime.short_scenarios import run

READS = ("get_token", "get_connected_registry", "get_scope_map")


def test_what_cannot_be_read_holds_up_nothing_but_its_own_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old, device = ref_of("plantone"), device_key("press-1")

    def scenario(life: Lifetime) -> None:
        life.some_are_there(["press-1"], "plantone")
        with monkeypatch.context() as patch:
            refuse(patch, LocalContainerRegistries, READS, of=old.registry, error=DENIED)
            life.ask("press-1", "portone", ["plant/app"], meanwhile=False)
            life.play(130)
            found = life.world.record(device)
            assert found is not None
            assert grant_of(found).ref == ref_of("portone")
            assert found.status.acknowledged_at is not None
            assert [held.ref for held in found.status.retiring] == [old]
            assert found.status.condition.reason is Reason.ACCESS_DENIED
        life.play(130)
        found = life.world.record(device)
        assert found is not None
        assert (found.status.condition.state, found.status.retiring) == (State.READY, ())

    run(scenario)
