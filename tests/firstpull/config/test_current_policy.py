"""A policy in a document is read again when it changes, and the one before counts meanwhile."""

from __future__ import annotations

import asyncio
import codecs
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from pathlib import Path

import azure.functions as func
import pytest

from firstpull import bootstrap
from firstpull.bootstrap import wire
from firstpull.config.current_policy import CurrentPolicy, FilePolicy, policy_not_valid
from firstpull.config.policy import Policy
from firstpull.config.settings import SettingsError
from firstpull.model.device_record import State
from firstpull.model.errors import Blocked, FirstpullError, Transient
from firstpull.model.ports import Stored
from firstpull.model.reasons import Reason
from tests.firstpull.harness import HUB, REGISTRY, Harness, Process, _settings, make_policy
from tests.firstpull.test_deadlines import app, functions, serve
from tests.firstpull.virtual_clock import VirtualClock

__all__ = ["app", "functions"]  # fixtures

MINUTE = timedelta(minutes=1)
WRONG = b'{"hubs": []}'


def document(*names: str) -> bytes:
    return json.dumps(
        {
            "hubs": [HUB],
            "containerRegistries": [str(REGISTRY)],
            "connectedRegistries": [{"name": name} for name in names],
        }
    ).encode()


TWICE = document("planttwo").replace(b'"hubs"', b'"hubs": [], "hubs"')


def names(policy: Policy | None) -> list[str]:
    assert policy is not None
    return [entry.name for entry in policy.connected_registries]


class Document:
    """A source whose document a test changes; None is a missing one, an error is raised."""

    def __init__(self, content: bytes | FirstpullError | None) -> None:
        self.content = content
        self.reads: list[str | None] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def read(self, *, known: str | None) -> Stored[bytes] | None:
        self.reads.append(known)
        await self.may_answer.wait()
        if isinstance(self.content, FirstpullError):
            raise self.content
        if self.content is None:
            raise policy_not_valid("There is no such blob.")
        etag = str(hash(self.content))
        return Stored(value=self.content, etag=etag) if etag != known else None


DOWN = Transient(Reason.SERVICE_UNAVAILABLE, "Storage did not answer.")
DENIED = Blocked(Reason.ACCESS_DENIED, "Storage answered 403.", remedy="Give it its role.")


async def started(content: bytes | FirstpullError | None) -> tuple[CurrentPolicy, Document]:
    source = Document(content)
    current = CurrentPolicy(
        policy=None, clock=VirtualClock(), setting="FIRSTPULL_POLICY_BLOB", source=source
    )
    await current.read_at_start()
    return current, source


def pass_a_minute(current: CurrentPolicy) -> None:
    assert isinstance(current.clock, VirtualClock)
    current.clock.advance(MINUTE)


async def test_a_changed_policy_counts_within_a_minute() -> None:
    current, source = await started(document("plantone"))
    source.content = document("plantone", "planttwo")
    pass_a_minute(current)
    assert names(await current.get()) == ["plantone", "planttwo"]


async def test_a_policy_that_did_not_change_is_asked_for_by_its_etag_once_in_a_while() -> None:
    current, source = await started(document("plantone"))
    before = await current.get()
    assert len(source.reads) == 1
    pass_a_minute(current)
    assert await current.get() is before
    assert await current.get() is before
    assert source.reads == [None, str(hash(source.content))]


async def test_the_same_policy_written_again_is_the_same_policy() -> None:
    current, source = await started(document("plantone"))
    before = await current.get()
    source.content = document("plantone") + b"\n"
    pass_a_minute(current)
    assert await current.get() is before


@pytest.mark.parametrize("wrong", [WRONG, b"{", b"", b"\xff", None, DENIED], ids=str)
async def test_the_policy_before_counts_while_the_changed_one_is_wrong_or_missing(
    wrong: bytes | FirstpullError | None, caplog: pytest.LogCaptureFixture
) -> None:
    current, source = await started(document("plantone"))
    source.content = wrong
    for _ in range(3):
        pass_a_minute(current)
        assert names(await current.get()) == ["plantone"]
    assert current.refusal is not None
    (line,) = [r for r in caplog.records if "policy.refused" in r.getMessage()]
    assert (line.levelno, "FIRSTPULL_POLICY_BLOB" in line.getMessage()) == (logging.WARNING, True)

    source.content = document("planttwo")
    pass_a_minute(current)
    assert names(await current.get()) == ["planttwo"]
    assert current.refusal is None


async def test_the_old_policy_put_back_in_place_of_a_wrong_one_ends_the_warning() -> None:
    current, source = await started(document("plantone"))
    before, source.content = source.content, WRONG
    pass_a_minute(current)
    await current.get()
    source.content = before
    pass_a_minute(current)
    await current.get()
    assert current.refusal is None


async def test_the_policy_counts_while_storage_is_down() -> None:
    current, source = await started(document("plantone"))
    source.content = DOWN
    pass_a_minute(current)
    assert names(await current.get()) == ["plantone"]
    assert current.refusal is None


