"""`firstpull-agent pull`: with the delivered login, and no other."""

from __future__ import annotations

import json
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import Agent
from .deliveries import PASSWORD, USERNAME, desired, entry_for
from .fake_registry import INDEX, LAYER, FakeRegistry, digest_of


def _digest(registry: FakeRegistry, reference: str = "hello-world/manifests/latest") -> str:
    return digest_of(registry.contents[f"/v2/{reference}"][1])


def test_an_image_is_written_as_an_oci_layout(agent: Agent, registry: FakeRegistry) -> None:
    agent.log_in(registry)
    done = agent("pull", "hello-world")

    assert (done.status, done.out) == (0, f"hello-world@{_digest(registry)}\n")
    layout = agent.folder / "state/images/hello-world/latest"
    index = json.loads((layout / "index.json").read_text())
    assert [entry["digest"] for entry in index["manifests"]] == [_digest(registry)]
    blobs = sorted((layout / "blobs/sha256").iterdir())
    assert len(blobs) == 3
    assert all(digest_of(blob.read_bytes()) == f"sha256:{blob.name}" for blob in blobs)


def test_an_image_is_pulled_by_its_digest_too(agent: Agent, registry: FakeRegistry) -> None:
    agent.log_in(registry)
    name = f"hello-world@{_digest(registry)}"

    assert agent("pull", name).out == f"{name}\n"


def test_of_an_image_for_several_platforms_this_machines_is_taken(
    agent: Agent, registry: FakeRegistry
) -> None:
    machine = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
    mine = registry.add_image("hello-world", "mine", b"for this machine")
    other = registry.add_image("hello-world", "other", b"for another")
    entries = [
        {"digest": other, "platform": {"os": "linux", "architecture": "riscv64"}},
        {"digest": mine, "platform": {"os": "linux", "architecture": machine}},
    ]
    listed = registry.add_manifest("hello-world", "v2", {"manifests": entries}, INDEX)
    agent.log_in(registry)

    output = agent.folder / "out"
    assert agent("pull", "hello-world:v2", f"--output={output}").out == f"hello-world@{listed}\n"
    assert (output / "blobs/sha256" / digest_of(b"for this machine")[7:]).exists()
    assert not (output / "blobs/sha256" / digest_of(b"for another")[7:]).exists()


@pytest.mark.parametrize("what", ["manifest", "layer"])
def test_content_that_is_not_what_its_digest_says_is_refused(
    agent: Agent, registry: FakeRegistry, what: str
) -> None:
    agent.log_in(registry)
    name = f"hello-world@{_digest(registry)}"
    if what == "manifest":
        path = f"/v2/hello-world/manifests/{_digest(registry)}"
    else:
        path = f"/v2/hello-world/blobs/{digest_of(LAYER)}"
    media_type, content = registry.contents[path]
    registry.contents[path] = (media_type, content + b" ")
    done = agent("pull", name)

    assert (done.status, done.out) == (1, "")
    assert not list(agent.folder.rglob("index.json"))


def test_a_digest_that_would_leave_the_folder_is_refused(
    agent: Agent, registry: FakeRegistry
) -> None:
    evil = {"config": {"digest": "sha256:../../../evil"}, "layers": []}
    registry.add_manifest("hello-world", "evil", evil)
    agent.log_in(registry)
    done = agent("pull", "hello-world:evil")

    assert done.status == 1
    assert "not a sha256 digest" in done.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("hello-world:v9",), "hello-world has no v9 there"),
        (("secret",), "no delivered login reaches secret"),
        (("secret", "--registry=site1"), "the delivered login does not reach secret"),
        (("hello-world", "--registry=site9"), "no login for site9"),
    ],
)
def test_it_is_said_why_an_image_cannot_be_pulled(
    agent: Agent, registry: FakeRegistry, arguments: tuple[str, ...], says: str
) -> None:
    agent.log_in(registry)
    done = agent("pull", *arguments)

    assert (done.status, done.out) == (1, "")
    assert says in done.err


def test_a_credential_that_was_taken_away_is_named_as_the_cause(
    agent: Agent, registry: FakeRegistry
) -> None:
    agent.log_in(registry)
    registry.accepted.clear()

    assert "CredentialsNotAccepted" in agent("pull", "hello-world").err


def test_without_a_delivery_nothing_is_pulled_with_anybody_elses_login(
    agent: Agent, registry: FakeRegistry
) -> None:
    agent.auth_file.write_text('{"auths": {"' + registry.address + '": {"auth": "YTpi"}}}')
    done = agent("pull", "hello-world")

    assert done.status == 1
    assert "no login has been delivered" in done.err
    assert registry.requests == []


def test_a_login_with_another_engine_is_not_pulled_with(
    agent: Agent, registry: FakeRegistry
) -> None:
    agent.log_in(registry)
    done = agent("pull", "hello-world", f"--auth-file={agent.folder / 'other.json'}")

    assert done.status == 1
    assert "no login has been delivered" in done.err


def test_a_login_that_somebody_removed_is_said_to_be_gone(
    agent: Agent, registry: FakeRegistry
) -> None:
    agent.log_in(registry)
    agent.auth_file.unlink()

    assert "oci has no login for" in agent("pull", "hello-world").err


def test_an_insecure_registry_is_pulled_from_in_the_clear(agent: Agent) -> None:
    with FakeRegistry(secure=False).listening() as registry:
        registry.accept(USERNAME, PASSWORD, "hello-world")
        digest = registry.add_image("hello-world", "latest")
        agent.log_in(registry)

        assert agent("pull", "hello-world").out == f"hello-world@{digest}\n"


@pytest.fixture
def engine_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A short path, for podman, with storage settings that need no kernel features."""
    with tempfile.TemporaryDirectory(prefix="agent-") as name:
        storage = Path(name, "storage.conf")
        storage.write_text(
            f'[storage]\ndriver = "vfs"\ngraphroot = "{name}/root"\nrunroot = "{name}/run"\n'
        )
        settings = Path(name, "containers.conf")
        settings.write_text('[engine]\nevents_logger = "file"\ncgroup_manager = "cgroupfs"\n')
        monkeypatch.setenv("CONTAINERS_STORAGE_CONF", str(storage))
        monkeypatch.setenv("CONTAINERS_CONF", str(settings))
        monkeypatch.setenv("HOME", name)
        monkeypatch.setenv("TMPDIR", name)
        yield Path(name)


@pytest.mark.parametrize("engine", ["skopeo", "podman"])
def test_real_engines_log_in_pull_and_log_out(
    engine: str,
    engine_folder: Path,
    registry: FakeRegistry,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if not shutil.which(engine) or os.geteuid() != 0:
        pytest.skip(f"{engine} is not installed, or not root")
    agent = Agent(engine_folder, engine, monkeypatch, capsys)
    agent.log_in(registry)
    assert (engine_folder / "certs.d" / registry.address / "ca.crt").exists()

    assert agent("pull", "hello-world").out == f"hello-world@{_digest(registry)}\n"
    refused = agent("pull", "hello-world:v9")
    assert refused.status == 1
    assert "EngineFailed" in refused.err

    assert agent.apply(desired()) == (0, {"site1": None})
    assert registry.address not in agent.auth_file.read_text()
    assert agent.apply(desired(site1=entry_for(registry)))[0] == 0
