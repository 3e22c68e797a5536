"""Findings: their stable names, how bad each is, and why it matters."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Self

Command = tuple[str, ...]
"""The words of a command, as a shell has them after its quoting."""


class Severity(StrEnum):
    """How bad a finding is."""

    ERROR = "error"
    """Devices do not get, keep or lose access as they should."""
    WARNING = "warning"
    """It works, and something is late, unprotected or about to fail."""


class FindingName(StrEnum):
    """A name, which is never changed or reused; its `severity`; and `why` the finding matters."""

    severity: Severity
    why: str

    def __new__(cls, name: str, severity: Severity, why: str) -> Self:
        """Make a member."""
        member = str.__new__(cls, name)
        member._value_ = name
        member.severity, member.why = severity, why
        return member

    ACTIONS_MISSING = (
        "ActionsMissing",
        Severity.ERROR,
        "Without these actions devices are blocked (AccessDenied), or the app cannot start.",
    )
    ACCESS_REFUSED = (
        "AccessRefused",
        Severity.ERROR,
        "The service refuses the app although its roles permit the request.",
    )
    FIREWALL_CLOSES = (
        "FirewallCloses",
        Severity.ERROR,
        "Its network rules keep the app out, which no role changes.",
    )
    REGISTRY_NOT_FOUND = (
        "RegistryNotFound",
        Severity.ERROR,
        "The policy names a container registry that does not exist.",
    )
    REGISTRY_TIER = (
        "RegistryTier",
        Severity.ERROR,
        "Only the Premium tier has connected registries.",
    )
    DATA_ENDPOINT_OFF = (
        "DataEndpointOff",
        Severity.ERROR,
        "A connected registry syncs through the dedicated data endpoint.",
    )
    CONNECTED_REGISTRY_NOT_FOUND = (
        "ConnectedRegistryNotFound",
        Severity.ERROR,
        "Devices of this connected registry are blocked until it exists.",
    )
    CONNECTED_REGISTRY_OFFLINE = (
        "ConnectedRegistryOffline",
        Severity.ERROR,
        "New passwords and revokes do not reach the site.",
    )
    SYNC_OVERDUE = (
        "SyncOverdue",
        Severity.WARNING,
        "New passwords wait for the next sync, and revoked ones work until then.",
    )
    SITE_FULL = (
        "SiteFull",
        Severity.ERROR,
        "The next device of this site is blocked.",
    )
    CLIENTS_LOST = (
        "ClientsLost",
        Severity.ERROR,
        "Another writer, such as Terraform, replaced the list: these devices cannot pull.",
    )
    REPOSITORIES_NOT_SYNCED = (
        "RepositoriesNotSynced",
        Severity.ERROR,
        "The policy lets devices request repositories that the site does not have.",
    )
    NO_ENDPOINT = (
        "NoEndpoint",
        Severity.ERROR,
        "Devices are not told an address, so they are blocked.",
    )
    CA_NOT_VALID = (
        "CaNotValid",
        Severity.WARNING,
        "Devices trust the site by this certificate authority.",
    )
    LOCK_FORBIDS_CHANGES = (
        "LockForbidsChanges",
        Severity.ERROR,
        "The lock forbids to write tokens, or to delete those of revoked devices.",
    )
    POLICY_FORBIDS_TOKENS = (
        "PolicyForbidsTokens",
        Severity.ERROR,
        "The Azure Policy denies or disables every token, so no device gets access.",
    )
    POLICY_LIMITS_VALIDITY = (
        "PolicyLimitsValidity",
        Severity.ERROR,
        "The vault refuses secrets that are valid for longer, so no password can be stored.",
    )
    VAULT_USES_ACCESS_POLICIES = (
        "VaultUsesAccessPolicies",
        Severity.ERROR,
        "With access policies the roles on the vault do not count.",
    )
    VAULT_WITHOUT_PURGE_PROTECTION = (
        "VaultWithoutPurgeProtection",
        Severity.WARNING,
        "Whoever purges the vault's secrets takes every password and the traces of every device.",
    )
    HUB_TIER = (
        "HubTier",
        Severity.ERROR,
        "The Basic tier has no device twins, by which passwords are delivered.",
    )
    EVENTS_NOT_DELIVERED = (
        "EventsNotDelivered",
        Severity.WARNING,
        "Devices that appear or are deleted are noticed by the hourly sweep only.",
    )
    CLOCK_OFF = (
        "ClockOff",
        Severity.ERROR,
        "A host whose clock is off reconciles no device.",
    )
    POLICY_NOT_VALID = (
        "PolicyNotValid",
        Severity.WARNING,
        "The last change of the policy does not count; the policy before it does.",
    )
    SECRET_REFERENCE_UNRESOLVED = (
        "SecretReferenceUnresolved",
        Severity.ERROR,
        "The platform could not read the secret, so what the setting is for is off.",
    )
    FUNCTION_DISABLED = (
        "FunctionDisabled",
        Severity.ERROR,
        "A setting switches a function off: its messages and devices wait.",
    )
    RECORDS_NOT_FOUND = (
        "RecordsNotFound",
        Severity.ERROR,
        "Without the table of records nothing is done for any device.",
    )
    DEVICES_OVERDUE = (
        "DevicesOverdue",
        Severity.ERROR,
        "Devices are due and no worker takes them.",
    )
    MESSAGES_KEPT = (
        "MessagesKept",
        Severity.WARNING,
        "Each was rejected or failed five times, and nobody has looked at it.",
    )
    SWEEP_OVERDUE = (
        "SweepOverdue",
        Severity.WARNING,
        "Only a sweep finds drift, deleted devices, and what events did not tell.",
    )


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something that is wrong. `command` mends it; None where only a person at the site can."""

    name: FindingName
    subject: str
    """What it is about: the name of a resource, a queue, a setting."""
    what: str
    command: Command | None


@dataclass(frozen=True, kw_only=True)
class NotChecked:
    """Something that could not be looked at, and the command that lets firstpull see it."""

    subject: str
    why: str
    command: Command | None = None
