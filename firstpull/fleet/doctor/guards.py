"""Checks of what Azure can put in the way: locks, policies, tiers, the vault's own settings."""

from __future__ import annotations

from collections.abc import Iterator

from firstpull.fleet.doctor import commands
from firstpull.fleet.doctor.findings import Finding, FindingName
from firstpull.fleet.doctor.needs import Kind
from firstpull.fleet.doctor.readings import Readings, known
from firstpull.model.errors import FirstpullError
from firstpull.model.governance import PolicyAssignment

_TOKENS_DENIED = "ff05e24e-195c-447e-b322-5e90c9f9f366"
_TOKENS_DISABLED = "a9b426fe-8856-4945-8600-18c5dd1cca2a"
_VALIDITY = "342e8053-e12e-4c44-be01-c3c2f318400f"
"""Built-in policies, by their names in Azure/azure-policy."""
_EVENTS = ("Microsoft.Devices.DeviceCreated", "Microsoft.Devices.DeviceDeleted")


def check_locks(read: Readings) -> Iterator[Finding]:
    """Locks on or above the container registries, whose tokens are resources."""
    for one in read.of_kind(Kind.REGISTRY):
        for lock in known(one.locks, ()):
            yield Finding(
                name=FindingName.LOCK_FORBIDS_CHANGES,
                subject=one.id.name,
                what=f"The lock {lock.id.rsplit('/', 1)[-1]} is {lock.level}.",
                command=commands.az("lock", "delete", "--ids", lock.id),
            )


def check_policies(read: Readings) -> Iterator[Finding]:
    """The built-in Azure Policies that are known to stand in the way."""
    for one in read.of_kind(Kind.REGISTRY):
        for policy in known(one.policies, ()):
            if _forbids_tokens(policy):
                yield Finding(
                    name=FindingName.POLICY_FORBIDS_TOKENS,
                    subject=one.id.name,
                    what=f"The policy assignment {policy.id.rsplit('/', 1)[-1]} "
                    f"{'denies' if policy.definition == _TOKENS_DENIED else 'disables'} tokens.",
                    command=commands.exempt(policy.id, scope=one.id),
                )
    days = read.app.password_validity.days
    for one in read.of_kind(Kind.VAULT):
        for policy in known(one.policies, ()):
            most = policy.parameters.get("maximumValidityInDays")
            if (
                policy.definition == _VALIDITY
                and _effect(policy, default="Audit") == "deny"
                and isinstance(most, int)
                and most < days
            ):
                yield Finding(
                    name=FindingName.POLICY_LIMITS_VALIDITY,
                    subject=one.id.name,
                    what=f"The policy assignment {policy.id.rsplit('/', 1)[-1]} allows {most} "
                    f"days; FIRSTPULL_PASSWORD_VALIDITY_DAYS is {days}. Lowering the setting helps "
                    "as well.",
                    command=commands.exempt(policy.id, scope=one.id),
                )


def check_vault(read: Readings) -> Iterator[Finding]:
    """How the vault decides who may do what, and whether secrets can be purged."""
    for one in read.of_kind(Kind.VAULT):
        vault = known(one.resource, None)
        if vault is None:
            continue
        update = ("keyvault", "update", *commands.on(one.id))
        if vault.properties.get("enableRbacAuthorization") is False:
            yield Finding(
                name=FindingName.VAULT_USES_ACCESS_POLICIES,
                subject=one.id.name,
                what="It decides by access policies.",
                command=commands.az(*update, "--enable-rbac-authorization", "true"),
            )
        if not vault.properties.get("enablePurgeProtection"):
            yield Finding(
                name=FindingName.VAULT_WITHOUT_PURGE_PROTECTION,
                subject=one.id.name,
                what="Its purge protection is off. Once on, it stays.",
                command=commands.az(*update, "--enable-purge-protection", "true"),
            )


def check_hubs(read: Readings) -> Iterator[Finding]:
    """The tier of each hub, and whether its events come."""
    storage = next((one.id for one in read.of_kind(Kind.STORAGE)), None)
    for one in read.of_kind(Kind.HUB):
        hub = known(one.resource, None)
        if hub is not None and hub.tier is not None and hub.tier.lower() == "basic":
            yield Finding(
                name=FindingName.HUB_TIER,
                subject=one.id.name,
                what="Its tier is Basic.",
                command=commands.az("iot", "hub", "update", *commands.on(one.id), "--sku", "S1"),
            )
        if isinstance(one.events, FirstpullError):
            continue
        lacking = [kind for kind in _EVENTS if not any(e.has(kind) for e in one.events)]
        if lacking:
            yield Finding(
                name=FindingName.EVENTS_NOT_DELIVERED,
                subject=one.id.name,
                what=f"No working event subscription has {', '.join(lacking)}. Where storage "
                "takes no account keys, `azd provision` makes one that delivers by identity.",
                command=commands.subscribe_to_devices(one.id, storage=storage, event_types=_EVENTS)
                if storage is not None
                else None,
            )


def _forbids_tokens(policy: PolicyAssignment) -> bool:
    if not policy.is_enforced:
        return False
    if policy.definition == _TOKENS_DENIED:
        return _effect(policy, default="Audit") == "deny"
    is_ours = policy.definition == _TOKENS_DISABLED
    return is_ours and _effect(policy, default="Modify") == "modify"


def _effect(policy: PolicyAssignment, *, default: str) -> str:
    return str(policy.parameters.get("effect") or default).lower()
