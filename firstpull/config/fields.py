"""The fields that requests and settings share, each with its rule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, model_validator
from pydantic.alias_generators import to_camel

from firstpull.model.scope_actions import ACTIONS, problem_with

_MAX_REPOSITORIES = 100


class StrictModel(BaseModel):
    """JSON with camelCase names, nothing unknown, nothing converted; errors hide the input."""

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


def _some[T: Sequence[str]](values: T) -> T:
    """After the items: one that is not valid is told of itself, not also as missing."""
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
Name = Annotated[str, Field(min_length=1, max_length=128)]
# What the validators check, for readers of the schema.
_SOME: dict[str, JsonValue] = {"minItems": 1, "maxItems": _MAX_REPOSITORIES, "uniqueItems": True}
Repositories = Annotated[
    tuple[RepositoryName, ...], AfterValidator(_some), Field(json_schema_extra=_SOME)
]
Actions = Annotated[tuple[ActionName, ...], AfterValidator(_some), Field(json_schema_extra=_SOME)]


class OnboardingTarget(StrictModel):
    """Where a device is to pull, and what: a connected registry or a site, and repositories."""

    connected_registry: Name | None = None
    site: Name | None = None
    repositories: Repositories
    actions: Actions | None = None
    container_registry: Name | None = None

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.connected_registry is None) == (self.site is None):
            raise ValueError("name either connectedRegistry or site")
        return self
