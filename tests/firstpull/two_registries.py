"""A world of two container registries, with a name of its own for each token in the second one.

The fakes know a token by its name alone; a device's token has one name in every container registry.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from firstpull.model import naming
from firstpull.model.azure_resources import ConnectedRegistryRef, RegistryId
from firstpull.model.device_key import DeviceKey
from firstpull.model.naming import Names
from firstpull.reconcile import observe
from tests.firstpull.harness import REGISTRY, Harness, connect, make_policy

OTHER_REGISTRY = RegistryId(f"{REGISTRY}2")
PORT_ONE = ConnectedRegistryRef(registry=OTHER_REGISTRY, name="portone")


@pytest.fixture
def token_names_by_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens of the second container registry have other names."""

    def names_for(device: DeviceKey, *, deployment: str, registry: RegistryId) -> Names:
        names = naming.names_for(device, deployment=deployment, registry=registry)
        return replace(names, token=f"{names.token}2") if registry == OTHER_REGISTRY else names

    monkeypatch.setattr(observe, "names_for", names_for)


def over_two_registries(*, capacity: int = 50) -> Harness:
    """Two connected registries of one container registry, one of another, and a site over both.

    `capacity` is that of all but the first.
    """
    policy = make_policy(
        containerRegistries=[REGISTRY, OTHER_REGISTRY],
        connectedRegistries=[
            {"name": "plantone"},
            {"name": "planttwo", "capacity": capacity},
            {
                "name": "portone",
                "containerRegistry": OTHER_REGISTRY.name,
                "capacity": capacity,
            },
        ],
        sites=[{"name": "all", "connectedRegistries": ["planttwo", "portone"]}],
        adoptableTokens=["by-hand"],
    )
    harness = Harness(policy=policy)
    connect(harness.cloud, PORT_ONE, login_server="portone.other.example:8000")
    return harness
