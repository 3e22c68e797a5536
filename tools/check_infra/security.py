"""What docs/security.md promises of the resources, as the templates have it written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tools.check_infra.bicep import BicepFile, Finding, text

_ONCE = {
    "main.bicep": (
        "allowSharedKeyAccess: false",
        "allowBlobPublicAccess: false",
        "supportsHttpsTrafficOnly: true",
        "minimumTlsVersion: 'TLS1_2'",
        "disableIpMasking: false",
        "defaultAction: privateNetworking ? 'Deny' : 'Allow'",
        "entraClientId: entraClientId == 'function-keys' ? '' : entraClientId",
        # Without a default, whoever deploys has to choose.
        "param entraClientId string @description",
    ),
    "modules/key-vault.bicep": (
        "enableRbacAuthorization: true",
        "enableSoftDelete: true",
        "enablePurgeProtection: true",
        "softDeleteRetentionInDays: 90",
        "logs: [{ categoryGroup: 'audit', enabled: true }]",
        "publicNetworkAccess: privateNetworking ? 'Disabled' : 'Enabled'",
        "defaultAction: privateNetworking ? 'Deny' : 'Allow'",
        "bypass: 'None'",
    ),
    "modules/app.bicep": (
        "httpsOnly: true",
        "minTlsVersion: '1.2'",
        "{ name: 'ftp', allow: false }",
        "{ name: 'scm', allow: false }",
        "managedIdentities: { userAssignedResourceIds: [identityId] }",
        "type: 'UserAssignedIdentity'",
        "runtime: { name: 'python' version: '3.13' }",
        "name: 'authsettingsV2'",
        "platform: { enabled: !empty(entraClientId) }",
        "requireAuthentication: true",
        "unauthenticatedClientAction: 'Return401'",
        "requireHttps: true",
        "identities: empty(entraCallers) ? nobody : entraCallers",
        "var nobody = ['00000000-0000-0000-0000-000000000000']",
    ),
    "modules/events.bicep": ("identity: { type: 'SystemAssigned' }",),
    "modules/event-delivery.bicep": ("dependsOn: [mayFillTheQueue, mayKeepDeadLetters]",),
    "modules/event-subscription.bicep": (
        "deliveryWithResourceIdentity: { identity: { type: 'SystemAssigned' }",
        "deadLetterWithResourceIdentity: { identity: { type: 'SystemAssigned' }",
    ),
    "modules/demo.bicep": ("adminUserEnabled: false", "disableLocalAuth: true"),
}
_TWICE = {"main.bicep": ("disableLocalAuth: true",)}


def check_security(files: Mapping[str, BicepFile]) -> Iterator[Finding]:
    """Every promise that a template does not keep."""
    for count, promised in ((1, _ONCE), (2, _TWICE)):
        for name, promises in promised.items():
            for promise in promises:
                if text(files[name].root).count(promise) != count:
                    yield Finding(name, 1, f"not written {count} time(s): {promise}")
