"""Stand-ins for the messages that Azure's host and its Python worker exchange.

They have the names and fields of the worker protocol's protobuf messages. Messages for retry
policies and the expiry of a cookie as a date are missing, so that an app with either fails.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from types import SimpleNamespace
from typing import ClassVar

# TypedData has a field of this name, which hides the type inside its class body.
_Bytes = bytes

WorkerInitResponse = SimpleNamespace
WorkerMetadata = SimpleNamespace
FunctionMetadataResponse = SimpleNamespace
FunctionLoadResponse = SimpleNamespace
RpcFunctionMetadata = SimpleNamespace
InvocationResponse = SimpleNamespace
RpcException = SimpleNamespace
NullableString = SimpleNamespace
NullableBool = SimpleNamespace
NullableDouble = SimpleNamespace


@dataclass(frozen=True)
class BindingInfo:
    """A binding of a function as the worker reports it."""

    type: str
    direction: int
    data_type: int | None = None

    out: ClassVar[int] = 1
    inout: ClassVar[int] = 2
    undefined: ClassVar[int] = 0


@dataclass(frozen=True)
class StatusResult:
    """Whether a request to the worker succeeded."""

    status: int
    exception: SimpleNamespace | None = None

    Success: ClassVar[int] = 1
    Failure: ClassVar[int] = 0


class _SameSite(IntEnum):
    Unset = 0
    Lax = 1
    Strict = 2
    ExplicitNone = 3


# The protocol's name for what is not set is no identifier.
setattr(_SameSite, "None", _SameSite.Unset)


@dataclass(frozen=True, kw_only=True)
class RpcHttpCookie:
    """A cookie in the app's response."""

    name: str
    value: str
    domain: SimpleNamespace | None = None
    path: SimpleNamespace | None = None
    expires: None = None
    secure: SimpleNamespace | None = None
    http_only: SimpleNamespace | None = None
    same_site: _SameSite = _SameSite.Unset
    max_age: SimpleNamespace | None = None

    SameSite: ClassVar[type[_SameSite]] = _SameSite


@dataclass(frozen=True)
class RpcHttp:
    """An HTTP request to the app, or the app's response."""

    method: str = ""
    url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    body: TypedData = field(default_factory=lambda: TypedData())  # noqa: PLW0108 - defined below
    status_code: str = ""
    cookies: Sequence[RpcHttpCookie] | None = None
    enable_content_negotiation: bool = False


@dataclass(frozen=True)
class TypedData:
    """One value in one of the forms that the wire knows."""

    string: str | None = None
    bytes: _Bytes | None = None
    json: str | None = None
    http: RpcHttp | None = None

    def WhichOneof(self, _group: str) -> str | None:  # noqa: N802 - protobuf's name
        """The name of the field that is set."""
        return next((name for name, value in vars(self).items() if value is not None), None)


@dataclass(frozen=True)
class ParameterBinding:
    """A value for a parameter of a function."""

    name: str
    data: TypedData

    def WhichOneof(self, _group: str) -> str:  # noqa: N802 - protobuf's name
        """The name of the field that is set."""
        return "data"
