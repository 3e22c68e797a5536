"""What the service tells about itself."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict

from firstpull.model.reasons import Reason
from functions.answers.base import Answer


class Health(Answer):
    """This process answers."""

    status: Literal["ok"]


class Readiness(Answer):
    """This host can do its work: storage has the records, and its clock is right."""

    status: Literal["ready"]
    warning: Reason | None = None
    """`PolicyNotValid` while a changed policy is wrong, and the one before counts."""


class OpenApiDocument(Answer):
    """An OpenAPI document."""

    model_config = ConfigDict(extra="allow")

    openapi: str
