"""Texts of queue messages: their encoding, and what an output binding makes of a value."""

from __future__ import annotations

import base64
import binascii
import json

from local_azure.functions_host.protos import TypedData


class UndecodableMessage(Exception):
    """A message that is not base64, or not UTF-8 within."""


def encode(content: bytes, *, encoding: str) -> str:
    """`content` as it is stored, for `messageEncoding` base64 or none.

    Raises UnicodeDecodeError for bytes that are no text when they are not to be encoded.
    """
    return (base64.b64encode(content) if encoding == "base64" else content).decode()


def decode(stored: str, *, encoding: str) -> str:
    """The text of a stored message. Raises UndecodableMessage."""
    if encoding != "base64":
        return stored
    try:
        return base64.b64decode(stored, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise UndecodableMessage(str(error)) from error


def messages(value: TypedData) -> list[bytes]:
    """The messages that a queue output writes: one per element of a list."""
    if value.string is not None:
        return [value.string.encode()]
    if value.bytes is not None:
        return [value.bytes]
    document = json.loads(value.json or "null")
    if document is None:
        return []
    items = document if isinstance(document, list) else [document]
    return [(item if isinstance(item, str) else json.dumps(item)).encode() for item in items]
