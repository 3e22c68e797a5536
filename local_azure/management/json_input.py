"""The request bodies of the management port. An answer names all wrong fields."""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime
from typing import Annotated, Self

from aiohttp import web
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel

from local_azure.kernel.faults import Fault, FaultKind
from local_azure.kernel.latency import Latency, OperationLatency

_MAX_ADVANCE_SECONDS = 10 * 365 * 24 * 3600
_MAX_DELAY_SECONDS = 300.0


class InvalidBody(Exception):
    """An invalid body. `errors` has a field and a message each."""

    def __init__(self, errors: list[dict[str, str]]) -> None:
        super().__init__("; ".join(f"{error['field']}: {error['message']}" for error in errors))
        self.errors = errors


class Body(BaseModel):
    """A JSON object with camelCase names and without unknown fields."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, alias_generator=to_camel, allow_inf_nan=False
    )


async def read_body[Shape: Body](request: web.Request, shape: type[Shape]) -> Shape:
    """The request's body as `shape`. Raises InvalidBody, which the port answers with 400."""
    try:
        return shape.model_validate_json(await request.read())
    except ValidationError as error:
        raise InvalidBody(
            [
                {"field": ".".join(str(step) for step in each["loc"]), "message": each["msg"]}
                for each in error.errors(include_input=False, include_url=False)
            ]
        ) from error


def _regular_expression(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from error
    return text


def _retry_after(text: str) -> str:
    if not text.isdecimal():
        try:
            parsedate_to_datetime(text)
        except ValueError as error:
            raise ValueError("neither seconds nor an HTTP date") from error
    return text


RetryAfter = Annotated[str, Field(pattern=r"^[ -~]+$"), AfterValidator(_retry_after)]


class AdvanceBody(Body):
    """The seconds to move the clock by."""

    advance_seconds: float = Field(le=_MAX_ADVANCE_SECONDS)

    @field_validator("advance_seconds")
    @classmethod
    def _forward(cls, seconds: float) -> float:
        if seconds < 0:
            raise ValueError(
                "time moves forward only, as everything that has happened has its time; the way "
                "back is a new start of the local Azure, which begins with nothing"
            )
        return seconds


class DurationBody(Body):
    """A time between two bounds."""

    least_seconds: float = Field(ge=0, le=_MAX_DELAY_SECONDS)
    most_seconds: float = Field(ge=0, le=_MAX_DELAY_SECONDS)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.least_seconds > self.most_seconds:
            raise ValueError("leastSeconds is more than mostSeconds")
        return self


class OperationLatencyBody(DurationBody):
    """How long calls of some operations take."""

    operation: Annotated[str, Field(min_length=1), AfterValidator(_regular_expression)]


class LatencyBody(DurationBody):
    """How long every call takes, and calls of some operations."""

    operations: tuple[OperationLatencyBody, ...] = ()

    def to_latency(self) -> Latency:
        """The profile."""
        each = tuple(OperationLatency(**rule.model_dump()) for rule in self.operations)
        return Latency(
            least_seconds=self.least_seconds, most_seconds=self.most_seconds, operations=each
        )


class StormBody(Body):
    """Trouble at a share of the calls, and odd answers; see kernel.storm."""

    share: float = Field(default=0.0, ge=0, le=1)
    seed: int = 0
    page_size: int | None = Field(default=None, ge=1)
    case_of_ids: bool = False
    unknown_fields: bool = False


class ClientCertificateBody(Body):
    """The common name of a client certificate; X.520 allows 64 characters."""

    common_name: str = Field(min_length=1, max_length=64)


class FaultBody(Body):
    """A rule; see kernel.faults.Fault."""

    operation: Annotated[str, Field(min_length=1), AfterValidator(_regular_expression)]
    kind: FaultKind
    status: int = Field(default=503, ge=400, le=599)
    code: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_.]+$")
    retry_after: RetryAfter | None = None
    seconds: float = Field(default=0.0, gt=0, le=_MAX_DELAY_SECONDS)
    skip: int = Field(default=0, ge=0)
    times: int | None = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        foreign = self.model_fields_set & {"status", "code", "retry_after", "seconds"}
        if self.kind is FaultKind.STATUS:
            foreign -= {"status", "code", "retry_after"}
        elif self.kind is FaultKind.DELAY:
            foreign -= {"seconds"}
            if not self.seconds:
                raise ValueError("a delay needs seconds")
        if foreign:
            names = ", ".join(sorted(to_camel(name) for name in foreign))
            raise ValueError(f"a fault of kind {self.kind} has no {names}")
        return self

    def to_fault(self) -> Fault:
        """The rule."""
        return Fault(**self.model_dump())
