"""Counts the situations that scenarios reach: a promise is tested only where it could break."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from tests.lifetime.sites import CAPACITY, REFS
from tests.lifetime.world import World

REACHED: Counter[str] = Counter()
"""The steps after which each situation was there, in all scenarios of this process."""


def note(world: World) -> None:
    """Count the situations that are there now."""
    REACHED.update(set(_situations(world)))


def _situations(world: World) -> Iterator[str]:
    for record in world.cloud.all_records():
        yield record.status.condition.reason.value
        if record.status.retiring:
            yield "a device moves"
        if record.spec.rotation is not None:
            yield "a rotation was asked for"
        grant = record.status.grant
        if record.status.delivery is not None and grant is not None:
            token = world.cloud.token(grant.ref.registry, grant.names.token)
            if token is not None and len(token.passwords) > 1:
                yield "a token has two passwords"
    for ref in REFS:
        clients = {name.casefold() for name in world.cloud.clients(ref)}
        if len(clients) >= CAPACITY[ref]:
            yield "a list is full"
            if clients <= {
                token_id.name.casefold() for token_id in world.cloud.ledger(ref).entries
            }:
                yield "a list is full of ours"
