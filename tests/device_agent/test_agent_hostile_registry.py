"""A hostile registry: whatever it answers, the agent reports a failure in time and goes on."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from firstpull_agent.applied import AppliedStore
from firstpull_agent.auth_file import AuthFile
from firstpull_agent.ca_files import CaFiles
from firstpull_agent.convergence import Convergence
from firstpull_agent.engines.oci import Oci
from firstpull_agent.logins import Logins
from firstpull_agent.registry import check_login
from firstpull_agent.reports import Reason
from firstpull_agent.service import Service
from firstpull_agent.times import MachineTime

from .conftest import Agent
from .deliveries import PASSWORD, USERNAME, desired, entry, entry_for
from .fake_registry import INDEX, MANIFEST, FakeRegistry, digest_of
from .fakes import FakeHub
from .hostile import (
    BLOCK,
    DEEP,
    ODD_VALUES,
    SLOW,
    WRONG,
    Script,
    answer,
    once,
    silence,
)

LOGIN_CALLS = ("challenge", "token", "proof")
PULL_CALLS = ("manifests", "blobs")
FIRST_OF_LOGIN = [
    "token",
    *(pytest.param(c, marks=pytest.mark.slow) for c in ("challenge", "proof")),
]
FIRST_OF_PULL = ["manifests", pytest.param("blobs", marks=pytest.mark.slow)]
"""The calls, of which the slow tier has all."""
EVERY = pytest.mark.parametrize("every", [9, pytest.param(1, marks=pytest.mark.slow)])
# Far more than any try may take here, and far less than a registry could make it take.
IN_TIME_SECONDS = 60.0
MEMORY_BYTES = 300 << 20

_MEASURED = r"""
import pathlib, re, sys
from firstpull_agent.cli import main
status = main(sys.argv[1:])
# Not ru_maxrss, which begins with what the process had that started this one.
said = pathlib.Path("/proc/self/status").read_text()
print(re.search(r"VmHWM:\s+(\d+) kB", said)[1], file=sys.stderr)
sys.exit(status)
"""


@contextmanager
def hostile(call: str, script: Script, *, secure: bool = False) -> Iterator[FakeRegistry]:
    """An honest registry, but for one call."""
    with FakeRegistry(secure=secure, scripts={call: script}).listening() as registry:
        registry.accept(USERNAME, PASSWORD, "hello-world")
        registry.add_image("hello-world", "latest")
        yield registry


def apply_in_a_process(
    folder: Path, wanted: dict[str, Any], *arguments: str
) -> tuple[dict[str, Any], int]:
    """What the agent reports, and how many bytes of memory it took."""
    places = [f"--state-dir={folder / 'state'}", f"--auth-file={folder / 'auth.json'}"]
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", _MEASURED, "apply", "--engine=oci", *places, *arguments],
        input=json.dumps(wanted),
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=IN_TIME_SECONDS,
        check=False,
    )
    assert "Traceback" not in done.stderr
    assert PASSWORD not in done.stdout + done.stderr
    entries: dict[str, Any] = json.loads(done.stdout)["firstpull"]["registryCredentials"]
    return entries, int(done.stderr.split()[-1]) * 1024


@pytest.mark.parametrize("call", FIRST_OF_LOGIN)
def test_every_hostile_answer_at_once_is_reported_in_time_and_memory_beside_a_good_registry(
    tmp_path: Path, call: str
) -> None:
    scripts = {**SLOW, **WRONG}
    with ExitStack() as stack:
        good = stack.enter_context(FakeRegistry().listening())
        good.accept(USERNAME, PASSWORD)
        entries = {
            name: entry_for(stack.enter_context(hostile(call, script)))
            for name, script in scripts.items()
        }
        reported, memory = apply_in_a_process(
            tmp_path, desired(**entries, good=entry_for(good)), "--wait=10"
        )

    assert reported.pop("good")["state"] == "LoggedIn"
    assert reported.keys() == scripts.keys()
    known = {None, *Reason} - {Reason.AGENT_FAILED, Reason.STORAGE_FAILED}
    assert {
        name: said["reason"] for name, said in reported.items() if said["reason"] not in known
    } == {}
    if call != "proof":  # whose body does not matter
        assert [name for name, said in reported.items() if said["state"] == "LoggedIn"] == []
    assert {reported[name]["reason"] for name in SLOW} == {"RegistryUnreachable"}
    assert memory < MEMORY_BYTES


@pytest.mark.parametrize(
    "body",
    [
        b"[" * DEEP,
        b'{"access_token":' * DEEP,
        *(json.dumps({"access_token": odd}).encode() for odd in ("\u20ac", "\ud800", "a\nb", 7)),
    ],
    ids=lambda body: repr(body[:30]),
)
def test_a_token_that_no_header_can_hold_is_an_unexpected_answer(agent: Agent, body: bytes) -> None:
    with hostile("token", once(answer(body))) as registry:
        status, reported = agent.apply(desired(site1=entry_for(registry)))

    assert (status, reported["site1"]["reason"]) == (1, "UnexpectedAnswer")


def test_compressed_content_is_not_expanded(agent: Agent) -> None:
    with hostile("token", WRONG["gzip bomb"]) as registry:
        _, reported = agent.apply(desired(site1=entry_for(registry)))

    assert reported["site1"]["reason"] == "UnexpectedAnswer"


@pytest.mark.parametrize("secure", [True, False])
@pytest.mark.parametrize("call", FIRST_OF_LOGIN)
def test_a_byte_now_and_then_does_not_prolong_the_wait(
    agent: Agent, call: str, *, secure: bool
) -> None:
    with hostile(call, SLOW["slow body"], secure=secure) as registry:
        began = time.monotonic()
        status, reported = agent.apply(desired(site1=entry_for(registry)), "--wait=2")

    assert (status, reported["site1"]["reason"]) == (1, "RegistryUnreachable")
    assert time.monotonic() - began < 15


def test_a_handshake_that_never_ends_does_not_prolong_the_wait(agent: Agent) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        _, reported = agent.apply(desired(site1=entry(address)), "--wait=2")

    assert reported["site1"]["reason"] == "RegistryUnreachable"


def test_a_connection_that_is_never_accepted_does_not_prolong_the_wait(agent: Agent) -> None:
    with ExitStack() as stack:
        full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):  # Linux ignores who comes after the backlog is full
            waiting = stack.enter_context(socket.socket())
            waiting.settimeout(0)
            waiting.connect_ex(full.getsockname())
        address = f"127.0.0.1:{full.getsockname()[1]}"
        _, reported = agent.apply(desired(site1=entry(address)), "--wait=2")

    assert reported["site1"]["reason"] == "RegistryUnreachable"


def test_a_name_that_nobody_resolves_does_not_prolong_the_wait(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered = threading.Event()
    real = socket.getaddrinfo

    def look_up(host: str, *arguments: Any) -> Any:  # noqa: ANN401 - of getaddrinfo
        if host == "registry.example.com":
            answered.wait()
        return real(host, *arguments)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    began = time.monotonic()
    _, reported = agent.apply(desired(site1=entry("registry.example.com:443")), "--wait=2")
    took = time.monotonic() - began
    answered.set()

    assert reported["site1"]["reason"] == "RegistryUnreachable"
    assert took < 15


@pytest.mark.parametrize(
    "realm",
    [
        "http://{stranger}\\@{registry}/token",
        "http://{registry}\\@{stranger}/token",
        "http://{registry}@{stranger}/token",
        "http://{stranger}@{registry}/token",
        "http://a:b@{registry}/token",
        "http://{stranger}#@{registry}/token",
        "http://{stranger}?@{registry}/token",
        "http:\\\\{stranger}/token",
        "http:/{stranger}/token",
        "http:{stranger}/token",
        "//{stranger}/token",
        "http://{stranger}\t/token",
        "http://[{registry}]/token",
        "http://{registry}%2f@{stranger}/token",
        "http://{registry}%00.{stranger}/token",
        "http://{registry}:{stranger}/token",
        "ftp://{registry}/token",
        "http://xn--a./token",
    ],
)
def test_the_host_that_is_checked_is_the_host_that_is_dialled(agent: Agent, realm: str) -> None:
    with (
        FakeRegistry(secure=False).listening() as stranger,
        FakeRegistry(secure=False).listening() as registry,
    ):
        # Two hosts, of which only the names differ, because both are this machine.
        there = stranger.address.replace("127.0.0.1", "localhost")
        registry.realm = realm.format(stranger=there, registry=registry.address)
        _, reported = agent.apply(desired(site1=entry_for(registry)))

        assert reported["site1"]["reason"] == "TokenServiceNotTrusted"
        assert stranger.requests == []
        assert registry.passwords_seen() == []


@pytest.mark.parametrize("call", LOGIN_CALLS)
def test_a_login_is_not_redirected(agent: Agent, call: str) -> None:
    with FakeRegistry(secure=False).listening() as stranger:
        elsewhere = {"Location": f"http://{stranger.address}/v2/"}
        script = once(answer(status="307 Temporary Redirect", headers=elsewhere))
        with hostile(call, script) as registry:
            _, reported = agent.apply(desired(site1=entry_for(registry)))

        assert reported["site1"]["reason"] == "UnexpectedAnswer"
        assert stranger.requests == []


async def test_a_registry_that_hangs_delays_no_delivery_no_withdrawal_no_report_and_no_stop(
    tmp_path: Path,
) -> None:
    with hostile("token", SLOW["slow body"]) as hanging, FakeRegistry().listening() as good:
        good.accept(USERNAME, PASSWORD)
        hub = FakeHub(desired(hangs=entry_for(hanging), good=entry_for(good)))
        engine = Oci(AuthFile(tmp_path / "auth.json"), CaFiles(tmp_path / "certs.d"))
        logins = Logins(engine=engine, store=AppliedStore(tmp_path / "applied.json"))
        rng = random.Random(1)  # noqa: S311
        clocks = MachineTime()
        check = partial(check_login, now=clocks.now)
        convergence = Convergence(logins, check=check, time=clocks, rng=rng)
        service = Service(hub, convergence, time=clocks, rng=rng)
        task = asyncio.create_task(service.run())

        await hub.until(lambda: hub.reported.get("good", {}).get("state") == "LoggedIn")
        await hub.until(lambda: len(hanging.passwords_seen()) == 1)
        hub.change(desired(hangs=entry_for(hanging)))
        await hub.until(lambda: "good" not in hub.reported)
        assert not engine.auth_file.has(good.address)
        assert "hangs" not in hub.reported  # it still waits for an answer

        hub.change(desired())
        await hub.until(lambda: hub.reads == 3)
        service.stop()
        await asyncio.wait_for(task, 10)
        assert not engine.auth_file.has(hanging.address)


def test_a_termination_ends_the_agent_while_a_registry_hangs(tmp_path: Path) -> None:
    with hostile("token", silence) as registry:
        program = _SERVED.format(wanted=desired(site1=entry_for(registry)))
        agent = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)])  # noqa: S603
        try:
            while not registry.passwords_seen():
                assert agent.poll() is None
                time.sleep(0.05)
            agent.send_signal(signal.SIGTERM)
            assert agent.wait(10) == 0
        finally:
            agent.kill()
            agent.wait()


_SERVED = """
import sys
from unittest.mock import patch
from firstpull_agent import cli
from tests.device_agent.fakes import FakeHub

