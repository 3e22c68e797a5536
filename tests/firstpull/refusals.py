"""Services that refuse or do not answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from firstpull.model.errors import Blocked, FirstpullError, Transient
from firstpull.model.reasons import Reason

NO_ANSWER = Transient(Reason.SERVICE_UNAVAILABLE, "No answer.")
DENIED = Blocked(Reason.ACCESS_DENIED, "The container registry answered 403.", remedy="A role.")


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
