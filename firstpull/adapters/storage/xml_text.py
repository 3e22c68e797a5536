"""Answers of the queue service with characters that XML has not.

An SDK's parser would refuse the whole page of messages because of one.
"""

from __future__ import annotations

import re
from typing import Any

from azure.core.pipeline import PipelineResponse

from firstpull.intake.poison_queue import storable

_REFERENCE = re.compile("&#(?:x0*([0-9a-fA-F]{1,4})|0*([0-9]{1,5}));")
"""A reference by number. What XML has not is below 65536."""


def escape_what_xml_has_not(response: PipelineResponse[Any, Any]) -> None:
    """Give the SDK JSON's escapes for such characters; a raw response hook of its clients."""
    answer = response.http_response
    if _readable(text := answer.text("utf-8")) != text:
        response.http_response = _Answer(answer)


class _Answer:
    """An answer of the transport with another text."""

    def __init__(self, answer: Any) -> None:  # noqa: ANN401 - the transport's own
        self._answer = answer

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the answer has
        return getattr(self._answer, name)

    def text(self, encoding: str | None = None) -> str:
        return _readable(self._answer.text(encoding))


def _readable(text: str) -> str:
    return storable(_REFERENCE.sub(_checked, text))


def _checked(reference: re.Match[str]) -> str:
    """The reference, or the character that it means where XML has none such."""
    character = chr(int(reference[1], 16) if reference[1] else int(reference[2]))
    return reference[0] if storable(character) == character else character
