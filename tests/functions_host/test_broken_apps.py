from __future__ import annotations

import sys

import pytest

from local_azure.functions_host.__main__ import main
from local_azure.functions_host.host import check_served
from local_azure.functions_host.worker import AppRejected, Binding, Function

from .hosts import APPS, spawn_host


@pytest.mark.parametrize(
    ("app", "diagnosis"),
    [
        ("unbound_parameter", "{'database'}"),
        ("plain_output", "not a subclass of azure.functions.Out"),
        ("two_apps", "More than one FunctionApp"),
        ("queues", "set Orders to a connection string or Orders__queueServiceUri"),
    ],
)
async def test_a_wrong_app_ends_the_host_with_the_reason(app: str, diagnosis: str) -> None:
    process = await spawn_host(app, {})
    printed, log = await process.communicate()
    assert process.returncode == 1
    assert printed == b""
    assert diagnosis in log.decode()


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


def test_a_binding_that_this_host_does_not_serve_is_refused() -> None:
    trigger = Binding("req", "httpTrigger", {"direction": "IN"})
    picture = Binding("picture", "blob", {"direction": "IN"})
    function = Function("show", "1", (trigger, picture), has_retry_policy=False)
    with pytest.raises(AppRejected, match="show uses blob"):
        check_served(function)
