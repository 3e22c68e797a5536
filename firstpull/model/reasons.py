"""The reason names: stable words for machines, each with what it means for a person.

They appear in conditions of a record, in problem documents and in log events. A name is
never renamed and never reused.
"""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Why something is as it is. The text behind each name is its documentation."""

    # A request that was answered at the door.
    INVALID_REQUEST = "InvalidRequest"
    LENGTH_REQUIRED = "LengthRequired"
    NOT_ALLOWED = "NotAllowed"
    DEVICE_NOT_KNOWN = "DeviceNotKnown"
    OPERATION_NOT_KNOWN = "OperationNotKnown"
    DEVICE_HAS_TOKEN = "DeviceHasToken"  # noqa: S105 - a reason, not a password
    DEVICE_REVOKED = "DeviceRevoked"
    NOTHING_TO_ROTATE = "NothingToRotate"
    SWEEP_NOT_KNOWN = "SweepNotKnown"
    OUT_OF_DATE = "OutOfDate"
    SIGNATURE_NOT_VALID = "SignatureNotValid"
    MESSAGE_NOT_KNOWN = "MessageNotKnown"
    HANDLER_FAILED = "HandlerFailed"
    INTERNAL_ERROR = "InternalError"

    # A device on its way.
    ACCEPTED = "Accepted"
    CONVERGING = "Converging"
    DELIVERED = "Delivered"
    ACKNOWLEDGED = "Acknowledged"
    DEVICE_REPORTS_FAILURE = "DeviceReportsFailure"
    SUPERSEDED = "Superseded"
    ADOPTED = "Adopted"

    # A device on its way out.
    REVOKING = "Revoking"
    REVOKED = "Revoked"

    # Waiting for something that comes by itself.
    DEVICE_NOT_REGISTERED = "DeviceNotRegistered"
    DEVICE_DISABLED = "DeviceDisabled"
    TOKEN_NOT_ACTIVE = "TokenNotActive"  # noqa: S105 - a reason, not a password
    MEMBERSHIP_PENDING = "MembershipPending"
    NO_FREE_SLOT = "NoFreeSlot"
    AWAITING_SYNC = "AwaitingSync"

    # Waiting for a person.
    CONNECTED_REGISTRY_NOT_FOUND = "ConnectedRegistryNotFound"
    CONNECTED_REGISTRY_FULL = "ConnectedRegistryFull"
    SITE_FULL = "SiteFull"
    NO_ENDPOINT = "NoEndpoint"
    REPOSITORIES_NOT_SYNCED = "RepositoriesNotSynced"
    TOKEN_NOT_OURS = "TokenNotOurs"  # noqa: S105 - a reason, not a password
    TOKEN_NOT_FOUND = "TokenNotFound"  # noqa: S105 - a reason, not a password
    TOKEN_IN_USE = "TokenInUse"  # noqa: S105 - a reason, not a password
    TWIN_ENTRY_NOT_OURS = "TwinEntryNotOurs"
    TWIN_FULL = "TwinFull"
    RECORD_NOT_READABLE = "RecordNotReadable"
    ACCESS_DENIED = "AccessDenied"
    REFUSED = "Refused"

    # A warning: the device works, and somebody should know.
    CONNECTED_REGISTRY_OFFLINE = "ConnectedRegistryOffline"
    PASSWORD_EXPIRES_SOON = "PasswordExpiresSoon"  # noqa: S105 - a reason, not a password
    PASSWORD_NOT_OURS = "PasswordNotOurs"  # noqa: S105 - a reason, not a password

    # Passing trouble; tried again by itself.
    THROTTLED = "Throttled"
    SERVICE_UNAVAILABLE = "ServiceUnavailable"
    CHANGED_MEANWHILE = "ChangedMeanwhile"
    OUT_OF_TIME = "OutOfTime"


MEANING: dict[Reason, str] = {
    Reason.INVALID_REQUEST: "The request is not well formed. Nothing was changed.",
    Reason.LENGTH_REQUIRED: "The body was sent without Content-Length, and did not arrive.",
    Reason.NOT_ALLOWED: "The policy in the settings does not allow what was asked for.",
    Reason.DEVICE_NOT_KNOWN: "No request has named this device on this hub.",
    Reason.OPERATION_NOT_KNOWN: "The device has no such generation.",
    Reason.DEVICE_HAS_TOKEN: "The device has a token already; another cannot be adopted.",
    Reason.DEVICE_REVOKED: "The device's access was taken away; onboard it again first.",
    Reason.NOTHING_TO_ROTATE: "The device has no password yet.",
    Reason.SWEEP_NOT_KNOWN: "There is no such sweep, or none of it waits for an approval.",
    Reason.OUT_OF_DATE: "Something else was asked for later; what came late is dropped.",
    Reason.SIGNATURE_NOT_VALID: "The webhook's signature is missing, wrong, or too old.",
    Reason.MESSAGE_NOT_KNOWN: "No message of this id is kept in a poison queue.",
    Reason.HANDLER_FAILED: "A message could not be handled, however often it was tried.",
    Reason.INTERNAL_ERROR: "A fault of firstpull itself. Details are in its log only.",
    Reason.ACCEPTED: "The intent is recorded; the work has not begun.",
    Reason.CONVERGING: "A worker is at it.",
    Reason.DELIVERED: "The credentials are in the twin; the device has not answered yet.",
    Reason.ACKNOWLEDGED: "The device has logged in with what was delivered.",
    Reason.DEVICE_REPORTS_FAILURE: "The device could not log in with what was delivered.",
    Reason.SUPERSEDED: "A later request took the place of this one.",
    Reason.ADOPTED: "The token was taken over; the device keeps the password that it has.",
    Reason.REVOKING: "The device's access is being taken away.",
    Reason.REVOKED: "The device's access was taken away.",
    Reason.DEVICE_NOT_REGISTERED: "The hub has no identity of this name yet.",
    Reason.DEVICE_DISABLED: "The identity is disabled in the hub.",
    Reason.TOKEN_NOT_ACTIVE: "The container registry is still making the token.",
    Reason.MEMBERSHIP_PENDING: "Another worker is changing the connected registry's list.",
    Reason.NO_FREE_SLOT: "Both passwords of the token are live; the earlier expiry frees a slot.",
    Reason.AWAITING_SYNC: "The connected registry has not synced since the change.",
    Reason.CONNECTED_REGISTRY_NOT_FOUND: "The container registry has no such connected registry.",
    Reason.CONNECTED_REGISTRY_FULL: "The connected registry takes no more clients.",
    Reason.SITE_FULL: "No connected registry of the site takes another client.",
    Reason.NO_ENDPOINT: "It is not known at which address devices reach the connected registry.",
    Reason.REPOSITORIES_NOT_SYNCED: "The connected registry does not sync these repositories.",
    Reason.TOKEN_NOT_OURS: "A token of the name exists that no record of firstpull made.",
    Reason.TOKEN_NOT_FOUND: "The container registry has no token of the name to adopt.",
    Reason.TOKEN_IN_USE: "The token stands in a list that firstpull did not put it in.",
    Reason.TWIN_ENTRY_NOT_OURS: "Another deployment delivers to this place of the twin.",
    Reason.RECORD_NOT_READABLE: "The device's record is damaged, or of a later version.",
    Reason.TWIN_FULL: "IoT Hub refused the twin: with the credentials it is too large.",
    Reason.ACCESS_DENIED: "firstpull's identity lacks a role.",
    Reason.REFUSED: "A service refused a request as wrong.",
    Reason.CONNECTED_REGISTRY_OFFLINE: "The connected registry is not in touch with Azure.",
    Reason.PASSWORD_EXPIRES_SOON: "The password ends soon, and the device has not answered.",
    Reason.PASSWORD_NOT_OURS: "The token has a password that firstpull did not make.",
    Reason.THROTTLED: "A service asked for fewer calls.",
    Reason.SERVICE_UNAVAILABLE: "A service did not answer, or answered with a fault of its own.",
    Reason.CHANGED_MEANWHILE: "Somebody else changed what was about to be changed.",
    Reason.OUT_OF_TIME: "The time that a worker has for one device ran out.",
}