with patch.object(cli, "_hub", lambda _: FakeHub({wanted!r})):
    sys.exit(cli.main(["run", "--engine=oci", f"--state-dir={{sys.argv[1]}}"]))
"""


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deadlines of a pull that a test can wait for."""
    for name in ("engines.oci.ANSWER_SECONDS", "http_client.ANSWER_SECONDS"):
        monkeypatch.setattr(f"firstpull_agent.{name}", 5.0)
    monkeypatch.setattr("firstpull_agent.engines.oci_layout._BLOB_SECONDS", 5.0)


def pull_fails(agent: Agent, registry: FakeRegistry, script: Script, call: str) -> str:
    """What is said about a pull that fails for this one call."""
    registry.scripts = {}
    agent.log_in(registry)
    registry.scripts = {call: script}
    done = agent("pull", "hello-world")
    left = [path for path in agent.folder.rglob("*") if path.suffix == ".partial"]
    assert (done.status, done.out, left) == (1, "", [])
    assert "Traceback" not in done.err
    assert "AgentFailed" not in done.err
    return done.err


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("call", FIRST_OF_PULL)
@EVERY
def test_every_hostile_answer_to_a_pull_is_a_failure_that_is_explained(
    agent: Agent, call: str, every: int
) -> None:
    with hostile("", silence) as registry:
        for script in list(WRONG.values())[::every]:
            pull_fails(agent, registry, script, call)


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("call", FIRST_OF_PULL)
def test_a_pull_that_gets_a_byte_now_and_then_ends(agent: Agent, call: str) -> None:
    with hostile("", silence) as registry:
        said = pull_fails(agent, registry, SLOW["slow body"], call)

    assert "RegistryUnreachable" in said


