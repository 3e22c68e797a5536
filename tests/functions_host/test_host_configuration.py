from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from local_azure.functions_host.host_json import HostJsonInvalid, read_host_json
from local_azure.functions_host.settings import AppSettings, IdentityConnection, SettingMissing


def read(tmp_path: Path, text: str, **settings: str) -> object:
    (tmp_path / "host.json").write_text(text)
    return read_host_json(tmp_path, AppSettings(settings))


def test_an_empty_host_json_means_azures_defaults(tmp_path: Path) -> None:
    (tmp_path / "host.json").write_text('{"version": "2.0", "logging": {"anything": 1}}')
    host_json = read_host_json(tmp_path, AppSettings({}))
    queues = host_json.extensions.queues
    assert host_json.extensions.http.route_prefix == "api"
    assert (queues.batch_size, queues.threshold, queues.max_dequeue_count) == (16, 8, 5)
    assert queues.max_polling_interval == timedelta(minutes=1)
    assert queues.visibility_timeout == timedelta()
    assert queues.message_encoding == "base64"
    assert host_json.singleton.listener_lock_period == timedelta(minutes=1)


def test_app_settings_replace_values_of_host_json(tmp_path: Path) -> None:
    (tmp_path / "host.json").write_text(
        '{"version": "2.0", "extensions": {"queues": {"batchSize": 2, "maxDequeueCount": 9}}}'
    )
    settings = {
        "AzureFunctionsJobHost__extensions__queues__batchSize": "4",
        "AzureFunctionsJobHost__singleton__listenerLockPeriod": "00:00:15",
    }
    host_json = read_host_json(tmp_path, AppSettings(settings))
    assert host_json.extensions.queues.batch_size == 4
    assert host_json.extensions.queues.threshold == 2
    assert host_json.extensions.queues.max_dequeue_count == 9
    assert host_json.singleton.listener_lock_period == timedelta(seconds=15)


def test_in_development_an_empty_queue_is_polled_every_two_seconds(tmp_path: Path) -> None:
    (tmp_path / "host.json").write_text('{"version": "2.0"}')
    settings = AppSettings({"AZURE_FUNCTIONS_ENVIRONMENT": "Development"})
    queues = read_host_json(tmp_path, settings).extensions.queues
    assert queues.max_polling_interval == timedelta(seconds=2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "valid dictionary"),
        ('{"version": "1.0"}', "version"),
        ('{"version": "2.0", "extensions": []}', "extensions"),
        ('{"version": "2.0", "extensions": {"queues": {"batchSize": 33}}}', "queues.batchSize"),
        ('{"version": "2.0", "extensions": {"queues": {"batchsize": 3}}}', "queues.batchsize"),
        (
            '{"version": "2.0", "extensions": {"queues": {"visibilityTimeout": "30"}}}',
            "written hh:mm:ss",
        ),
    ],
)
def test_a_wrong_host_json_is_refused_with_the_place(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(HostJsonInvalid, match=message):
        read(tmp_path, text)


def test_a_missing_host_json_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HostJsonInvalid, match="cannot be read"):
        read_host_json(tmp_path, AppSettings({}))


def test_placeholders_are_replaced_by_settings_whatever_their_case() -> None:
    settings = AppSettings({"Queue_Name": "orders"})
    assert settings.resolve("%QUEUE_NAME%-in") == "orders-in"
    with pytest.raises(SettingMissing, match="%OTHER%"):
        settings.resolve("%OTHER%")


def test_a_connection_is_a_connection_string_before_an_identity() -> None:
    identity = {"Orders__queueServiceUri": "https://orders.queue.core.windows.net"}
    both = AppSettings({"Orders": "AccountName=a", **identity})
    assert both.connection("Orders", service="queue") == "AccountName=a"
    assert AppSettings(identity).connection("Orders", service="queue") == IdentityConnection(
        service_uri="https://orders.queue.core.windows.net", managed_identity=False, client_id=None
    )


def test_a_connection_may_name_an_account_and_a_managed_identity() -> None:
    settings = AppSettings(
        {
            "AzureWebJobsStorage__accountName": "things",
            "AzureWebJobsStorage__credential": "managedidentity",
            "AzureWebJobsStorage__clientId": "id-1",
        }
    )
    assert settings.connection("AzureWebJobsStorage", service="blob") == IdentityConnection(
        service_uri="https://things.blob.core.windows.net", managed_identity=True, client_id="id-1"
    )


def test_a_missing_connection_names_the_settings_that_would_make_it() -> None:
    with pytest.raises(SettingMissing, match="Orders__queueServiceUri"):
        AppSettings({}).connection("Orders", service="queue")
