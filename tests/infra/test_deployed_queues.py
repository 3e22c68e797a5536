from __future__ import annotations

from firstpull.intake.poison_queue import QUEUES
from local_azure.stack.deployed_queues import deployed_queues


def test_the_local_azure_makes_the_queues_of_the_template_each_with_its_poison_queue() -> None:
    assert set(deployed_queues()) == {
        f"{name}{kind}" for name in QUEUES for kind in ("", "-poison")
    }
