"""Two container registries, four connected registries, and two sites over two of these each."""

from __future__ import annotations

import json

from firstpull.config.policy import Policy
from firstpull.model.azure_resources import ConnectedRegistryRef, RegistryId
from tests.world.cloud import HUB

VAULT = "vault.example"
_GROUP = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/Plants"
_FIRST, _SECOND = (
    RegistryId(f"{_GROUP}/providers/Microsoft.ContainerRegistry/registries/{name}")
    for name in ("acrfirst", "acrsecond")
)
CAPACITY = {
    ConnectedRegistryRef(registry=registry, name=name): capacity
    for registry, name, capacity in (
        (_FIRST, "plantone", 2),
        (_FIRST, "planttwo", 3),
        (_SECOND, "portone", 2),
        (_SECOND, "porttwo", 3),
    )
}
"""The connected registries, and how many clients each takes by firstpull's policy."""
REFS = tuple(CAPACITY)
SERVICE_LIMIT = 5
"""How many clients the service takes: more, so that firstpull has to keep its promise itself."""
SITES = {"plant": ("plantone", "planttwo"), "coast": ("planttwo", "portone")}
HAND_MADE = "hand-"
"""The prefix of tokens that may be adopted."""


def ref_of(connected_registry: str) -> ConnectedRegistryRef:
    """The connected registry of a name; no two have the same name here."""
    return next(ref for ref in REFS if ref.name == connected_registry)


def make_policy() -> Policy:
    """All of them, with their capacities."""
    document = {
        "hubs": [HUB],
        "containerRegistries": [str(_FIRST), str(_SECOND)],
        "connectedRegistries": [
            {"name": ref.name, "containerRegistry": ref.registry.name, "capacity": capacity}
            for ref, capacity in CAPACITY.items()
        ],
        "sites": [
            {"name": name, "connectedRegistries": list(members)} for name, members in SITES.items()
        ],
        "adoptableTokens": [f"{HAND_MADE}*"],
    }
    return Policy.model_validate_json(json.dumps(document))
