"""What the courses of events came by, so that a promise is not kept for want of an occasion."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from tests.lifetime.azure import CAPACITY, PLACES
from tests.lifetime.world import World

REACHED: Counter[str] = Counter()
"""Steps after which something was so, in all courses of this process."""


def note(world: World) -> None:
    """Count what is so now."""
    REACHED.update(set(_situations(world)))


def _situations(world: World) -> Iterator[str]:
    for record in world.records():
        yield record.status.condition.reason.value
        if record.status.retiring:
            yield "a device moves"
        if record.spec.rotation is not None:
            yield "a rotation was asked for"
        grant = record.status.grant
        if record.status.delivery is not None and grant is not None:
            token = world.azure.token(grant.ref.registry, grant.names.token)
            if token is not None and len(token.passwords) > 1:
                yield "a token has two passwords"
    for ref in PLACES:
        names = world.azure.clients(ref)
        if len(names) >= CAPACITY[ref]:
            yield "a list is full"
            ours = {token_id.name for token_id in world.cloud.ledger(ref).entries}
            if {name.casefold() for name in names} <= {name.casefold() for name in ours}:
                yield "a list is full of ours"
