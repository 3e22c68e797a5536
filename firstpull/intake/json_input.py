"""Reads JSON input strictly. An error has a path, and repeats nothing of the input."""

from __future__ import annotations

import base64
import binascii
import codecs
import json
import re
from typing import Any

from pydantic import BaseModel, ValidationError

from firstpull.model.errors import FieldError, Invalid
from firstpull.model.strict_json import NamedTwice, pointer, read_strictly

MAX_BODY = 64 * 1024
"""Bytes that a storage queue message holds; every endpoint and trigger has this limit."""
_MOST_LAYERS = 2
"""Of base64: an SDK that encodes messages may get one that is encoded already."""
_BYTES_LITERAL = re.compile(rb"[bB]['\"]")
"""How Python prints bytes: `str(...)` of them is no text that was encoded."""


def check_size(body: bytes, *, most: int = MAX_BODY) -> None:
    """Raises Invalid for a body above the limit."""
    if len(body) > most:
        raise Invalid(f"The body is larger than {most} bytes.")


def read_json(body: bytes, *, most: int = MAX_BODY) -> Any:  # noqa: ANN401 - any JSON
    """The document in a body of at most `most` bytes. Raises Invalid."""
    check_size(body, most=most)
    try:
        return read_strictly(body)
    except NamedTwice as twice:
        errors = tuple(FieldError(path, "is there twice") for path in twice.paths)
        raise Invalid("An object has a name twice; `errors` says where.", errors=errors) from None
    except ValueError:
        raise Invalid("The body is not JSON in UTF-8.") from None


def read_object(body: bytes, *, most: int = MAX_BODY) -> dict[str, Any]:
    """The JSON object in a body of at most so many bytes. Raises Invalid."""
    document = read_json(body, most=most)
    if not isinstance(document, dict):
        raise Invalid("The body is not a JSON object.")
    return document


def read_message(text: bytes) -> bytes:
    """The JSON in a queue message, plain or in base64, in UTF-8 or UTF-16.

    Event Grid and the outputs of the Functions host write base64; people write either, and some
    SDKs encode what is encoded already. Raises Invalid for bytes as Python prints them.
    """
    found = _in_utf8(text)
    for _ in range(_MOST_LAYERS):
        if found[:1] in (b"{", b"["):
            break
        if _BYTES_LITERAL.match(found):
            raise Invalid("The message is how Python prints bytes, b'…': call decode() on them.")
        try:
            # base64 may be split into lines
            found = _in_utf8(base64.b64decode(b"".join(found.split()), validate=True))
        except binascii.Error:
            break
    return found


def _in_utf8(text: bytes) -> bytes:
    """A text without a byte order mark and white space around it; UTF-16 becomes UTF-8."""
    big_endian = text.startswith((codecs.BOM_UTF16_BE, b"\0"))
    if big_endian or text.startswith(codecs.BOM_UTF16_LE) or text[1:2] == b"\0":
        decoded = text.decode("utf-16-be" if big_endian else "utf-16-le", errors="replace")
        text = decoded.removeprefix("\ufeff").encode()
    return text.removeprefix(codecs.BOM_UTF8).strip()


def checked[Model: BaseModel](model: type[Model], document: object) -> Model:
    """A document as a model. Raises Invalid with every error."""
    try:
        return model.model_validate_json(json.dumps(document))
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        errors = tuple(_field_error(e["loc"], e["msg"]) for e in found)
        raise Invalid("The request is not valid; `errors` says where.", errors=errors) from None


def _field_error(location: tuple[int | str, ...], message: str) -> FieldError:
    """An error with its place."""
    return FieldError(pointer(location), message.removeprefix("Value error, "))
