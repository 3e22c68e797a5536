"""Reads JSON input strictly. An error has a path, and repeats nothing of the input."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from firstpull.model.errors import FieldError, Invalid

MAX_BODY = 64 * 1024
"""Bytes that a storage queue message holds; every endpoint and trigger has this limit."""
_LONGEST_PATH = 512
"""Characters of a path that an error shows: its parts are a caller's."""


def check_size(body: bytes, *, most: int = MAX_BODY) -> None:
    """Raises Invalid for a body above the limit."""
    if len(body) > most:
        raise Invalid(f"The body is larger than {most} bytes.")


def read_json(body: bytes, *, most: int = MAX_BODY) -> Any:  # noqa: ANN401 - any JSON
    """The document in a body of at most `most` bytes. Raises Invalid."""
    check_size(body, most=most)
    try:
        return from_json(body, allow_inf_nan=False)
    except ValueError:
        raise Invalid("The body is not JSON in UTF-8.") from None


def read_object(body: bytes, *, most: int = MAX_BODY) -> dict[str, Any]:
    """The JSON object in a body of at most so many bytes. Raises Invalid."""
    document = read_json(body, most=most)
    if not isinstance(document, dict):
        raise Invalid("The body is not a JSON object.")
    return document


def read_message(text: bytes) -> bytes:
    """The JSON in a queue message, plain or in base64.

    Event Grid and the outputs of the Functions host write base64; people write either.
    """
    stripped = text.strip()
    if stripped[:1] in (b"{", b"["):
        return stripped
    try:
        return base64.b64decode(
            b"".join(stripped.split()), validate=True
        )  # base64 may be split into lines
    except binascii.Error:
        return stripped


def checked[Model: BaseModel](model: type[Model], document: object) -> Model:
    """A document as a model. Raises Invalid with every error."""
    try:
        return model.model_validate_json(json.dumps(document))
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        errors = tuple(_field_error(e["loc"], e["msg"]) for e in found)
        raise Invalid("The request is not valid; `errors` says where.", errors=errors) from None


def _field_error(location: tuple[int | str, ...], message: str) -> FieldError:
    """An error with its JSON pointer (RFC 6901); `""` is the whole document."""
    parts = (str(part).replace("~", "~0").replace("/", "~1") for part in location)
    path = "".join(f"/{part}" for part in parts)[:_LONGEST_PATH]
    return FieldError(path, message.removeprefix("Value error, "))
