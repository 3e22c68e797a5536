"""A type that keeps passwords out of logs and tracebacks."""

from __future__ import annotations

import hmac
from typing import NoReturn

_HIDDEN = "Secret(***)"


class Secret:
    """Holds a text that appears in no repr, str, format, pickle, log record or traceback.

    Only `reveal` yields the text, so a search for that word finds every use of a password.
    """

    __slots__ = ("__value",)

    def __init__(self, value: str) -> None:
        if not value:
            raise ValueError("a secret is not empty")
        self.__value = value

    def reveal(self) -> str:
        """The text. Pass it on at once; never bind it to a name that outlives the call."""
        return self.__value

    def __repr__(self) -> str:
        return _HIDDEN

    def __str__(self) -> str:
        return _HIDDEN

    def __format__(self, format_spec: str) -> str:
        return format(_HIDDEN, format_spec)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self.__value.encode(), other.__value.encode())

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not serialised")

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: object) -> Secret:
        return self
