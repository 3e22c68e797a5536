from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from local_azure.functions_host.host_json import HostJson, HostJsonInvalid, read_host_json
from local_azure.functions_host.settings import AppSettings, IdentityConnection, SettingMissing

QUEUES = '{"version": "2.0", "extensions": {"queues": {"messageEncoding": "none"%s}}}'


def read(tmp_path: Path, text: str, **settings: str) -> HostJson:
    (tmp_path / "host.json").write_text(text)
    return read_host_json(tmp_path, AppSettings(settings))


def test_what_host_json_leaves_out_has_azures_default(tmp_path: Path) -> None:
    host_json = read(tmp_path, QUEUES % "")
    queues = host_json.extensions.queues
    assert host_json.extensions.http.route_prefix == "api"
    assert (queues.batch_size, queues.threshold, queues.max_dequeue_count) == (16, 8, 5)
    assert queues.max_polling_interval == timedelta(minutes=1)
    assert queues.visibility_timeout == timedelta()
    assert host_json.singleton.listener_lock_period == timedelta(minutes=1)


def test_app_settings_replace_values_of_host_json(tmp_path: Path) -> None:
    host_json = read(
        tmp_path,
        QUEUES % ', "batchSize": 2, "maxDequeueCount": 9',
        AzureFunctionsJobHost__extensions__queues__batchSize="4",
        AzureFunctionsJobHost__singleton__listenerLockPeriod="00:00:15",
    )
    queues = host_json.extensions.queues
    assert (queues.batch_size, queues.threshold, queues.max_dequeue_count) == (4, 2, 9)
    assert host_json.singleton.listener_lock_period == timedelta(seconds=15)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "valid dictionary"),
        ('{"version": "1.0"}', "version"),
        ('{"version": "2.0", "extensions": {"queues": {}}}', "queues.messageEncoding"),
        (QUEUES % ', "batchSize": 33', "queues.batchSize"),
        (QUEUES % ', "batchsize": 3', "queues.batchsize"),
        (QUEUES % ', "visibilityTimeout": "30"', "written hh:mm:ss"),
    ],
)
def test_a_wrong_host_json_is_refused_with_the_field(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(HostJsonInvalid, match=message):
        read(tmp_path, text)


def test_a_missing_host_json_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HostJsonInvalid, match="cannot be read"):
        read_host_json(tmp_path, AppSettings({}))


def test_storage_is_reached_by_a_connection_string_before_an_identity() -> None:
    identity = {
        "azurewebjobsstorage__queueServiceUri": "https://orders.queue.core.windows.net",
        "AzureWebJobsStorage__clientId": "id-1",
    }
    both = AppSettings({"AzureWebJobsStorage": "AccountName=a", **identity})
    assert both.storage("queue") == "AccountName=a"
    assert AppSettings(identity).storage("queue") == IdentityConnection(
        service_uri="https://orders.queue.core.windows.net", client_id="id-1"
    )
    with pytest.raises(SettingMissing, match="AzureWebJobsStorage__blobServiceUri"):
        AppSettings(identity).storage("blob")
