"""Each check finds a mistake of its kind that is planted in a copy of infra/."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tools.check_infra.__main__ import REPOSITORY, check_folder

MAIN = "main.bicep"
APP = "modules/app.bicep"
EVENTS = "modules/events.bicep"
DELIVERY = "modules/event-delivery.bicep"
SUBSCRIPTION = "modules/event-subscription.bicep"
TOPIC = "existing-system-topic.bicep"
TYPES = "types.bicep"
KEY_VAULT = "modules/key-vault.bicep"
DEMO = "modules/demo.bicep"
REGISTRY = "modules/container-registry-access.bicep"
HUB = "modules/iot-hub-access.bicep"
VAULT = "modules/key-vault-access.bicep"
ROLES = "roles.json"
PARAMETERS = "main.parameters.json"
ALERTS = "monitoring/alerts.json"
WORKBOOK = "monitoring/workbook.json"

# File, what is there, what is written instead, a part of the finding.
MISTAKES = {
    "syntax": [
        (MAIN, "param location string", "param location", "main.bicep:14: this is not Bicep"),
        (APP, "  name: 'plan'\n", "  name 'plan'\n", "this is not Bicep"),
    ],
    "parameters": [
        (PARAMETERS, '"createDemo"', '"makeDemo"', "only this file has the parameter makeDemo"),
        (PARAMETERS, '"createDemo"', '"makeDemo"', "only main.bicep has the parameter createDemo"),
    ],
    "settings": [
        (APP, "FIRSTPULL_POLICY:", "FIRSTPULL_RULES:", "no setting FIRSTPULL_RULES"),
        (APP, "FIRSTPULL_KEY_VAULT_URL", "FIRSTPULL_VAULT_URL", "no setting FIRSTPULL_VAULT_URL"),
        (APP, "AzureWebJobsStorage__tableServiceUri", "AzureWebJobsStorage", "knows no setting"),
        (APP, "AzureWebJobsStorage__credential", "X", "__credential is not always set"),
        (APP, "'managedidentity'", "'managedidentities'", "__credential is not 'managed"),
        (APP, "Uri: storageEndpoints.queue", "Uri: storageEndpoints.table", "queueServiceUri"),
        (APP, "CLIENT_ID: identityClientId", "CLIENT_ID: identityId", "AZURE_CLIENT_ID is not"),
        (APP, "minTlsVersion: '1.2'\n", "appSettings: []\n", "not in exactly one place"),
        (APP, "name: 'appsettings'", "name: 'settings'", "not in exactly one place"),
        (APP, "policySettings, {", "empty(subnetId) ? {} : {", "VAULT_URL is not always set"),
        (APP, "'@Microsoft.KeyVault(", "'whsec_(", "is not a reference to the vault"),
    ],
    "policy": [
        (MAIN, "  sites: policy", "  places: policy", "the policy has no field places"),
        (MAIN, "  host: '${", "  hostname: '${", "the policy has no field hostname"),
        (MAIN, "repositories: [demo", "images: [demo", "the policy has no field images"),
        (
            TYPES,
            "  endpoint: string?",
            "  address: string?",
            "only the policy has the field endpoint",
        ),
        (TYPES, "  endpoint: string?", "  address: string?", "only connectedRegistryType has the"),
        (TYPES, "type siteType", "type placeType", "there is no siteType"),
        (APP, "@minLength(1)\nparam hubs", "param hubs", "the app's hubs may be empty"),
    ],
    "shared names": [
        (MAIN, "'device-work'", "'device-works'", "only the code has device-work in queueNames"),
        (MAIN, "'${name}-poison'", "'${name}-dead'", "there are no poison queues"),
        (MAIN, "['devices']", "['records']", "only the template has records in tableNames"),
        (MAIN, "  'sweeps'\n", "", "only the code has sweeps in containerNames"),
        (MAIN, "Devices.DeviceDeleted'", "Devices.DeviceGone'", "DeviceGone is only subscribed"),
        (MAIN, "Devices.DeviceDeleted'", "Devices.DeviceGone'", "DeviceDeleted is only handled"),
        (MAIN, "queueName: eventQueueName", "queueName: 'device-work'", "which has no trigger"),
        (TOPIC, "'device-events'", "'device-event'", "only the code has device-events in eventQ"),
        (TOPIC, "Devices.DeviceDeleted'", "Devices.DeviceGone'", "DeviceDeleted is only handled"),
        (APP, "'/api/healthz'", "'/api/devices'", "only the template has /api/devices in openP"),
        (APP, "'/api/healthz'", "'/api/devices'", "only the code has /api/healthz in openPaths"),
    ],
    "roles": [
        (MAIN, "roles.storageTableDataContributor.id", "roles.iotHub.id", "no template gives"),
        (MAIN, "roles.monitoringMetricsPublisher.id", "'Owner'", "does not list 'Owner' for the"),
        (VAULT, "'../vault-role.json'", "'../role.json'", "containerRegistry for the app on vault"),
        (VAULT, "dataActions: role.DataActions", "dataActions: ['*']", "does not list vaultRole"),
        (HUB, "dataActions: role.DataActions", "", "does not list iotHubRole"),
        (REGISTRY, " actions: role", " notActions: role", "does not list containerRegistryRole"),
        (DELIVERY, "principalId: topicPrin", "principalId: other", "for the othercipalId on queue"),
        (DELIVERY, "scope: queue\n", "scope: storage\n", "for the events on storage"),
        (EVENTS, "topic.identity.principalId", "sourceId", "topicPrincipalId of delivery is not"),
        (TOPIC, "topic.identity.principalId", "topicId", "topicPrincipalId of delivery is not"),
        (HUB, "scope: hub\n", "", "iotHub for the app on everything"),
        (MAIN, "for id in registryIds: {", "for id in demoRegistryIds: {", "registryAccess does"),
        (MAIN, "for id in hubIds: {", "for id in hubIds: if (createDemo) {", "hubAccess does not"),
        (DELIVERY, "Assignments@2022-04-01' = {", "Assignments@2022-04-01' = if (false) {", "does"),
        (MAIN, "appPrincipalId: identity.outputs.", "appPrincipalId: demo.outputs.", "is not"),
        (
            ROLES,
            "0a9a7e1f-b9d0",
            "8e3af657-a8ff",
            "is not the id of Storage Table",
        ),
    ],
    "security": [
        (MAIN, "SharedKeyAccess: false", "SharedKeyAccess: true", "allowSharedKeyAccess: false"),
        (KEY_VAULT, "    enablePurgeProtection: true\n", "", "enablePurgeProtection: true"),
        (MAIN, "    disableLocalAuth: true\n    dis", "    dis", "disableLocalAuth: true"),
        (MAIN, "    disableIpMasking: false\n", "", "disableIpMasking: false"),
        (MAIN, "param entraClientId string", "param entraClientId string = 'x'", "entraClientId"),
        (APP, "'scm', allow: false", "'scm', allow: true", "'scm', allow: false"),
        (APP, "version: '3.13'", "version: '3.11'", "version: '3.13'"),
        (SUBSCRIPTION, "deadLetterWithResource", "deadLetter", "deadLetterWithResourceIdentity"),
        (DEMO, "adminUserEnabled: false", "adminUserEnabled: true", "adminUserEnabled: false"),
    ],
    "monitoring": [
        (ALERTS, "sweep.revokes.held {", "sweep.revoke.held {", "has no sweep.revoke.held"),
        (ALERTS, "firstpull.site.free", "firstpull.sites.free", "has no firstpull.sites.free"),
        (ALERTS, "Throttled", "TooMany", "has no TooMany"),
        (WORKBOOK, "device.intent.recorded {", "device.intent.noted {", "no device.intent.noted"),
        (WORKBOOK, '\\"sweep.\\"', '\\"sweeps.\\"', "has no sweeps."),
    ],
}
ROWS = [
    pytest.param(*row, id=f"{kind}-{number}")
    for kind, rows in MISTAKES.items()
    for number, row in enumerate(rows)
]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    folder = tmp_path / "infra"
    shutil.copytree(REPOSITORY / "infra", folder)
    return folder


def test_there_is_nothing_to_find_in_infra() -> None:
    assert check_folder(REPOSITORY / "infra") == []


@pytest.mark.parametrize(("file", "right", "wrong", "finding"), ROWS)
def test_a_planted_mistake_is_found(
    copy: Path, file: str, right: str, wrong: str, finding: str
) -> None:
    path = copy / file
    source = path.read_text()
    assert right in source
    path.write_text(source.replace(right, wrong))
    assert [found for found in map(str, check_folder(copy)) if finding in found]


def test_a_role_that_no_template_gives_is_found(copy: Path) -> None:
    roles = json.loads((copy / ROLES).read_text())
    roles["acrPush"] = {"name": "AcrPush", "id": "8311e382", "to": "app", "on": "registry"}
    (copy / ROLES).write_text(json.dumps(roles))
    messages = {found.message for found in check_folder(copy)}
    assert "no template gives acrPush for the app on registry" in messages
