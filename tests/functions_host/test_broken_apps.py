from __future__ import annotations

import sys
from pathlib import Path

import pytest

from local_azure.functions_host.__main__ import main
from local_azure.functions_host.functions import AppRejected, Binding, Function
from local_azure.functions_host.host import check_served

from .hosts import APPS, spawn_host

HTTP = Binding("req", "httpTrigger", {})
UNBOUND_PARAMETER = """
import azure.functions as func
app = func.FunctionApp()
@app.route("hello")
def hello(req: func.HttpRequest, database: str) -> func.HttpResponse: ...
"""


async def test_an_app_that_the_worker_rejects_ends_the_host_with_the_reason(
    tmp_path: Path,
) -> None:
    (tmp_path / "function_app.py").write_text(UNBOUND_PARAMETER)
    (tmp_path / "host.json").write_text((APPS / "web" / "host.json").read_text())
    await expect_refusal(tmp_path, "{'database'}")


async def test_an_app_without_its_storage_ends_the_host_with_the_settings_name() -> None:
    await expect_refusal(APPS / "queues", "set AzureWebJobsStorage to a connection string, or")


async def expect_refusal(folder: Path, reason: str) -> None:
    process = await spawn_host(folder, {})
    printed, log = await process.communicate()
    assert (process.returncode, printed) == (1, b"")
    assert reason in log.decode()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--app-dir", str(APPS / "web"), "--host", "192.0.2.1"], "not a loopback address"),
        (["--app-dir", str(APPS / "nowhere")], "is no folder"),
        ([], "--app-dir"),
    ],
)
def test_wrong_arguments_are_refused_with_the_reason(
    arguments: list[str],
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["functions_host", *arguments])
    with pytest.raises(SystemExit):
        main()
    assert reason in capsys.readouterr().err


@pytest.mark.parametrize(
    ("binding", "reason"),
    [
        (Binding("picture", "blob", {}), "show uses blob"),
        (Binding("message", "queueTrigger", {"connection": "Orders"}), "the connection Orders"),
        (Binding("message", "queueTrigger", {"queueName": "%QUEUE%"}), "a placeholder"),
    ],
)
def test_a_binding_that_is_not_served_is_refused(binding: Binding, reason: str) -> None:
    with pytest.raises(AppRejected, match=reason):
        check_served(Function("show", "1", (HTTP, binding)))