@pytest.mark.parametrize("error", [DOWN, DENIED], ids=str)
async def test_an_app_that_starts_while_storage_refuses_reads_its_policy_at_the_first_call(
    error: FirstpullError,
) -> None:
    current, source = await started(error)
    with pytest.raises(type(error)):
        await current.get()
    source.content = document("plantone")
    assert names(await current.get()) == ["plantone"]


async def test_an_app_that_has_read_no_right_policy_says_what_is_wrong() -> None:
    current, source = await started(DOWN)
    source.content = WRONG
    for _ in range(2):
        with pytest.raises(Blocked) as raised:
            await current.get()
        assert raised.value.reason is Reason.POLICY_NOT_VALID
        assert "FIRSTPULL_POLICY_BLOB.connectedRegistries" in raised.value.message


async def test_at_start_a_wrong_policy_is_explained_with_every_path() -> None:
    with pytest.raises(SettingsError) as raised:
        await started(WRONG)
    said = str(raised.value)
    for name in ("hubs", "containerRegistries", "connectedRegistries"):
        assert f"FIRSTPULL_POLICY_BLOB.{name}: " in said


async def test_at_start_a_missing_policy_is_explained() -> None:
    with pytest.raises(SettingsError, match=r"FIRSTPULL_POLICY_BLOB: There is no such blob\."):
        await started(None)


async def test_no_call_waits_while_another_reads_the_policy() -> None:
    current, source = await started(document("plantone"))
    pass_a_minute(current)
    source.may_answer.clear()
    source.content = document("planttwo")
    first = asyncio.create_task(current.get())
    await asyncio.sleep(0)
    assert names(await current.get()) == ["plantone"]
    source.may_answer.set()
    assert names(await first) == ["planttwo"]
    assert names(await current.get()) == ["planttwo"]


async def test_a_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    source = FilePolicy(path)
    with pytest.raises(Blocked):
        await source.read(known=None)
    path.write_bytes(document("plantone"))
    first = await source.read(known=None)
    assert first is not None
    assert await source.read(known=first.etag) is None
    path.write_bytes(document("planttwo"))
    second = await source.read(known=first.etag)
    assert second is not None
    assert second.value == document("planttwo")


async def test_a_document_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    """As some editors and shells write it."""
    path = tmp_path / "policy.json"
    path.write_bytes(codecs.BOM_UTF8 + document("plantone"))
    current = CurrentPolicy(policy=None, clock=VirtualClock(), source=FilePolicy(path))
    await current.read_at_start()
    assert names(await current.get()) == ["plantone"]


async def test_a_policy_may_be_larger_than_an_environment_variable(tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    path.write_bytes(document(*(f"plant{number:05}" for number in range(10_000))))
    assert path.stat().st_size > 128 * 1024
    current = CurrentPolicy(policy=None, clock=VirtualClock(), source=FilePolicy(path))
    await current.read_at_start()
    assert len(names(await current.get())) == 10_000


# The application


async def test_a_request_in_flight_keeps_the_policy_with_which_it_began(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    harness, connections = Harness(), list[None]()

    async def connect(*_: object) -> object:
        connections.append(None)
        await asyncio.sleep(0)
        return harness.processes[0].application.ports

    monkeypatch.setattr(bootstrap, "connect", connect)
    current, source = await started(document("plantone"))
    runtime = bootstrap.Runtime(_settings(), current)
    before = await runtime.application()
    source.content = document("planttwo")
    pass_a_minute(current)
    after = await runtime.application()
    assert (names(before.policy), names(after.policy)) == (["plantone"], ["planttwo"])
    assert names(before.onboarding.policy) == ["plantone"]
    assert names(await runtime.policy()) == ["planttwo"]
    assert await runtime.application() is after
    assert len(connections) == 1


@pytest.mark.parametrize("operation", ["registries.generate_password", "secrets.put"])
async def test_a_policy_that_changes_during_a_pass_harms_no_promise(operation: str) -> None:
    harness = Harness()
    device = harness.register()
    await harness.ask()
    worker, line = harness.processes[0].worker, harness.processes[0].line
    ports = harness.processes[0].application.ports
    later = wire(_settings(), ports, policy=make_policy(adoptableTokens=["legacy-*"]))
    async with harness.while_held(operation, worker.reconcile(device)):
        harness.processes.append(Process(line, later))
        await later.worker.reconcile(device)
    await harness.run_until_quiet()
    assert harness.state(device) is State.READY


async def test_a_host_is_ready_and_warns_while_a_changed_policy_is_wrong(
    functions: Mapping[str, Callable[..., Awaitable[func.HttpResponse]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    serve(Harness(), monkeypatch)
    runtime = importlib_runtime()
    current, source = await started(document("plantone"))
    source.content = WRONG
    pass_a_minute(current)
    await current.get()
    monkeypatch.setattr(runtime, "_policies", current)
    request = func.HttpRequest(method="GET", url="https://host/api/readyz", body=b"")
    answer = await functions["readyz"](request)
    assert answer.status_code == 200
    assert json.loads(answer.get_body()) == {"status": "ready", "warning": "PolicyNotValid"}


def importlib_runtime() -> bootstrap.Runtime:
    from functions.runtime import runtime  # noqa: PLC0415 - needs the settings of `app`

    return runtime
