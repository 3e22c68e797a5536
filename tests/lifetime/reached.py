"""What the courses of events came by, so that a promise is not kept for want of an occasion."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from firstpull.cloud import name_of
from tests.lifetime.azure import CAPACITY, PLACES
from tests.lifetime.world import World

REACHED: Counter[str] = Counter()
"""Steps after which something was so, in all courses of this process."""


def note(world: World) -> None:
    """Count what is so now."""
    REACHED.update(set(_situations(world)))


def _situations(world: World) -> Iterator[str]:
    for record in world.records():
        yield record.condition.reason.value
        if record.leaving:
            yield "a device moves"
        if record.rotation is not None:
            yield "a rotation was asked for"
        if record.delivery is not None and record.names is not None and record.place is not None:
            token = world.azure.token(record.place.registry, record.names.token)
            if token is not None and len(token.passwords) > 1:
                yield "a token has two passwords"
    for place in PLACES:
        names = world.azure.clients(place)
        if len(names) >= CAPACITY[place]:
            yield "a list is full"
            ours = {name_of(token_id) for token_id in world.cloud.ledger(place).entries}
            if {name.casefold() for name in names} <= {name.casefold() for name in ours}:
                yield "a list is full of ours"
