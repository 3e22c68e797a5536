"""Stand-ins for the messages that Azure's host and its Python worker exchange.

They are named and shaped as the protobuf messages of the worker protocol, and as strict about
types: what the real wire refuses is a TypeError here. Only what a Python app needs is present.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import IntEnum
from typing import ClassVar

# TypedData has fields of these names, which hide the types inside its class body.
_Bytes = bytes
_Int = int


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
class RpcException:
    """An exception of the app: `Type: text`, and the formatted traceback."""

    message: str = ""
    stack_trace: str = ""
    source: str = ""


@dataclass(frozen=True)
class StatusResult:
    """Whether a request to the worker succeeded."""

    status: int
    exception: RpcException | None = None

    Success: ClassVar[int] = 1
    Failure: ClassVar[int] = 0


@dataclass(frozen=True)
class RpcRetryOptions:
    """A retry policy declared by the app."""

    max_retry_count: int
    retry_strategy: str
    delay_interval: timedelta | None = None
    minimum_interval: timedelta | None = None
    maximum_interval: timedelta | None = None


@dataclass(frozen=True)
class RpcFunctionMetadata:
    """A function as the worker indexed it. `raw_bindings` are JSON documents."""

    name: str
    function_id: str
    raw_bindings: list[str]
    bindings: Mapping[str, BindingInfo]
    retry_options: RpcRetryOptions | None
    directory: str
    script_file: str
    entry_point: str
    language: str
    is_proxy: bool
    managed_dependency_enabled: bool
    properties: Mapping[str, str]


@dataclass(frozen=True)
class WorkerMetadata:
    """What the worker says of itself."""

    runtime_name: str
    runtime_version: str
    worker_version: str
    worker_bitness: str
    custom_properties: Mapping[str, str]


@dataclass(frozen=True)
class WorkerInitResponse:
    """The outcome of indexing the app."""

    capabilities: Mapping[str, str]
    worker_metadata: WorkerMetadata
    result: StatusResult


@dataclass(frozen=True)
class FunctionMetadataResponse:
    """The functions of the app; None when there is no function_app.py."""

    use_default_metadata_indexing: bool
    function_metadata_results: list[RpcFunctionMetadata] | None
    result: StatusResult


@dataclass(frozen=True)
class FunctionLoadResponse:
    """The outcome of loading one function."""

    function_id: str
    result: StatusResult


@dataclass(frozen=True)
class Timestamp:
    """Seconds since 1970."""

    seconds: int


@dataclass(frozen=True)
class NullableString:
    """A text that is present."""

    value: str


@dataclass(frozen=True)
class NullableBool:
    """A truth value that is present."""

    value: bool


@dataclass(frozen=True)
class NullableDouble:
    """A number that is present."""

    value: float


@dataclass(frozen=True)
class NullableTimestamp:
    """A time that is present."""

    value: Timestamp


_SameSite = IntEnum("_SameSite", {"None": 0, "Lax": 1, "Strict": 2, "ExplicitNone": 3})


@dataclass(frozen=True)
class RpcHttpCookie:
    """A cookie that an HTTP function sets."""

    name: str
    value: str
    domain: NullableString | None = None
    path: NullableString | None = None
    expires: NullableTimestamp | None = None
    secure: NullableBool | None = None
    http_only: NullableBool | None = None
    same_site: IntEnum = _SameSite["None"]
    max_age: NullableDouble | None = None

    SameSite: ClassVar[type[IntEnum]] = _SameSite


@dataclass(frozen=True)
class RpcHttp:
    """An HTTP request on its way to the app, or the response on its way back."""

    method: str = ""
    url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    body: TypedData = field(default_factory=lambda: TypedData())  # noqa: PLW0108 - defined below
    status_code: str = ""
    cookies: list[RpcHttpCookie] | None = None
    enable_content_negotiation: bool = False

    def __post_init__(self) -> None:
        _demand(self.status_code, str, "an HTTP status")
        for name, value in self.headers.items():
            _demand(name, str, "a header name")
            _demand(value, str, f"the header {name}")


@dataclass(frozen=True)
class TypedData:
    """One value in one of the forms that the wire knows."""

    string: str | None = None
    bytes: _Bytes | None = None
    json: str | None = None
    http: RpcHttp | None = None
    int: _Int | None = None
    double: float | None = None

    _TYPES: ClassVar[Mapping[str, type]] = {
        "string": str,
        "bytes": _Bytes,
        "json": str,
        "http": RpcHttp,
        "int": _Int,
        "double": float,
    }

    def __post_init__(self) -> None:
        for name, kind in self._TYPES.items():
            value = getattr(self, name)
            if value is not None:
                _demand(value, kind, f"a value sent as {name}")

    def WhichOneof(self, _group: str) -> str | None:  # noqa: N802 - protobuf's name
        """The name of the field that is set."""
        return next((name for name in self._TYPES if getattr(self, name) is not None), None)


@dataclass(frozen=True)
class ParameterBinding:
    """A value for, or from, a parameter of a function."""

    name: str
    data: TypedData | None

    def WhichOneof(self, _group: str) -> str | None:  # noqa: N802 - protobuf's name
        """The name of the field that is set."""
        return None if self.data is None else "data"


@dataclass(frozen=True)
class InvocationResponse:
    """The outcome of one invocation."""

    invocation_id: str
    result: StatusResult
    return_value: TypedData | None = None
    output_data: list[ParameterBinding] = field(default_factory=list)


def _demand(value: object, kind: type, what: str) -> None:
    if not isinstance(value, kind):
        raise TypeError(f"{what} must be {kind.__name__}, not {type(value).__name__}")
