"""The registry of delivery kinds. A further kind is a module here and its line in `KINDS`."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from firstpull.model.azure_resources import Twin
from firstpull.model.delivery_kinds.edge_agent import EdgeAgentKind
from firstpull.model.delivery_kinds.kind import (
    DeliveryKind,
    Problem,
    Wanted,
    twin_at,
    was_read,
)
from firstpull.model.delivery_kinds.twin import TwinKind
from firstpull.model.twin_entry import DeliveredEntry

__all__ = [
    "DEFAULT_KIND",
    "KINDS",
    "DeliveryKind",
    "Problem",
    "Wanted",
    "entries_everywhere",
    "kind_named",
    "modules_of",
    "same_place",
    "twin_at",
    "was_read",
]

DEFAULT_KIND = "twin"
"""Where neither the request nor the policy names a kind, and in the records of earlier releases."""

KINDS: dict[str, DeliveryKind] = {
    kind.name: kind for kind in (TwinKind(), TwinKind(name="kubernetes"), EdgeAgentKind())
}
"""Every kind by its name. `kubernetes` is the twin's entry, read by the agent in the cluster."""


def kind_named(name: str) -> DeliveryKind:
    """The kind of a name. Raises LookupError for an unknown one, which nothing lets in."""
    return KINDS[name]


def same_place(one: str, other: str) -> bool:
    """Whether two kinds write the same entries."""
    return kind_named(one).place == kind_named(other).place


def modules_of(kinds: Iterable[str]) -> frozenset[str]:
    """The modules whose twins have entries of these kinds."""
    modules = (kind_named(name).module for name in kinds)
    return frozenset(module for module in modules if module is not None)


def entries_everywhere(twin: Twin) -> Collection[tuple[DeliveryKind, str, DeliveredEntry]]:
    """The readable entries of all places that were read, each once, with its connected registry."""
    places: dict[str, DeliveryKind] = {}
    for kind in KINDS.values():
        places.setdefault(kind.place, kind)
    return [
        (kind, key, entry)
        for kind in places.values()
        if twin_at(kind, twin) is not None
        for key, entry in kind.entries(twin).items()
    ]