def test_a_layer_is_written_up_to_its_declared_size_only(agent: Agent) -> None:
    sent = 0

    def counted() -> Iterator[bytes]:
        nonlocal sent
        yield b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
        while True:
            yield BLOCK
            sent += len(BLOCK)

    with hostile("", silence) as registry:
        said = pull_fails(agent, registry, counted, "blobs")

    assert "more than" in said
    assert sent < 100 * len(BLOCK)


def test_an_image_that_the_disk_cannot_hold_is_not_begun(
    agent: Agent, registry: FakeRegistry
) -> None:
    layer = {"digest": digest_of(b""), "size": 10**30}
    registry.add_manifest("hello-world", "latest", {"config": layer, "layers": []})
    agent.log_in(registry)

    assert "has room for" in agent("pull", "hello-world").err
    assert not [request for request in registry.requests if request.call == "blobs"]


def _manifests() -> Iterator[tuple[str, object]]:
    good = {"digest": digest_of(b"a"), "size": 1}
    for odd in [*ODD_VALUES, [7] * 3]:
        for field in ("config", "layers"):
            yield MANIFEST, {"config": good, "layers": [good], field: odd}
        for field in ("digest", "size"):
            if odd != 1:
                yield MANIFEST, {"config": good, "layers": [{**good, field: odd}]}
        yield MANIFEST, odd
        yield INDEX, {"manifests": odd}
        for entry_ in (odd, {"platform": odd}, {"platform": {"os": odd, "architecture": "amd64"}}):
            yield INDEX, {"manifests": [entry_]}
        everywhere = [
            {"platform": {"os": "linux", "architecture": machine}, "digest": odd}
            for machine in ("amd64", "arm64")
        ]
        yield INDEX, {"manifests": everywhere}
    yield "text/html", {"config": good, "layers": []}
    yield "", {"config": good, "layers": []}


