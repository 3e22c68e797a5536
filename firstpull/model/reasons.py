"""The reason names: stable names for machines, each with its meaning for a person.

They appear in the conditions of records, in problem documents and in log events. A name is
never changed and never reused.
"""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """The reason of a condition, a warning or an error."""

    # Refused requests and rejected messages.
    INVALID_REQUEST = "InvalidRequest"
    LENGTH_REQUIRED = "LengthRequired"
    NOT_ALLOWED = "NotAllowed"
    ROLE_MISSING = "RoleMissing"
    TOO_MANY_REVOKES = "TooManyRevokes"
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

    # Progress.
    ACCEPTED = "Accepted"
    CONVERGING = "Converging"
    DELIVERED = "Delivered"
    ACKNOWLEDGED = "Acknowledged"
    DEVICE_REPORTS_FAILURE = "DeviceReportsFailure"
    SUPERSEDED = "Superseded"
    ADOPTED = "Adopted"

    # Teardown.
    REVOKING = "Revoking"
    REVOKED = "Revoked"

    # Waiting; no person is needed.
    DEVICE_NOT_REGISTERED = "DeviceNotRegistered"
    DEVICE_DISABLED = "DeviceDisabled"
    TOKEN_NOT_ACTIVE = "TokenNotActive"  # noqa: S105 - a reason, not a password
    MEMBERSHIP_PENDING = "MembershipPending"
    NO_FREE_SLOT = "NoFreeSlot"
    AWAITING_SYNC = "AwaitingSync"
    AWAITING_DEVICE = "AwaitingDevice"

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
    NOT_AN_EDGE_DEVICE = "NotAnEdgeDevice"
    EDGE_RUNTIME_NOT_READY = "EdgeRuntimeNotReady"
    EDGE_CREDENTIALS_MALFORMED = "EdgeCredentialsMalformed"
    AUTOMATIC_DEPLOYMENT = "AutomaticDeployment"
    SEALING_REQUIRED = "SealingRequired"
    SEALING_KEY_NOT_KNOWN = "SealingKeyNotKnown"
    RECORD_NOT_READABLE = "RecordNotReadable"
    RECORD_OUT_OF_DATE = "RecordOutOfDate"
    RECORDS_NOT_FOUND = "RecordsNotFound"
    CLOCK_OFF = "ClockOff"
    POLICY_NOT_VALID = "PolicyNotValid"
    ACCESS_DENIED = "AccessDenied"
    REFUSED = "Refused"
    REFUSED_BY_POLICY = "RefusedByPolicy"
    RESOURCE_LOCKED = "ResourceLocked"
    SUBSCRIPTION_DISABLED = "SubscriptionDisabled"

    # Warnings: the device works.
    CONNECTED_REGISTRY_OFFLINE = "ConnectedRegistryOffline"
    SYNCED_REPOSITORIES_NOT_KNOWN = "SyncedRepositoriesNotKnown"
    PASSWORD_EXPIRES_SOON = "PasswordExpiresSoon"  # noqa: S105 - a reason, not a password
    DELIVERY_NOT_READ = "DeliveryNotRead"
    PASSWORD_NOT_OURS = "PasswordNotOurs"  # noqa: S105 - a reason, not a password

    # Transient errors; retried.
    THROTTLED = "Throttled"
    SERVICE_UNAVAILABLE = "ServiceUnavailable"
    CHANGED_MEANWHILE = "ChangedMeanwhile"
    OUT_OF_TIME = "OutOfTime"
    DEADLINE_EXCEEDED = "DeadlineExceeded"


