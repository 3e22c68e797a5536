from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import timedelta

import pytest

from firstpull.config.settings import SettingsError, read_settings, unresolved_references
from tests.firstpull.harness import HUB, REGISTRY

POLICY = json.dumps(
    {
        "hubs": [HUB],
        "containerRegistries": [str(REGISTRY)],
        "connectedRegistries": [{"name": "plantone"}],
    }
)
STORAGE = "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=c2VzYW1l"
GOOD = {
    "FIRSTPULL_POLICY": POLICY,
    "FIRSTPULL_KEY_VAULT_URL": "https://v.vault.azure.net/",
    "AzureWebJobsStorage": STORAGE,
}


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("FIRSTPULL_", "AzureWebJobsStorage", "AZURE_CLIENT_ID")):
            monkeypatch.delenv(name)


def set_all(monkeypatch: pytest.MonkeyPatch, settings: Mapping[str, str]) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)


def lines(monkeypatch: pytest.MonkeyPatch, settings: Mapping[str, str]) -> dict[str, str]:
    """What is wrong with these settings, by variable."""
    set_all(monkeypatch, settings)
    with pytest.raises(SettingsError) as raised:
        read_settings()
    _, *found = str(raised.value).splitlines()
    return {name.strip(): reason for name, _, reason in (line.partition(": ") for line in found)}


def test_settings_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    more = {"FIRSTPULL_PASSWORD_VALIDITY_DAYS": "30", "AZURE_CLIENT_ID": "id"}
    set_all(monkeypatch, GOOD | more)
    settings = read_settings()
    assert settings.key_vault_url == "https://v.vault.azure.net"
    assert settings.policy is not None
    assert [entry.name for entry in settings.policy.connected_registries] == ["plantone"]
    assert settings.password_validity == timedelta(days=30)
    assert (settings.deployment, settings.client_id) == ("firstpull", "id")
    assert settings.storage == STORAGE


def test_storage_may_be_reached_with_the_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    without = {k: v for k, v in GOOD.items() if k != "AzureWebJobsStorage"}
    addresses = {
        f"AzureWebJobsStorage__{service}ServiceUri": f"https://a.{service}.core.windows.net"
        for service in ("blob", "queue", "table")
    }
    set_all(monkeypatch, without | addresses)
    assert read_settings().storage_table_url == "https://a.table.core.windows.net"


def test_every_missing_setting_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = {"FIRSTPULL_POLICY", "FIRSTPULL_KEY_VAULT_URL", "AzureWebJobsStorage"}
    assert set(lines(monkeypatch, {})) == missing


def test_every_wrong_setting_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {
        **GOOD,
        "FIRSTPULL_DEPLOYMENT": "Not Lower",
        "FIRSTPULL_KEY_VAULT_URL": "http://v.vault.azure.net",
        "FIRSTPULL_PASSWORD_VALIDITY_DAYS": "many",
        "FIRSTPULL_ARM_ENDPOINT": "management.azure.com",
        "FIRSTPULL_IOT_HUB_AUDIENCE": "",
        "AzureWebJobsStorage__blobServiceUri": "ftp://a",
    }
    assert set(lines(monkeypatch, wrong)) == {
        "FIRSTPULL_DEPLOYMENT",
        "FIRSTPULL_KEY_VAULT_URL",
        "FIRSTPULL_PASSWORD_VALIDITY_DAYS",
        "FIRSTPULL_ARM_ENDPOINT",
        "FIRSTPULL_IOT_HUB_AUDIENCE",
        "AzureWebJobsStorage__blobServiceUri",
    }


def test_errors_in_the_policy_name_their_connected_registry_in_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    policy = json.dumps(
        {
            "hubs": [HUB],
            "containerRegistries": [str(REGISTRY), "acrtest"],
            "connectedRegistries": [{"name": "plantone", "capacity": -1}, {"name": "planttwo"}],
        }
    )
    found = lines(monkeypatch, GOOD | {"FIRSTPULL_POLICY": policy})
    assert set(found) == {
        "FIRSTPULL_POLICY.containerRegistries.1",
        "FIRSTPULL_POLICY.connectedRegistries.0.capacity",
    }


