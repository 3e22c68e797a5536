"""The real adapters: a process dies before or after each of its HTTP requests; another goes on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count

from firstpull.bootstrap import Application
from firstpull.model.delivery_kinds import DEFAULT_KIND
from local_azure.stack.listeners import Wire
from tests.chaos.lab import Lab, Login, lab_on, own_stack
from tests.chaos.tally import DELIVERIES, Chaos, Part
from tests.chaos.wire import Process, When, counted_requests
from tests.end_to_end.faults import Crashed

MOST_REQUESTS = 1000
_RESTARTS = 4


@dataclass(frozen=True)
class Subject:
    """A device, what it logs in with, and a token that somebody made for it."""

    device_id: str
    login: Login | None = None
    token: str = ""
    password: str = ""


@dataclass(frozen=True, kw_only=True)
class RealScenario:
    """What is there before, the request, and how it ends."""

    prepare: Callable[[Lab], Awaitable[Subject]]
    request: Callable[[Lab, Application, Subject], Awaitable[object]]
    check: Callable[[Lab, Subject], Awaitable[None]]
    keeps_login: bool = False
    """P2: the device can log in at any time."""


async def _registered(lab: Lab) -> Subject:
    return Subject(lab.new_device())


async def _ready(lab: Lab) -> Subject:
    device_id = await lab.ready_device()
    return Subject(device_id, lab.login(device_id))


async def _with_token(lab: Lab) -> Subject:
    device_id = lab.new_device()
    token, password = lab.make_by_hand(device_id)
    return Subject(device_id, token=token, password=password)


async def _onboard(lab: Lab, app: Application, subject: Subject) -> None:
    await lab.ask(app, subject.device_id)


async def _rotate(lab: Lab, app: Application, subject: Subject) -> None:
    device = lab.firstpull.device(subject.device_id)
    await app.rotating.rotate(device, immediately=False, requested_by="a test")


async def _move(lab: Lab, app: Application, subject: Subject) -> None:
    await lab.ask(app, subject.device_id, lab.plants[1])


async def _revoke(lab: Lab, app: Application, subject: Subject) -> None:
    await app.revoking.revoke(lab.firstpull.device(subject.device_id), requested_by="a test")


async def _adopt(lab: Lab, app: Application, subject: Subject) -> None:
    await lab.ask(app, subject.device_id, adopt=subject.token)


async def _is_ready(lab: Lab, subject: Subject) -> None:
    await lab.check_ready(subject.device_id, lab.plants[0])


async def _has_another_password(lab: Lab, subject: Subject) -> None:
    await _is_ready(lab, subject)
    assert lab.login(subject.device_id) != subject.login, "P3: the password is the old one"


async def _has_moved(lab: Lab, subject: Subject) -> None:
    await lab.check_ready(subject.device_id, lab.plants[1])


async def _is_revoked(lab: Lab, subject: Subject) -> None:
    assert subject.login is not None
    await lab.check_revoked(subject.device_id, subject.login)


async def _is_adopted(lab: Lab, subject: Subject) -> None:
    await lab.check_adopted(subject.device_id, subject.token, subject.password)


REAL_SCENARIOS = {
    "onboard": RealScenario(prepare=_registered, request=_onboard, check=_is_ready),
    "rotate": RealScenario(
        prepare=_ready, request=_rotate, check=_has_another_password, keeps_login=True
    ),
    "move": RealScenario(prepare=_ready, request=_move, check=_has_moved, keeps_login=True),
    "revoke": RealScenario(prepare=_ready, request=_revoke, check=_is_revoked),
    "adopt": RealScenario(prepare=_with_token, request=_adopt, check=_is_adopted),
}


async def play(lab: Lab, scenario: RealScenario, crashes: Mapping[int, When]) -> Process:
    """One case: the request and what follows, with crashes; a process is started after each."""
    subject, process = await scenario.prepare(lab), Process(crashes)
    login = subject.login
    if scenario.keeps_login and login is not None:
        process.after_request = lambda: lab.check_login(login, subject.device_id)
    is_asked = False

    async def work() -> None:
        nonlocal is_asked
        application = lab.firstpull.application()
        if not is_asked:
            await scenario.request(lab, application, subject)
            is_asked = True
        await lab.converge(application, subject.device_id)

    for _ in range(_RESTARTS):
        try:
            await process.run(work)
            break
        except Crashed:
            await lab.check_after_a_crash(subject.device_id)
    process.after_request = None
    await scenario.check(lab, subject)
    lab.forget(subject.device_id, *filter(None, [subject.token]))
    return process


def crashes_of(name: str) -> Part:
    """The part that tries one scenario."""

    async def part(chaos: Chaos) -> None:
        async with own_lab(chaos) as lab:
            await crash_at_every_request(chaos, lab, name)

    return part


async def crash_at_every_request(chaos: Chaos, lab: Lab, name: str) -> None:
    """With each kind of delivery."""
    for lab.delivery in DELIVERIES:
        await _crash_at_every_request(chaos, lab, name)
    lab.delivery = DEFAULT_KIND
    chaos.count({}, lab.checks)
    lab.checks.clear()


async def _crash_at_every_request(chaos: Chaos, lab: Lab, name: str) -> None:
    """Before and after the 1st, 2nd, … request, until a run ends without a crash."""
    scenario = REAL_SCENARIOS[name]
    smooth = await play(lab, scenario, {})
    for number in _numbers(chaos, name, smooth.requests):
        met = 0
        for when in When:
            with chaos.case(f"{name}, {lab.delivery}, {when.value} request {number}"):
                process = await play(lab, scenario, {number: when})
                met += process.died.total()
                chaos.count(process.died, {})
        if not met and number > smooth.requests:
            chaos.note(f"{name}, {lab.delivery}: each of {number - 1} requests")
            break


def _numbers(chaos: Chaos, name: str, requests: int) -> Sequence[int] | count[int]:
    if chaos.share >= 1:
        return count(1)
    return chaos.some(range(1, requests + 1), name=name)


@asynccontextmanager
async def own_lab(chaos: Chaos, *, wire: Wire | None = None) -> AsyncIterator[Lab]:
    """A lab on a local Azure of its own."""
    async with own_stack(chaos.seed, wire=wire) as stack, lab_on(stack) as lab:
        with counted_requests(but=stack.identity_endpoint):
            yield lab
