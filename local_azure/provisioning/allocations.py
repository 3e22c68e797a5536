"""The answer of a webhook, strictly checked."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from local_azure.iot_hub.twins import TwinPatch
from local_azure.provisioning.enrollments import Json
from local_azure.provisioning.exceptions import AllocationFailed


class _Answer(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        alias_generator=to_camel,
        hide_input_in_errors=True,
    )


class _Properties(_Answer):
    desired: dict[str, Any] | None = None


class _InitialTwin(_Answer):
    tags: dict[str, Any] | None = None
    properties: _Properties | None = None


class Allocation(_Answer):
    """The hub of a device, its initial twin, and the payload for the device."""

    iot_hub_host_name: str
    initial_twin: _InitialTwin | None = None
    payload: Json | None = None

    @property
    def twin_patch(self) -> TwinPatch:
        """The initial twin as a patch of an empty one."""
        twin = self.initial_twin or _InitialTwin()
        desired = twin.properties.desired if twin.properties is not None else None
        return TwinPatch(tags=twin.tags, desired=desired)


def parse_allocation(*, status: int, body: bytes, linked_hubs: Collection[str]) -> Allocation:
    """A webhook's answer. Raises AllocationFailed with a message for the device.

    The message is the service's for a status, and an assumption for everything else.
    """
    if status != 200:
        raise AllocationFailed(f"Custom allocation failed with status code: {status}")
    try:
        allocation = Allocation.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(step) for step in first["loc"]) or "the answer"
        raise AllocationFailed(f"Custom allocation failed: {where}: {first['msg']}") from None
    if allocation.iot_hub_host_name not in linked_hubs:
        raise AllocationFailed("Custom allocation failed: iotHubHostName is not a linked hub")
    return allocation
