"""What all answers share: camelCase names, times in UTC to the second, no field without a value."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Self

from pydantic import (
    AliasGenerator,
    AliasPath,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    WithJsonSchema,
)
from pydantic.alias_generators import to_camel


class Answer(BaseModel):
    """A JSON document, or a part of one.

    A validation alias says where a value of the core has a field, where that is not by its name.
    """

    model_config = ConfigDict(
        alias_generator=AliasGenerator(serialization_alias=to_camel),
        validate_by_name=True,
        extra="forbid",
        frozen=True,
    )

    @classmethod
    def read(cls, value: object) -> Self:
        """The answer for a value of the core, with the fields that the value has."""
        return cls.model_validate(value, from_attributes=True)

    def to_json(self) -> str:
        """The document, in ASCII. Fields without a value are left out."""
        return self.model_dump_json(by_alias=True, exclude_none=True, ensure_ascii=True)


def _utc(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


Count = Annotated[int, Field(ge=0)]
Time = Annotated[
    datetime,
    PlainSerializer(_utc),
    WithJsonSchema({"type": "string", "format": "date-time"}, mode="serialization"),
]
ContainerRegistryName = Annotated[str, Field(validation_alias=AliasPath("ref", "registry", "name"))]
ConnectedRegistryName = Annotated[str, Field(validation_alias=AliasPath("ref", "name"))]


class DeviceName(Answer):
    """A device id, and the host name of its hub."""

    device_id: str
    hub: str
