"""IoT Hub's errors: its code names, their HTTP statuses and six-digit numbers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ErrorKind:
    """One of IoT Hub's errors. `code` travels in the header `iothub-errorcode`."""

    code: str
    status: int
    number: int


GENERIC_BAD_REQUEST = ErrorKind("GenericBadRequest", 400, 400000)
INVALID_PROTOCOL_VERSION = ErrorKind("InvalidProtocolVersion", 400, 400003)
ARGUMENT_INVALID = ErrorKind("ArgumentInvalid", 400, 400004)
IOT_HUB_FORMAT_ERROR = ErrorKind("IotHubFormatError", 400, 400006)
UNAUTHORIZED_ACCESS = ErrorKind("IotHubUnauthorizedAccess", 401, 401002)
UNAUTHORIZED = ErrorKind("IotHubUnauthorized", 401, 401003)
GENERIC_FORBIDDEN = ErrorKind("GenericForbidden", 403, 403000)
GENERIC_NOT_FOUND = ErrorKind("GenericNotFound", 404, 404000)
DEVICE_NOT_FOUND = ErrorKind("DeviceNotFound", 404, 404001)
GENERIC_METHOD_NOT_ALLOWED = ErrorKind("GenericMethodNotAllowed", 405, 405000)
GENERIC_CONFLICT = ErrorKind("GenericConflict", 409, 409000)
DEVICE_ALREADY_EXISTS = ErrorKind("DeviceAlreadyExists", 409, 409001)
MODULE_ALREADY_EXISTS = ErrorKind("ModuleAlreadyExistsOnDevice", 409, 409301)
PRECONDITION_FAILED = ErrorKind("PreconditionFailed", 412, 412001)
THROTTLING_BACKLOG_TIMEOUT = ErrorKind("ThrottlingBacklogTimeout", 429, 429003)
SERVER_ERROR = ErrorKind("ServerError", 500, 500001)
SERVICE_UNAVAILABLE = ErrorKind("ServiceUnavailable", 503, 503001)

_BY_STATUS = {
    kind.status: kind
    for kind in (
        GENERIC_BAD_REQUEST,
        UNAUTHORIZED_ACCESS,
        GENERIC_FORBIDDEN,
        GENERIC_NOT_FOUND,
        GENERIC_METHOD_NOT_ALLOWED,
        GENERIC_CONFLICT,
        PRECONDITION_FAILED,
        THROTTLING_BACKLOG_TIMEOUT,
        SERVER_ERROR,
        SERVICE_UNAVAILABLE,
    )
}


class IotHubError(Exception):
    """A refused request. The message contains no keys, tokens and property values."""

    def __init__(self, kind: ErrorKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


def kind_for(*, status: int, code: str | None) -> ErrorKind:
    """The error of this code, without a code IoT Hub's error of the status."""
    default = _BY_STATUS.get(status, SERVER_ERROR)
    if code is None:
        return ErrorKind(default.code, status, default.number)
    return ErrorKind(code, status, status * 1000)


def device_not_found(device_id: str) -> IotHubError:
    """404 for an unknown device."""
    return IotHubError(DEVICE_NOT_FOUND, device_id)


def no_permission(principal: str, *, method: str, path: str) -> IotHubError:
    """401 for a bearer token without a role for the operation."""
    return IotHubError(
        UNAUTHORIZED,
        f"Principal {principal} is not authorized for {method} on {path} "
        "due to no assigned permissions",
    )


def unauthorized() -> IotHubError:
    """401. IoT Hub answers a wrong key and an unknown device alike."""
    return IotHubError(UNAUTHORIZED_ACCESS, "Unauthorized")
