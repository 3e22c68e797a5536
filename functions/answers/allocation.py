"""What the Device Provisioning Service is told, by the shapes of concepts-custom-allocation."""

from __future__ import annotations

from typing import Any, Self

from firstpull.config.fields import OnboardingTarget
from firstpull.intake import dps_allocation
from firstpull.intake.event_handler import OPT_IN_TAG
from functions.answers.base import Answer


class InitialTwin(Answer):
    """A twin that opts the device in. It counts at the first assignment only."""

    tags: dict[str, OnboardingTarget]
    properties: dict[str, dict[str, Any]]


class Allocation(Answer):
    """The hub for a device that registers."""

    iot_hub_host_name: str
    initial_twin: InitialTwin | None

    @classmethod
    def of(cls, allocation: dps_allocation.Allocation) -> Self:
        """The answer for an allocation."""
        twin = None
        if (request := allocation.request) is not None:
            twin = InitialTwin(tags={OPT_IN_TAG: request}, properties={"desired": {}})
        return cls(iot_hub_host_name=allocation.hub, initial_twin=twin)
