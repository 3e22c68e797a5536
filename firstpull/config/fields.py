"""The fields that requests and settings share, with their validation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, model_validator
from pydantic.alias_generators import to_camel

from firstpull.model.delivery_kinds import KINDS
from firstpull.model.scope_actions import ACTIONS, problem_with

_MAX_REPOSITORIES = 100


class StrictModel(BaseModel):
    """A model of JSON with camelCase names: no unknown fields, no conversions.

    Its errors do not repeat the input.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        alias_generator=to_camel,
        hide_input_in_errors=True,
    )


def _repository(value: str) -> str:
    if (problem := problem_with(value)) is not None:
        raise ValueError(problem)
    return value


def _action(value: str) -> str:
    if value not in ACTIONS:
        raise ValueError(f"is none of {', '.join(sorted(ACTIONS))}")
    return value


def _unique[T: Sequence[str]](values: T) -> T:
    """Runs after the items' validators, so an invalid item is not also counted as missing."""
    if not values:
        raise ValueError("names nothing")
    if len(values) > _MAX_REPOSITORIES:
        raise ValueError(f"names more than {_MAX_REPOSITORIES}")
    if len(set(values)) != len(values):
        raise ValueError("names something twice")
    return values


RepositoryName = Annotated[str, AfterValidator(_repository)]
ActionName = Annotated[
    str, AfterValidator(_action), Field(json_schema_extra={"enum": sorted(ACTIONS)})
]


def _delivery(value: str) -> str:
    if value not in KINDS:
        raise ValueError(f"is none of {', '.join(sorted(KINDS))}")
    return value


DeliveryName = Annotated[
    str, AfterValidator(_delivery), Field(json_schema_extra={"enum": sorted(KINDS)})
]
Name = Annotated[str, Field(min_length=1, max_length=128)]
# What `_unique` checks, for readers of the schema.
_UNIQUE: dict[str, JsonValue] = {"minItems": 1, "maxItems": _MAX_REPOSITORIES, "uniqueItems": True}
Repositories = Annotated[
    tuple[RepositoryName, ...], AfterValidator(_unique), Field(json_schema_extra=_UNIQUE)
]
Actions = Annotated[
    tuple[ActionName, ...], AfterValidator(_unique), Field(json_schema_extra=_UNIQUE)
]
DeliveryOptions = Annotated[
    tuple[Name, ...], AfterValidator(_unique), Field(json_schema_extra=_UNIQUE)
]
"""Options of the delivery kind; which there are is the kind's."""


class OnboardingTarget(StrictModel):
    """What a device may pull and where: repositories, and a connected registry or a site.

    `delivery` says how the credential reaches the device, the policy where nothing is said.
    """

    connected_registry: Name | None = None
    site: Name | None = None
    repositories: Repositories
    actions: Actions | None = None
    container_registry: Name | None = None
    delivery: DeliveryName | None = None
    delivery_options: DeliveryOptions | None = None

    @model_validator(mode="after")
    def _either_registry_or_site(self) -> Self:
        if (self.connected_registry is None) == (self.site is None):
            raise ValueError("name either connectedRegistry or site")
        return self