@pytest.mark.parametrize(
    ("name", "value", "path"),
    [
        ("FIRSTPULL_POLICY", POLICY.replace('"hubs"', '"hubs": ["a.example"], "hubs"'), "/hubs"),
        (
            "FIRSTPULL_POLICY",
            POLICY.replace('"plantone"', '"planttwo", "name": "plantone"'),
            "/connectedRegistries/0/name",
        ),
        (
            "FIRSTPULL_NAMED_KEYS",
            f'[{{"name": "a", "name": "b", "sha256": "{"0" * 64}", "roles": ["Reader"]}}]',
            "/0/name",
        ),
    ],
)
def test_json_with_a_name_twice_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, path: str
) -> None:
    found = lines(monkeypatch, GOOD | {name: value})
    assert found == {name: f"an object has a name twice: {path}"}


def test_a_policy_that_is_not_json_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(lines(monkeypatch, GOOD | {"FIRSTPULL_POLICY": "{hubs"})) == {"FIRSTPULL_POLICY"}


@pytest.mark.parametrize(
    "storage",
    [
        {},
        {"AzureWebJobsStorage__blobServiceUri": "https://a"},
        {
            "AzureWebJobsStorage": STORAGE,
            "AzureWebJobsStorage__blobServiceUri": "https://a",
            "AzureWebJobsStorage__queueServiceUri": "https://a",
            "AzureWebJobsStorage__tableServiceUri": "https://a",
        },
    ],
    ids=["neither", "half", "both"],
)
def test_storage_has_to_be_set_in_one_way(
    monkeypatch: pytest.MonkeyPatch, storage: dict[str, str]
) -> None:
    without = {k: v for k, v in GOOD.items() if k != "AzureWebJobsStorage"}
    assert set(lines(monkeypatch, without | storage)) == {"AzureWebJobsStorage"}


@pytest.mark.parametrize(
    ("setting", "value"),
    [("FIRSTPULL_POLICY_BLOB", "policy/policy.json"), ("FIRSTPULL_POLICY_FILE", "/policy.json")],
)
def test_the_policy_may_be_in_a_document(
    monkeypatch: pytest.MonkeyPatch, setting: str, value: str
) -> None:
    set_all(monkeypatch, GOOD | {"FIRSTPULL_POLICY": "", setting: value})
    settings = read_settings()
    assert (settings.policy, settings.policy_setting) == (None, setting)


@pytest.mark.parametrize(
    "policy",
    [
        {},
        {"FIRSTPULL_POLICY": ""},
        {"FIRSTPULL_POLICY": POLICY, "FIRSTPULL_POLICY_BLOB": "policy/policy.json"},
        {"FIRSTPULL_POLICY_FILE": "a", "FIRSTPULL_POLICY_BLOB": "policy/policy.json"},
    ],
    ids=["none", "empty", "both", "two documents"],
)
def test_the_policy_has_to_be_set_in_one_way(
    monkeypatch: pytest.MonkeyPatch, policy: dict[str, str]
) -> None:
    without = {k: v for k, v in GOOD.items() if k != "FIRSTPULL_POLICY"}
    assert set(lines(monkeypatch, without | policy)) == {"FIRSTPULL_POLICY"}


def test_a_blob_without_a_container_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = GOOD | {"FIRSTPULL_POLICY": "", "FIRSTPULL_POLICY_BLOB": "policy.json"}
    assert set(lines(monkeypatch, wrong)) == {"FIRSTPULL_POLICY_BLOB"}


def test_a_secret_that_the_platform_could_not_read_switches_webhooks_off_and_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reference = "@Microsoft.KeyVault(VaultName=v;SecretName=webhook-keys)"
    set_all(monkeypatch, GOOD | {"FIRSTPULL_WEBHOOK_KEYS": reference})
    assert read_settings().webhook_keys == ()
    assert list(unresolved_references()) == ["FIRSTPULL_WEBHOOK_KEYS"]


def test_no_value_is_repeated_in_the_message(monkeypatch: pytest.MonkeyPatch) -> None:
    marked = "S3SAME"
    found = lines(
        monkeypatch,
        {
            "FIRSTPULL_DEPLOYMENT": f"{marked}!",
            "FIRSTPULL_POLICY": json.dumps({"hubs": [f"{marked}/"], "sites": marked}),
            "FIRSTPULL_KEY_VAULT_URL": marked,
            "FIRSTPULL_PASSWORD_VALIDITY_DAYS": marked,
            "AzureWebJobsStorage": f"AccountKey={marked}",
            "AzureWebJobsStorage__blobServiceUri": marked,
        },
    )
    assert len(found) >= 6
    assert marked not in str(found)