@EVERY
def test_every_malformed_manifest_is_a_failure_that_is_explained(
    agent: Agent, registry: FakeRegistry, every: int
) -> None:
    agent.log_in(registry)
    for media_type, manifest in list(_manifests())[::every]:
        registry.add_manifest("hello-world", "latest", manifest, media_type)
        done = agent("pull", "hello-world")
        assert (done.status, done.out) == (1, ""), manifest
        assert "AgentFailed" not in done.err, manifest


def test_a_list_of_manifests_that_names_a_list_is_not_followed(
    agent: Agent, registry: FakeRegistry
) -> None:
    platforms = [{"os": "linux", "architecture": machine} for machine in ("amd64", "arm64")]
    inner = registry.add_manifest("hello-world", "inner", {"manifests": []}, INDEX)
    entries = [{"digest": inner, "platform": platform} for platform in platforms]
    registry.add_manifest("hello-world", "latest", {"manifests": entries}, INDEX)
    agent.log_in(registry)

    assert "is not an image" in agent("pull", "hello-world").err


@pytest.mark.parametrize("call", PULL_CALLS)
def test_a_redirect_elsewhere_is_followed_without_the_token(agent: Agent, call: str) -> None:
    with FakeRegistry(secure=False).listening() as storage, hostile("", silence) as registry:

        def redirected() -> Iterator[bytes]:
            path = registry.requests[-1].path
            elsewhere = {"Location": f"http://{storage.address}{path}"}
            yield answer(status="307 Temporary Redirect", headers=elsewhere)

        agent.log_in(registry)
        storage.open_to_all = True
        storage.contents = registry.contents
        registry.scripts = {call: redirected}

        assert agent("pull", "hello-world").status == 0
        assert {request.authorization for request in storage.requests} == {None}


@pytest.mark.parametrize("call", PULL_CALLS)
def test_a_redirect_to_itself_ends(agent: Agent, call: str) -> None:
    with hostile("", silence) as registry:
        agent.log_in(registry)
        before = len(registry.requests)
        self_made = {"Location": "?again"}
        registry.scripts = {call: once(answer(status="302 Found", headers=self_made))}

        assert "redirect" in agent("pull", "hello-world").err
        assert len(registry.requests) < before + 20


def test_a_secure_registry_cannot_redirect_to_plain_http(
    agent: Agent, registry: FakeRegistry
) -> None:
    with FakeRegistry(secure=False).listening() as storage:
        agent.log_in(registry)
        elsewhere = {"Location": f"http://{storage.address}/"}
        registry.scripts = {"blobs": once(answer(status="302 Found", headers=elsewhere))}

        assert "UnexpectedAnswer" in agent("pull", "hello-world").err
        assert storage.requests == []


@pytest.mark.parametrize("text", ["[" * DEEP, '{"firstpull":' * DEEP])
def test_desired_properties_that_are_nested_too_deep_are_refused(agent: Agent, text: str) -> None:
    assert agent("apply", stdin=text).status == 2
