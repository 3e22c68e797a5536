"""The Device Provisioning Service's custom allocation: a hub, and what the device may pull.

The service calls at every registration while the device waits. So the answer has only the hub and
a twin that opts the device in; the onboarding follows by the queue. Without an answer the device
has no hub at all, so a device that firstpull cannot onboard gets one too. The documents have the
shape that concepts-custom-allocation describes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from firstpull.config.fields import OnboardingTarget
from firstpull.config.policy import Policy, hub_host
from firstpull.intake.json_input import checked, read_object
from firstpull.intake.requests import OnboardingRequest, request_for
from firstpull.model.device_key import is_device_id
from firstpull.model.errors import FieldError, Invalid, NotAllowed


class _LowerCased(BaseModel):
    """A document read with its names in lower case, because documents differ in their case."""

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)


class _ReprovisionPolicy(_LowerCased):
    changes_device: Annotated[bool | None, Field(alias="updatehubassignment")] = None
    keeps_twin: Annotated[bool | None, Field(alias="migratedevicedata")] = None

    @property
    def may_reset_twin(self) -> bool:
        """Whether a registration may replace the twin: unless the policy says that it does not."""
        return self.changes_device is not False and self.keeps_twin is not True


class _Enrollment(_LowerCased):
    group: Annotated[str | None, Field(alias="enrollmentgroupid")] = None
    individual: Annotated[str | None, Field(alias="registrationid")] = None
    device_id: Annotated[str | None, Field(alias="deviceid")] = None
    reprovisioning: Annotated[_ReprovisionPolicy | None, Field(alias="reprovisionpolicy")] = None


class _DeviceContext(_LowerCased):
    registration_id: Annotated[str, Field(alias="registrationid")]
    current_hub: Annotated[str | None, Field(alias="currentiothubhostname")] = None
    current_device_id: Annotated[str | None, Field(alias="currentdeviceid")] = None


class _Call(_LowerCased):
    group: Annotated[_Enrollment | None, Field(alias="enrollmentgroup")] = None
    individual: Annotated[_Enrollment | None, Field(alias="individualenrollment")] = None
    device: Annotated[_DeviceContext, Field(alias="deviceruntimecontext")]
    linked_hubs: Annotated[tuple[str, ...], Field(alias="linkedhubs", min_length=1)]


@dataclass(frozen=True, kw_only=True)
class Allocation:
    """The hub for a device, as the service spells it.

    `request` is None if firstpull does not onboard the device; `refused` says that its id is why.
    `may_reset_twin` says whether the service may replace the twin after the answer.
    """

    hub: str
    request: OnboardingRequest | None = None
    refused: bool = False
    may_reset_twin: bool = True


def allocate(body: bytes, policy: Policy) -> Allocation:
    """The hub and the request for a device that registers. Raises Invalid and NotAllowed.

    The policy's entry for the enrollment gives the target; the device's own payload is ignored.
    """
    call = checked(_Call, _lower_names(read_object(body)))
    enrollment = call.group or call.individual
    if enrollment is None or (call.group is not None and call.individual is not None):
        raise Invalid(
            "The request is not from a provisioning service.",
            errors=(FieldError("", "name either enrollmentGroup or individualEnrollment"),),
        )
    hub = _hub(call, policy)
    listed = policy.hub(hub)
    target = _target(enrollment, policy)
    if listed is None or target is None:
        return Allocation(hub=hub)
    device_id = call.device.current_device_id or enrollment.device_id or call.device.registration_id
    if not is_device_id(device_id):
        return Allocation(hub=hub, refused=True)
    return Allocation(
        hub=hub,
        request=request_for(target, device_id=device_id, hub=listed.host),
        may_reset_twin=(enrollment.reprovisioning or _ReprovisionPolicy()).may_reset_twin,
    )


def _hub(call: _Call, policy: Policy) -> str:
    """The linked hub that has the device now, else the first one that the policy lists.

    With another hub than its present one the service would move the device.
    """
    current = hub_host(call.device.current_hub or "")
    for host in call.linked_hubs:
        if hub_host(host) == current:
            return host
    for host in call.linked_hubs:
        if policy.hub(host) is not None:
            return host
    error = FieldError("/linkedHubs", "the policy lists none of them")
    raise NotAllowed("The policy lists none of the linked hubs.", errors=(error,))


def _target(enrollment: _Enrollment, policy: Policy) -> OnboardingTarget | None:
    name = enrollment.group or enrollment.individual or ""
    return policy.enrollments.get(name, policy.default_onboarding)


def _lower_names(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document with the names of its objects in lower case, three levels down."""
    return dict(_lowered(document, depth=3))


def _lowered(document: Mapping[str, Any], *, depth: int) -> Iterator[tuple[str, Any]]:
    for name, value in document.items():
        inner = (
            dict(_lowered(value, depth=depth - 1)) if isinstance(value, dict) and depth else value
        )
        yield name.lower(), inner
