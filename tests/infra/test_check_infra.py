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
DEMO = "modules/demo.bicep"
REGISTRY = "modules/container-registry-access.bicep"
HUB = "modules/iot-hub-access.bicep"
VAULT = "modules/key-vault-access.bicep"
NETWORK = "modules/network.bicep"
ROLES = "roles.json"
PARAMETERS = "main.parameters.json"
MONITORING = "modules/monitoring.bicep"

MISTAKES = {
    "syntax": [
        (MAIN, "param location string", "param location", "'identifier' is missing"),
        (APP, "  name: 'plan'\n", "  name 'plan'\n", "this is not Bicep"),
        (
            APP,
            "reserved: true\n",
            "reserved: true\n    reserved: false\n",
            "reserved is there 2 times",
        ),
        (APP, "reserved: true\n", "reserved: true hyperV: false\n", "a pair ends with its line"),
        (EVENTS, "systemTopics@2025-02-15'", "systemTopics'", "topic has no API version"),
    ],
    "names": [
        (MAIN, "tags: tags", "tags: tagz", "tagz is no name that is known"),
        (MAIN, "take(last", "tak(last", "tak is no function that is known"),
        (MAIN, "var tags =", "var spare = 1\nvar tags =", "spare is never used"),
        (EVENTS, "param tags object", "param tags object\nparam more string", "more is never used"),
        (MAIN, "var tags =", "var tags = {}\nvar tags =", "tags is declared 2 times"),
        (EVENTS, "parent: storage::blobs", "parent: storage", "blobs is never used"),
        (MAIN, "param location string", "param location strng", "strng is no type that is known"),
        (MAIN, "@minLength(13)", "@minLenght(13)", "minLenght is no decorator that is known"),
        (MAIN, "name => { name: name }", "item => { name: name }", "name is no name that is known"),
    ],
    "loaded files": [
        (MAIN, "'roles.json'", "'role.json5'", "there is no file role.json5"),
        (MONITORING, "alerts.json", "alert.json", "there is no file ../monitoring/alert.json"),
        (MONITORING, "workbook.json", "book.json", "there is no file ../monitoring/book.json"),
        (ROLES, '"storageBlobDataOwner": {', '"storageBlobDataOwner": ', "roles.json is no JSON"),
        (MONITORING, "alert.every", "alert.evry", "alert.evry is not in the file"),
        (
            MAIN,
            "roles.storageTableDataContributor.id",
            "roles.storageTableData.id",
            "roles.storageTableData.id is not in the file",
        ),
    ],
    "modules": [
        (
            MAIN,
            "'modules/demo.bicep'",
            "'modules/dem.bicep'",
            "there is no module modules/dem.bicep",
        ),
        (MAIN, "'modules/demo.bicep'", "'modules/app.bicep'", "no module calls this file"),
        (MAIN, "vault:0.14.0", "vault:0.1.0", "there is no module br/public:avm/res/key-vault"),
        (MAIN, "    vaultName: vault.outputs.name\n", "", "app needs the parameter vaultName"),
        (MAIN, "    vaultName: vault", "    vault: vault", "app has no parameter vault"),
        (MAIN, "skuName: storageSku", "sku: storageSku", "storage has no parameter sku"),
        (
            MAIN,
            "    workspaceResourceId: logs.outputs.resourceId\n    disable",
            "    disable",
            "needs",
        ),
        (MAIN, "vault.outputs.uri", "vault.outputs.url", "vault has no output url"),
        (MAIN, "vault.outputs.uri", "vault.output.uri", "vault has no property output"),
        (MAIN, "network!.outputs.app", "network!.output.app", "network has no property output"),
        (MAIN, "[index].outputs.loc", "[index].output.loc", "hubAccess has no property output"),
        (MAIN, "network!.outputs.appSubnetId", "network!.outputs.subnet", "has no output subnet"),
        (MAIN, "hubAccess[index].outputs.location", "hubAccess[index].outputs.id", "no output id"),
    ],
    "parameters": [
        (PARAMETERS, '"createDemo"', '"makeDemo"', "main.bicep has no parameter makeDemo"),
        (PARAMETERS, '"createDemo"', '"makeDemo"', "the parameter createDemo cannot be set"),
        (PARAMETERS, '"${FIRSTPULL_SITES}"', '"plant"', "'plant' is not a variable"),
        (
            PARAMETERS,
            '"parameters": {',
            '"parameters": ',
            "main.parameters.json:1: this is no JSON",
        ),
        (PARAMETERS, "{FIRSTPULL_SITES}", "{FIRSTPULL_DEMO}", "${FIRSTPULL_DEMO} is there 2 times"),
    ],
    "settings": [
        (APP, "FIRSTPULL_POLICY:", "FIRSTPULL_RULES:", "FIRSTPULL_POLICY is missing"),
        (APP, "FIRSTPULL_KEY_VAULT_URL", "FIRSTPULL_VAULT_URL", "no setting FIRSTPULL_VAULT_URL"),
        (APP, "AzureWebJobsStorage__tableServiceUri", "X", "AzureWebJobsStorage__tableServiceUri"),
        (APP, "AzureWebJobsStorage__tableServiceUri", "AzureWebJobsStorage", "knows no setting"),
        (
            APP,
            "union(webhookSettings, {",
            "union(webhookSettings, tags, {",
            "what settings are in tags?",
        ),
        (
            APP,
            "      alwaysOn: false\n",
            "      appSettings: []\n",
            "settings are in siteConfig, too",
        ),
        (
            APP,
            "union(webhookSettings, {",
            "union(webhookSettings, empty(subnetId) ? {} : {",
            "FIRSTPULL_POLICY is there under a condition only",
        ),
        (APP, "AzureWebJobsStorage__credential", "X", "the platform's setting"),
        (APP, "'@Microsoft.KeyVault(", "'whsec_(", "is not a reference to the vault"),
        (APP, "name: 'appsettings'", "name: 'settings'", "app settings are in 0 places"),
    ],
    "roles": [
        (MAIN, "roles.storageTableDataContributor.id", "roles.storageBlobDataOwner.id", "nobody"),
        (MAIN, "roles.monitoringMetricsPublisher.id", "'Owner'", "'Owner' is no role of roles"),
        (VAULT, "'../vault-role.json'", "'../iot-hub-role.json'", "belongs on hub, not on vault"),
        (VAULT, "dataActions: role.DataActions", "dataActions: ['*']", "no role of roles.json"),
        (
            EVENTS,
            "principalId: topic.identity.principalId",
            "principalId: sourceId",
            "not for sourceId",
        ),
        (
            MAIN,
            "for id in registryIds: {",
            "for id in demoRegistryIds: {",
            "not made for all of registryIds",
        ),
        (
            MAIN,
            "for id in registryIds: {",
            "for id in registryIds: if (createDemo) {",
            "registryAccess is made under a condition only",
        ),
        (
            EVENTS,
            "roleAssignments@2022-04-01' = {",
            "roleAssignments@2022-04-01' = if (false) {",
            "mayFillTheQueue is made under a condition only",
        ),
        (HUB, "dataActions: role", "actions: role", "is no role of roles.json"),
        (REGISTRY, "actions: role", "notActions: role", "is no role of roles.json"),
        (
            ROLES,
            "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3",
            "8e3af657-a8ff-443c-a75c-2fe8c4bcb635",
            "is not known as the id of Storage Table Data Contributor",
        ),
        (EVENTS, "scope: queue\n", "scope: storage\n", "belongs on queue, not on storage"),
        (HUB, "scope: hub\n", "", "belongs on hub, not on everything"),
        (REGISTRY, "'../role.json'", "'../iot-hub-role.json'", "belongs on hub, not on registry"),
        (REGISTRY, "actions: role.Actions", "actions: ['*']", "no role of roles.json"),
        (
            MAIN,
            "appPrincipalId: identity.outputs.principalId",
            "appPrincipalId: principalId",
            "is not",
        ),
    ],
    "secrets": [
        (MAIN, "= vault.outputs.name", "= storage.outputs.primaryAccessKey", "is a secret"),
        (
            MAIN,
            "output FIRSTPULL_KEY_VAULT",
            "output VAULT_KEY",
            "the output VAULT_KEY tells a secret",
        ),
        (MAIN, "= vault.outputs.name", "= storage.outputs['primaryAccessKey']", "is a secret"),
        (
            MAIN,
            "KEY_VAULT string = vault.outputs.name",
            "KEY_VAULT object = vault.outputs",
            "the secret ones too",
        ),
        (APP, "vaultUrl\n", "listKeys(identityId, '1').key\n", "listKeys() reads keys"),
        (APP, "vaultUrl\n", "'AccountKey=abc'\n", "a connection string or a key"),
        (MAIN, "SecretName string = ''", "SecretName string = 'whsec_MfKQ9'", "string or a key"),
        (APP, "param vaultUrl", "@secure()\nparam vaultUrl", "vaultUrl is a secret"),
    ],
    "limits of names": [
        (MAIN, "'stfp${token}'", "'stfirstpull-${token}'", "is no name for avm/res/storage"),
        (MAIN, "'kv-fp-${token}'", "'kv-firstpull-${token}'", "is no name for avm/res/key-vault"),
        (MAIN, "take(last(split(id, '/')), 30)", "take(last(split(id, '/')), 40)", "evgt-Hub-h"),
        (
            MAIN,
            "'rg-${environmentName}'",
            "'group-of-a-stage-of-firstpull-${environmentName}'",
            "group:",
        ),
        (MAIN, "'log-firstpull-${token}'", "logs.outputs.name", "its name cannot be computed"),
        (
            MAIN,
            "take(last(split(id, '/')), 30)",
            "take(last(split(id, '/')))",
            "cannot be computed",
        ),
        (NETWORK, "name: 'endpoints'", "name: 'end/points'", "'end/points' is no name for subnets"),
        (HUB, "${hubName} ${environmentName}'", "${hub.id}'", "iotHubRole: its name cannot be"),
        (
            REGISTRY,
            "'${role.Name} ",
            f"'{'x' * 500}${{role.Name}} ",
            "is no name for Microsoft.Authorization/roleDefinitions",
        ),
        (
            MAIN,
            "'event-dead-letters'",
            "'event--dead-letters'",
            "is no name for one of the containers",
        ),
    ],
    "promises": [
        (
            MAIN,
            "SharedKeyAccess: false",
            "SharedKeyAccess: true",
            "allowSharedKeyAccess of avm/res",
        ),
        (MAIN, "PublicAccess: false", "PublicAccess: true", "allowBlobPublicAccess of avm/res"),
        (MAIN, "TrafficOnly: true", "TrafficOnly: false", "supportsHttpsTrafficOnly of avm/res"),
        (MAIN, "'TLS1_2'", "'TLS1_0'", "minimumTlsVersion of avm/res"),
        (MAIN, "    enablePurgeProtection: true\n", "", "enablePurgeProtection of avm/res"),
        (MAIN, "RbacAuthorization: true", "RbacAuthorization: false", "enableRbacAuthorization of"),
        (MAIN, "Days: 90", "Days: 7", "softDeleteRetentionInDays of avm/res"),
        (
            MAIN,
            "      disableLocalAuth: true\n",
            "      disableLocalAuth: false\n",
            "features.disableLocalAuth of avm/res/operational-insights/workspace is false",
        ),
        (
            MAIN,
            "    disableLocalAuth: true\n    role",
            "    disableLocalAuth: false\n    role",
            "disableLocalAuth of avm/res/insights/component is false",
        ),
        (
            MAIN,
            "param entraClientId string",
            "param entraClientId string = 'function-keys'",
            "value of parameter entraClientId is 'function-keys', where nothing is promised",
        ),
        (
            MAIN,
            "? '' : entraClientId",
            "? entraClientId : ''",
            "entraClientId of modules/app.bicep",
        ),
        (
            APP,
            "!empty(entraClientId)\n",
            "false\n",
            "platform.enabled of sites/config/authsettings",
        ),
        (APP, "'authsettingsV2'", "'authsettings'", "there is no sites/config/authsettingsV2"),
        (APP, "requireHttps: true", "requireHttps: false", "httpSettings.requireHttps of"),
        (APP, "'Return401'", "'AllowAnonymous'", "unauthenticatedClientAction of sites/config"),
        (
            APP,
            "empty(entraCallers) ? nobody : entraCallers",
            "empty(entraCallers) ? entraCallers : nobody",
            "allowedPrincipals.identities of sites/config/authsettingsV2",
        ),
        (APP, "000000']", "000001']", "value of variable nobody"),
        (APP, "httpsOnly: true", "httpsOnly: false", "httpsOnly of avm/res/web/site"),
        (APP, "minTlsVersion: '1.2'", "minTlsVersion: '1.0'", "siteConfig.minTlsVersion of avm"),
        (APP, "'ftp', allow: false", "'ftp', allow: true", "basicPublishingCredentialsPolicies of"),
        (APP, "'scm', allow: false", "'scm', allow: true", "basicPublishingCredentialsPolicies of"),
        (APP, "version: '3.13'", "version: '3.11'", "functionAppConfig.runtime.version of avm"),
        (APP, "[identityId]", "[]", "managedIdentities.userAssignedResourceIds of avm"),
        (
            APP,
            "    managedIdentities: {\n",
            "    managedIdentities: {\n      systemAssigned: true\n",
            "managedIdentities.systemAssigned of avm/res/web/site is true, where nothing",
        ),
        (
            APP,
            "AZURE_CLIENT_ID: identityClientId",
            "AZURE_CLIENT_ID: identityId",
            "AZURE_CLIENT_ID",
        ),
        (APP, "'managedidentity'", "'managedidentities'", "AzureWebJobsStorage__credential of"),
        (APP, "Uri: storageEndpoints.queue", "Uri: storageEndpoints.table", "queueServiceUri of"),
        (NETWORK, "'Microsoft.App/environments'", "'Microsoft.Web/serverFarms'", "subnets.0.deleg"),
        (
            EVENTS,
            "deliveryWithResourceIdentity",
            "delivery",
            "deliveryWithResourceIdentity.identity.type of Microsoft.EventGrid",
        ),
        (
            EVENTS,
            "deadLetterWithResourceIdentity",
            "deadLetter",
            "deadLetterWithResourceIdentity.identity.type of Microsoft.EventGrid",
        ),
        (EVENTS, "Schema'\n", "Schema'\n    destination: {}\n", "properties.destination of"),
        (EVENTS, "  dependsOn: [mayFillTheQueue, mayKeepDeadLetters]\n", "", "dependsOn of"),
        (DEMO, "adminUserEnabled: false", "adminUserEnabled: true", "adminUserEnabled of"),
        (DEMO, "disableLocalAuth: true", "disableLocalAuth: false", "disableLocalAuth of Micro"),
    ],
    "policy": [
        (MAIN, "    sites: sites\n", "    places: sites\n", "the policy: places: Extra inputs"),
        (MAIN, "containerRegistries: registryIds", "containerRegistries: hubIds", "the policy: "),
        (MAIN, "'plantone'", "'plant-one'", "the policy of a demo set: connectedRegistries.0.name"),
        (APP, "@minLength(1)\nparam hubs", "param hubs", "without iotHubIds an app is made"),
        (
            APP,
            "@minLength(1)\nparam containerReg",
            "param containerReg",
            "without containerRegistryIds",
        ),
        (
            MAIN,
            "connectedRegistries: wholePolicy.connectedRegistries",
            "connectedRegistries: connectedRegistries",
            "a demo set is refused",
        ),
        (
            MAIN,
            "connectedRegistries: wholePolicy.connectedRegistries",
            "connectedRegistries: [{}]",
            "without connectedRegistries an app is made",
        ),
    ],
    "names in the code": [
        (MAIN, "'device-work'", "'device-works'", "only the code has device-work among the queues"),
        (MAIN, "'${name}-poison'", "'${name}-dead'", "only the template has device-work-dead"),
        (MAIN, "['devices']", "['records']", "only the template has records among the tables"),
        (MAIN, "  'sweeps'\n", "", "only the code has sweeps among the containers"),
        (MAIN, "'Microsoft.Devices.DeviceDeleted'", "'Microsoft.Devices.DeviceGone'", "DeviceGone"),
        (MAIN, "Name: packageContainerName", "Name: 'package'", "a container that is not made"),
        (EVENTS, "queueName: queueName", "queueName: 'events'", "not what the module is told"),
        (MAIN, "queueName: eventQueueName", "queueName: 'device-work'", "does not hear them"),
        (APP, "'/api/healthz'", "'/api/devices'", "/api/devices is not open in the code"),
        (APP, "'/api/healthz'", "'/api/devices'", "/api/healthz is open in the code"),
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


@pytest.mark.parametrize(("file", "right", "wrong", "message"), ROWS)
def test_a_planted_mistake_is_found(
    copy: Path, file: str, right: str, wrong: str, message: str
) -> None:
    path = copy / file
    text = path.read_text()
    assert right in text
    path.write_text(text.replace(right, wrong))
    assert [str(finding) for finding in check_folder(copy) if message in str(finding)]


def test_a_role_that_is_needed_and_given_to_nobody_is_found(copy: Path) -> None:
    roles = json.loads((copy / "roles.json").read_text())
    roles["acrPush"] = {"name": "AcrPush", "id": "8311e382", "to": "app", "on": "registry"}
    (copy / "roles.json").write_text(json.dumps(roles))
    assert "AcrPush is assigned to nobody" in {f.message for f in check_folder(copy)}


def test_a_call_in_a_list_is_a_call(copy: Path) -> None:
    path = copy / REGISTRY
    path.write_text(path.read_text().replace("[group]", "[subscription().id]"))
    assert check_folder(copy) == []


def test_a_finding_tells_file_and_line(copy: Path) -> None:
    (copy / "modules/events.bicep").write_text("var one = 1\nvar two = missing\n")
    found = {str(finding) for finding in check_folder(copy)}
    assert "modules/events.bicep:2: missing is no name that is known" in found
