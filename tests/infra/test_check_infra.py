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
PARAMETERS = "main.parameters.json"

MISTAKES = {
    "syntax": [
        (MAIN, "param location string", "param location", "'identifier' is missing"),
        (APP, "  name: 'plan'\n", "  name 'plan'\n", "this is not Bicep"),
    ],
    "names": [
        (MAIN, "tags: tags", "tags: tagz", "tagz is no name that is known"),
        (MAIN, "take(last", "tak(last", "tak is no function that is known"),
        (MAIN, "var tags =", "var spare = 1\nvar tags =", "spare is never used"),
        (EVENTS, "param tags object", "param tags object\nparam more string", "more is never used"),
        (MAIN, "var tags =", "var tags = {}\nvar tags =", "tags is declared 2 times"),
        (EVENTS, "parent: storage::blobs", "parent: storage", "blobs is never used"),
        (MAIN, "name => { name: name }", "item => { name: name }", "name is no name that is known"),
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
        (MAIN, "network!.outputs.appSubnetId", "network!.outputs.subnet", "has no output subnet"),
        (MAIN, "hubAccess[index].outputs.location", "hubAccess[index].outputs.id", "no output id"),
    ],
    "parameters": [
        (PARAMETERS, '"createDemo"', '"makeDemo"', "main.bicep has no parameter makeDemo"),
        (PARAMETERS, '"createDemo"', '"makeDemo"', "the parameter createDemo cannot be set"),
        (PARAMETERS, '"${FIRSTPULL_SITES}"', '"plant"', "'plant' is not a variable"),
        (PARAMETERS, "{FIRSTPULL_SITES}", "{FIRSTPULL_DEMO}", "${FIRSTPULL_DEMO} is there 2 times"),
    ],
    "settings": [
        (APP, "FIRSTPULL_POLICY:", "FIRSTPULL_RULES:", "FIRSTPULL_POLICY is missing"),
        (APP, "FIRSTPULL_KEY_VAULT_URL", "FIRSTPULL_VAULT_URL", "no setting FIRSTPULL_VAULT_URL"),
        (APP, "AzureWebJobsStorage__tableServiceUri", "X", "AzureWebJobsStorage__tableServiceUri"),
        (APP, "AzureWebJobsStorage__tableServiceUri", "AzureWebJobsStorage", "knows no setting"),
        (APP, "AzureWebJobsStorage__credential", "X", "the platform's setting"),
        (APP, "'@Microsoft.KeyVault(", "'whsec_(", "is not a reference to the vault"),
        (APP, "name: 'appsettings'", "name: 'settings'", "app settings are in 0 places"),
    ],
    "roles": [
        (MAIN, "roles.storageTableDataContributor.id", "roles.storageBlobDataOwner.id", "nobody"),
        (MAIN, "roles.monitoringMetricsPublisher.id", "'Owner'", "'Owner' is no role of roles.json"),
        (
            EVENTS,
            "principalId: topic.identity.principalId",
            "principalId: sourceId",
            "not for sourceId",
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
        (APP, "vaultUrl\n", "listKeys(identityId, '1').key\n", "listKeys() reads keys"),
        (APP, "vaultUrl\n", "'AccountKey=abc'\n", "a connection string or a key"),
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
            "'event-dead-letters'",
            "'event--dead-letters'",
            "is no name for one of the containers",
        ),
    ],
    "policy": [
        (MAIN, "    sites: sites\n", "    places: sites\n", "the policy: places: Extra inputs"),
        (MAIN, "containerRegistries: registryIds", "containerRegistries: hubIds", "the policy: "),
    ],
    "names in the code": [
        (MAIN, "'device-work'", "'device-works'", "only the code has device-work among the queues"),
        (MAIN, "'${name}-poison'", "'${name}-dead'", "only the template has device-work-dead"),
        (MAIN, "['devices']", "['records']", "only the template has records among the tables"),
        (MAIN, "  'sweeps'\n", "", "only the code has sweeps among the containers"),
        (MAIN, "'Microsoft.Devices.DeviceDeleted'", "'Microsoft.Devices.DeviceGone'", "DeviceGone"),
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


def test_a_finding_tells_file_and_line(copy: Path) -> None:
    (copy / "modules/events.bicep").write_text("var one = 1\nvar two = missing\n")
    found = {str(finding) for finding in check_folder(copy)}
    assert "modules/events.bicep:2: missing is no name that is known" in found
