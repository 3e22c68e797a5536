"""The probes of an agent in a cluster, and its command there."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import aiohttp
import pytest
from firstpull_agent.cli import main
from firstpull_agent.probes import serve_probes

from local_azure.kernel.addresses import free_loopback_address
from local_azure.kernel.certificates import CertificateAuthority
from tests.device_agent.deliveries import PASSWORD, desired, entry_for
from tests.device_agent.fake_registry import FakeRegistry
from tests.device_agent.in_cluster import cluster_with, named

PORT = 8081


async def test_ready_is_what_the_agent_says_and_live_is_that_it_answers() -> None:
    host, ready = free_loopback_address(), [False]
    serving = asyncio.create_task(serve_probes(PORT, is_ready=lambda: ready[0], host=host))
    async with aiohttp.ClientSession(f"http://{host}:{PORT}") as session:

        async def status(path: str) -> int:
            async with session.get(path) as answer:
                return answer.status

        while not serving.done():
            try:
                assert await status("/livez") == 200
                break
            except aiohttp.ClientConnectorError:
                await asyncio.sleep(0.01)
        assert await status("/readyz") == 503
        ready[0] = True
        assert await status("/readyz") == 200
        ready[0] = False
        assert await status("/readyz") == 503
    serving.cancel()


async def test_the_command_applies_once_and_takes_away_what_is_no_longer_delivered(
    authority: CertificateAuthority,
    tmp_path: Path,
    registry: FakeRegistry,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with cluster_with(authority, tmp_path, desired(), named()) as it:
        kubeconfig = it.served.kubeconfig(tmp_path / "kubeconfig")
        options = ["--engine=kubernetes", "--namespaces=press, weld", f"--kubeconfig={kubeconfig}"]

        async def apply(wanted: object) -> int:
            (tmp_path / "stdin").write_text(json.dumps(wanted))
            with (tmp_path / "stdin").open() as stdin:
                monkeypatch.setattr("sys.stdin", stdin)
                return await asyncio.to_thread(main, ["apply", *options])

        assert await apply(desired(site1=entry_for(registry))) == 0
        assert '"LoggedIn"' in capsys.readouterr().out
        assert it.holds("weld", PASSWORD)
        assert await apply(desired()) == 0
        assert it.secret("weld") is None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "--namespaces or --namespace-selector"),
        (["--namespaces=press", "--instance=not a label"], "no value of a label"),
        (["--namespaces=press", "--secret-prefix=Big_"], "no name"),
    ],
)
def test_options_that_contradict_the_engine_are_explained(
    options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["apply", "--engine=kubernetes", *options]) == 2
    assert said in capsys.readouterr().err


def test_pull_is_for_devices(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["pull", "hello-world", "--engine=kubernetes", f"--state-dir={tmp_path}"]
    assert main(command) == 2
    assert "the nodes pull" in capsys.readouterr().err


def test_outside_a_cluster_it_says_that_there_is_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    assert main(["apply", "--engine=kubernetes", "--namespaces=press"]) == 2
    assert "no cluster to talk to" in capsys.readouterr().err