MEANING: dict[Reason, str] = {
    Reason.INVALID_REQUEST: "The request is not well formed. Nothing was changed.",
    Reason.LENGTH_REQUIRED: "The body was sent without Content-Length, and did not arrive.",
    Reason.NOT_ALLOWED: "The policy in the settings does not allow the request.",
    Reason.ROLE_MISSING: "The caller's roles do not include this.",
    Reason.TOO_MANY_REVOKES: "The API revoked as many devices as an hour allows.",
    Reason.DEVICE_NOT_KNOWN: "No request has named this device on this hub.",
    Reason.OPERATION_NOT_KNOWN: "The device has no such generation.",
    Reason.DEVICE_HAS_TOKEN: "The device has a token already; another cannot be adopted.",
    Reason.DEVICE_REVOKED: "The device is revoked; onboard it again first.",
    Reason.NOTHING_TO_ROTATE: "No delivery of a password is recorded yet.",
    Reason.SWEEP_NOT_KNOWN: "There is no such sweep, or it holds no devices.",
    Reason.OUT_OF_DATE: "A later request exists; firstpull dropped this one.",
    Reason.SIGNATURE_NOT_VALID: "The webhook's signature is missing, wrong, or too old.",
    Reason.MESSAGE_NOT_KNOWN: "The poison queue shows no message with this id.",
    Reason.HANDLER_FAILED: "Every attempt to handle the message failed.",
    Reason.INTERNAL_ERROR: "A defect in firstpull. Only its log has the details.",
    Reason.ACCEPTED: "The request is recorded; no worker has begun.",
    Reason.CONVERGING: "A worker is reconciling the device.",
    Reason.DELIVERED: "The credentials are in the twin; the device has not answered yet.",
    Reason.ACKNOWLEDGED: "The device has logged in with the delivered credentials.",
    Reason.DEVICE_REPORTS_FAILURE: "The device could not log in with the delivered credentials.",
    Reason.SUPERSEDED: "A later request replaced this one.",
    Reason.ADOPTED: "firstpull has adopted the token; the device keeps its password.",
    Reason.REVOKING: "A worker is tearing down the device's access.",
    Reason.REVOKED: "The device is revoked; nothing of its access is left.",
    Reason.DEVICE_NOT_REGISTERED: "The hub has no device with this id yet.",
    Reason.DEVICE_DISABLED: "The device is disabled in the hub.",
    Reason.TOKEN_NOT_ACTIVE: "The container registry is still carrying out a change.",
    Reason.MEMBERSHIP_PENDING: "Another worker is changing the connected registry's list.",
    Reason.NO_FREE_SLOT: "Both passwords of the token are live; the earlier expiry frees a slot.",
    Reason.AWAITING_SYNC: "The connected registry has not synced since the change.",
    Reason.AWAITING_DEVICE: "The rotation begins when the device has logged in.",
    Reason.CONNECTED_REGISTRY_NOT_FOUND: "The container registry has no such connected registry.",
    Reason.CONNECTED_REGISTRY_FULL: "The connected registry takes no more clients.",
    Reason.SITE_FULL: "No connected registry of the site takes another client.",
    Reason.NO_ENDPOINT: "Neither Azure nor the policy has an address of the connected registry.",
    Reason.REPOSITORIES_NOT_SYNCED: "The connected registry does not sync these repositories.",
    Reason.TOKEN_NOT_OURS: "A token with the name exists, and it is not this device's.",
    Reason.TOKEN_NOT_FOUND: "The container registry has no token with the name to adopt.",
    Reason.TOKEN_IN_USE: "A connected registry still uses the token.",
    Reason.TWIN_ENTRY_NOT_OURS: "Another deployment wrote the twin's entry for this registry.",
    Reason.RECORD_NOT_READABLE: "The device's record is damaged, or a later version wrote it.",
    Reason.NOT_AN_EDGE_DEVICE: "The hub's device has no IoT Edge runtime.",
    Reason.EDGE_RUNTIME_NOT_READY: "The IoT Edge runtime has no deployment, or not one for docker.",
    Reason.EDGE_CREDENTIALS_MALFORMED: "edgeAgent cannot read an entry of somebody else's.",
    Reason.AUTOMATIC_DEPLOYMENT: "An automatic deployment would remove the credentials again.",
    Reason.TWIN_FULL: "The twin cannot hold the credentials: it would be too large.",
    Reason.SEALING_REQUIRED: "The settings forbid a password that is not sealed.",
    Reason.SEALING_KEY_NOT_KNOWN: "The record was lost, and the key to seal to with it.",
    Reason.RECORD_OUT_OF_DATE: "The record is older than the last request: a backup was restored.",
    Reason.RECORDS_NOT_FOUND: "The table of the records is gone.",
    Reason.CLOCK_OFF: "The clock of the host is wrong; it reconciles no device.",
    Reason.POLICY_NOT_VALID: "The document of the policy is wrong or missing.",
    Reason.ACCESS_DENIED: "firstpull's identity lacks a role.",
    Reason.REFUSED: "A service refused a request as invalid.",
    Reason.REFUSED_BY_POLICY: "An Azure Policy forbids it, or changed what firstpull wrote.",
    Reason.RESOURCE_LOCKED: "A lock in Azure forbids the change.",
    Reason.SUBSCRIPTION_DISABLED: "The Azure subscription is disabled.",
    Reason.CONNECTED_REGISTRY_OFFLINE: "The connected registry is not connected to Azure.",
    Reason.SYNCED_REPOSITORIES_NOT_KNOWN: "Azure does not tell what the connected registry syncs.",
    Reason.PASSWORD_EXPIRES_SOON: "The password expires soon, and is not replaced yet.",
    Reason.DELIVERY_NOT_READ: "The device does not answer; it may read another delivery.",
    Reason.PASSWORD_NOT_OURS: "The token has a password that firstpull did not make.",
    Reason.THROTTLED: "A service throttled firstpull's requests.",
    Reason.SERVICE_UNAVAILABLE: "A service did not answer, or answered with an error of its own.",
    Reason.CHANGED_MEANWHILE: "Another writer made a change first.",
    Reason.OUT_OF_TIME: "The worker's time for one pass ran out.",
    Reason.DEADLINE_EXCEEDED: "The function's time ran out before it had a result.",
}
