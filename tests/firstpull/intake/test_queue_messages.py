"""What a queue message may look like: how people and SDKs encode JSON, and what is none."""

from __future__ import annotations

import base64
import json

import pytest

from firstpull.intake.json_input import read_json, read_message
from firstpull.model.errors import Invalid

DOCUMENT = {"deviceId": "prüfstand-1"}
PLAIN = json.dumps(DOCUMENT, ensure_ascii=False)
BOM = "\ufeff"


def b64(text: bytes) -> bytes:
    return base64.b64encode(text)


UTF_8, WITH_BOM = PLAIN.encode(), (BOM + PLAIN).encode()


@pytest.mark.parametrize(
    "message",
    [
        UTF_8,
        b" \r\n" + UTF_8 + b"\n",
        WITH_BOM,
        b64(UTF_8),
        b64(WITH_BOM),
        BOM.encode() + b64(UTF_8),
        b64(b64(UTF_8)),
        b64(b64(WITH_BOM) + b"\n"),
        base64.encodebytes(UTF_8),
        b64(PLAIN.encode("utf-16")),
        b64(PLAIN.encode("utf-16-le")),
        b64(PLAIN.encode("utf-16-be")),
        b64((BOM + PLAIN).encode("utf-16-be")),
        b64(b64(UTF_8).decode().encode("utf-16-le")),
    ],
)
def test_json_is_read_however_it_was_encoded(message: bytes) -> None:
    assert read_json(read_message(message)) == DOCUMENT


@pytest.mark.parametrize(
    "printed", [str(UTF_8), repr(b64(UTF_8)), repr(b'{"a": "it\'s"}'), "B'{}'"]
)
@pytest.mark.parametrize("encoded", [False, True])
def test_bytes_as_python_prints_them_are_named(printed: str, *, encoded: bool) -> None:
    message = printed.encode()
    with pytest.raises(Invalid, match="Python prints bytes"):
        read_message(b64(message) if encoded else message)


@pytest.mark.parametrize(
    "message", [b"", b"{}}", b64(b64(b64(UTF_8))), b"null!", b64(b"\xff\xfe\x00"), b"\x00", b"b"]
)
def test_what_is_no_json_is_named_so(message: bytes) -> None:
    with pytest.raises(Invalid, match="not JSON"):
        read_json(read_message(message))


def test_a_name_twice_is_refused_with_every_place() -> None:
    text = '{"a": 1, "b": [{"c/d": 1, "c\\/d": {"e": 1, "e": 2}}], "a": 2, "f": {"a": 1}}'
    with pytest.raises(Invalid, match="a name twice") as refused:
        read_json(text.encode())
    assert [error.path for error in refused.value.errors] == ["/a", "/b/0/c~1d", "/b/0/c~1d/e"]
