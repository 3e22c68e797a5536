"""P3, for changes by hand: the sweep finds them, and the next pass repairs them."""

from __future__ import annotations

from datetime import timedelta

from firstpull.model.device_record import State
from tests.firstpull.end_state import remains
from tests.firstpull.harness import PLANT_ONE, Harness


async def test_the_sweep_repairs_a_due_device_whose_passes_read_only_its_twin() -> None:
    """A device without an agent: nothing in its twin says that its token was deleted."""
    harness = Harness()
    harness.devices_answer = False
    device = harness.register()
    await harness.ask()
    await harness.run_for(timedelta(seconds=20))
    assert harness.state(device) is State.DELIVERED
    before = remains(harness.cloud, device)
    (token,) = harness.cloud.tokens
    harness.cloud.delete_token(token)
    await harness.reconcile(device)
    assert not harness.cloud.tokens
    harness.make_due(device)
    report = await harness.sweep()
    assert sum(report.drifted.values())
    await harness.play_what_is_due()
    assert remains(harness.cloud, device) == before
    assert harness.cloud.clients(PLANT_ONE) == [*harness.cloud.tokens] == [token]
    password = harness.cloud.twin_entry(device, PLANT_ONE)["password"]
    assert harness.cloud.accepted(token) == {password}
    harness.devices_answer = True
    await harness.run_until_quiet()
    assert harness.state(device) is State.READY
