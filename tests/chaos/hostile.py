"""The real adapters on a hostile local Azure: trouble at a share of all calls, odd answers,
operations that last, and crashes, all at once and by a seed."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import timedelta

from firstpull.bootstrap import Application
from firstpull.intake.event_grid import DeviceEvent
from firstpull.model.azure_resources import RegistryId
from firstpull.model.clock import SystemClock
from firstpull.model.delivery_kinds import DEFAULT_KIND
from firstpull.model.device_key import DeviceKey
from firstpull.model.errors import Conflict, FirstpullError, Refused, Transient
from firstpull.model.reasons import Reason
from local_azure.container_registry.models import AT_ONCE, OperationLengths
from local_azure.kernel.storm import Storm
from local_azure.stack.options import HUB_NAME
from tests.chaos.lab import Lab, is_done
from tests.chaos.real_crashes import REAL_SCENARIOS, RealScenario, Subject, own_lab
from tests.chaos.tally import DELIVERIES, Chaos
from tests.chaos.wire import Process, When
from tests.end_to_end.cloud import operations_end
from tests.end_to_end.faults import Crashed

CASES = 60
_PASSES = 25
_SHARES = (0.02, 0.05, 0.15)
_REPEATED = 0.3
_POLL = 0.1
_LASTING = OperationLengths(change=(0.0, 11.0), deletion=(0.0, 11.0))
"""In Azure's time, which goes on as firstpull's does."""


async def storms(chaos: Chaos) -> None:
    """Each scenario again and again, each time in another storm."""
    async with own_lab(chaos) as lab:
        await in_storms(chaos, lab, chaos.some(range(CASES), name="storms"))


type Weather = Callable[[Lab, random.Random], AbstractContextManager[Counter[str]]]
"""Makes trouble while it is open; yields what was met."""


async def in_storms(chaos: Chaos, lab: Lab, cases: Sequence[int]) -> None:
    """The cases with these numbers."""
    await in_weather(chaos, lab, cases, _storm)


async def in_weather(chaos: Chaos, lab: Lab, cases: Sequence[int], weather: Weather) -> None:
    """The cases with these numbers, in any weather."""
    names = list(REAL_SCENARIOS)
    for number in cases:
        turn, place = divmod(number, len(names))
        name, lab.delivery = names[place], DELIVERIES[(turn + place) % len(DELIVERIES)]
        with chaos.case(f"{name}, {lab.delivery}, storm {number}"):
            met = await _case(lab, REAL_SCENARIOS[name], chaos.chance(f"storm {number}"), weather)
            chaos.count(met, {})
    lab.delivery = DEFAULT_KIND
    chaos.count({}, lab.checks)
    lab.checks.clear()


async def _case(
    lab: Lab, scenario: RealScenario, chance: random.Random, weather: Weather
) -> Counter[str]:
    subject = await scenario.prepare(lab)
    process = Process({chance.randrange(1, 150): When.AFTER})
    login = subject.login
    if scenario.keeps_login and login is not None:
        process.after_request = lambda: lab.check_login(login, subject.device_id)
    with _logged_crashes() as crashes:
        with weather(lab, chance) as met:
            await _weather(lab, scenario, subject, process, chance, met)
        await _bucket_fills(lab)
        process.after_request = None
        await operations_end(lab.stack)
        await lab.converge(lab.firstpull.application(), subject.device_id)
    lab.checks["no defect"] += 1
    assert not crashes, f"trouble was taken for a defect: {crashes[0]}"
    await scenario.check(lab, subject)
    lab.forget(subject.device_id, *filter(None, [subject.token]))
    return met + process.died


async def _weather(
    lab: Lab,
    scenario: RealScenario,
    subject: Subject,
    process: Process,
    chance: random.Random,
    met: Counter[str],
) -> None:
    """The request, again until it is taken, and some passes: messages and events come again."""
    is_asked = False

    async def work() -> None:
        nonlocal is_asked
        application, device = lab.firstpull.application(), lab.firstpull.device(subject.device_id)
        if not is_asked:
            await _ask(lab, scenario, application, subject)
        is_asked = True
        for _ in range(_PASSES):
            with suppress(FirstpullError):
                await _messages(application, device, chance, met)
            lab.sync()
            lab.act(subject.device_id)
            record = await lab.record_in_a_storm(subject.device_id)
            if is_done(record):
                return
            lab.firstpull.clock.advance(timedelta(seconds=15))

    for _ in range(2):
        with suppress(Crashed):
            await process.run(work)
            return


async def _messages(
    application: Application, device: DeviceKey, chance: random.Random, met: Counter[str]
) -> None:
    """One reconcile request, or two at once; now and then an event that is late or repeated."""
    passes = 1 + (chance.random() < _REPEATED)
    if chance.random() < _REPEATED:
        now = application.ports.clock.now()
        event = DeviceEvent(
            hub_name=HUB_NAME,
            device_id=device.device_id,
            created=chance.random() < 0.5,
            at=now - timedelta(minutes=chance.randrange(60)),
        )
        met["late or repeated event"] += 1
        await application.event_handler.handle(event)
    met["repeated message"] += passes - 1
    await asyncio.gather(*(application.worker.reconcile(device) for _ in range(passes)))


async def _ask(
    lab: Lab, scenario: RealScenario, application: Application, subject: Subject
) -> None:
    """Request until the request is taken."""
    while True:
        try:
            await scenario.request(lab, application, subject)
        except Refused as refused:
            if refused.reason is not Reason.NOTHING_TO_ROTATE:  # it was taken the time before
                raise
        except (Transient, Conflict, AssertionError):
            lab.firstpull.clock.advance(timedelta(seconds=2))
            continue
        return


async def _bucket_fills(lab: Lab) -> None:
    """Wait until looks are not put off for want of ARM reads: their pace goes by the loop's time.

    Right after one look that had to be spaced from the last, there is no room for another.
    """
    registry = RegistryId(lab.stack.registry_id)
    registries = lab.firstpull.ports.registries
    while not (registries.has_room(registry) and registries.has_room(registry)):  # noqa: ASYNC110
        await asyncio.sleep(_POLL)


@contextmanager
def _logged_crashes() -> Iterator[list[str]]:
    """What firstpull logs as a defect in itself while this is open."""
    crashes: list[str] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: crashes.append(record.getMessage())  # type: ignore[method-assign]
    log = logging.getLogger("firstpull")
    log.addHandler(handler)
    try:
        yield crashes
    finally:
        log.removeHandler(handler)


@contextmanager
def _storm(lab: Lab, chance: random.Random) -> Iterator[Counter[str]]:
    """Trouble, odd answers and lasting operations while the body runs; yields what was met."""
    kernel, odd = lab.stack.kernel, lab.stack.kernel.oddities
    # The adapters of this process read dates by its own clock, which Azure's is hours ahead of.
    storm = Storm(chance=chance, share=chance.choice(_SHARES), now=SystemClock().now)
    odd.chance = chance
    odd.page_size = chance.choice((None, 2))
    odd.case_of_ids, odd.unknown_fields = chance.random() < 0.5, chance.random() < 0.5
    is_lasting = chance.random() < 0.5
    settings = lab.stack.cloud.settings
    settings.operation_lengths = _LASTING if is_lasting else AT_ONCE
    storm.met.update(
        {
            "pages of two": int(odd.page_size is not None),
            "changed case of ids": int(odd.case_of_ids),
            "unknown fields": int(odd.unknown_fields),
            "operations of up to 11 s": int(is_lasting),
        }
    )
    kernel.faults.storm = storm
    try:
        yield storm.met
    finally:
        kernel.faults.clear()
        odd.clear()
        settings.operation_lengths = AT_ONCE
