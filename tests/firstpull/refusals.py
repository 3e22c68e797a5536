"""Services that refuse or do not answer, and a policy over two container registries."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from firstpull.model.azure_resources import ConnectedRegistryRef, RegistryId
from firstpull.model.errors import Blocked, FirstpullError, Transient
from firstpull.model.reasons import Reason
from tests.firstpull.harness import REGISTRY, Harness, make_policy

NO_ANSWER = Transient(Reason.SERVICE_UNAVAILABLE, "No answer.")
DENIED = Blocked(Reason.ACCESS_DENIED, "The container registry answered 403.", remedy="A role.")
OTHER_REGISTRY = RegistryId(f"{REGISTRY}2")


def refuse(
    patch: pytest.MonkeyPatch,
    port: type,
    names: tuple[str, ...],
    *,
    of: object,
    error: FirstpullError,
) -> None:
    """Have every call of these names fail that is about one container registry, or hub."""
    for name in names:
        patch.setattr(port, name, _refusing(getattr(port, name), of, error))


def _refusing(
    real: Callable[..., Awaitable[Any]], of: object, error: FirstpullError
) -> Callable[..., Awaitable[Any]]:
    async def call(port: object, what: Any, *more: Any, **named: Any) -> Any:  # noqa: ANN401 - any call
        if getattr(what, "registry", getattr(what, "hub", what)) == of:
            raise error
        return await real(port, what, *more, **named)

    return call


def over_two_registries() -> Harness:
    """A second container registry, with a connected registry of its own."""
    policy = make_policy(
        containerRegistries=[REGISTRY, OTHER_REGISTRY],
        connectedRegistries=[
            {"name": "plantone"},
            {"name": "portone", "containerRegistry": OTHER_REGISTRY.name},
        ],
        sites=[],
    )
    harness = Harness(policy=policy)
    port_one = ConnectedRegistryRef(registry=OTHER_REGISTRY, name="portone")
    harness.cloud.connect(port_one, login_server="portone.other.example:8000")
    return harness
