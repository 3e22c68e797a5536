"""P7 and P8 by the order of requests: of messages that are late, repeated or stamped wrongly,
and on hosts whose clocks differ."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from firstpull.model.clock import ServiceClock
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import DeviceRecord, State
from firstpull.model.errors import Refused, Transient
from firstpull.model.reasons import Reason
from firstpull.observability.log_events import LogEvent
from tests.firstpull.end_state import remains
from tests.firstpull.harness import Harness, Process, make_policy
from tests.firstpull.hosts_apart import HostClock, host, on_hosts, whole_second
from tests.firstpull.scenarios import make_by_hand
from tests.firstpull.virtual_clock import VirtualClock

SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
RIGHT = timedelta()
TOLERATED = [timedelta(seconds=s) for s in (-290, -2, 0, 1, 290)]
APART = [timedelta(seconds=s) for s in (-300, -4, -1, 1, 4, 300)]


@dataclass(frozen=True)
class Webhook:
    """A signed webhook: it may be posted again, and says the same each time."""

    id: str
    at: datetime
    target: str = "plantone"

    async def post(
        self, harness: Harness, *, host: int = 0, adopt: str | None = None
    ) -> DeviceRecord:
        return await harness.processes[host].onboarding.ask(
            harness.request(connectedRegistry=self.target, adopt=adopt),
            requested_by="signed webhook",
            asked_at=self.at,
            message_id=f"webhook {self.id}",
        )


def signed(harness: Harness, off: timedelta = RIGHT, target: str = "plantone") -> Webhook:
    """A webhook signed now by a sender whose clock is off."""
    number = harness.cloud.next_number()
    return Webhook(f"msg_{number}", whole_second(harness.clock.now() + off), target)


async def assert_out_of_date(harness: Harness, webhook: Webhook, adopt: str | None = None) -> None:
    with pytest.raises(Refused) as refused:
        await webhook.post(harness, adopt=adopt)
    assert refused.value.reason is Reason.OUT_OF_DATE


@pytest.mark.parametrize("off", TOLERATED, ids=str)
async def test_a_replayed_webhook_brings_no_revoked_device_back(off: timedelta) -> None:
    harness = Harness()
    device = harness.register()
    webhook = signed(harness, off)
    await webhook.post(harness)
    await harness.run_until_quiet()
    await harness.revoke(device)
    for _ in range(3):
        harness.clock.advance(30 * SECOND)
        await assert_out_of_date(harness, webhook)
    await harness.run_for(20 * MINUTE)
    assert harness.state(device) is State.REVOKED
    assert remains(harness.cloud, device) == set()


@pytest.mark.parametrize("off", TOLERATED, ids=str)
@pytest.mark.parametrize("after", [0 * SECOND, 10 * SECOND], ids=str)
async def test_a_replayed_webhook_undoes_no_later_wish(off: timedelta, after: timedelta) -> None:
    harness = Harness()
    device = harness.register()
    first, later = signed(harness, off), signed(harness, off, "planttwo")
    await first.post(harness)
    await later.post(harness)
    harness.clock.advance(after)
    await assert_out_of_date(harness, first)
    assert harness.cloud.record(device).spec.intent.target == "planttwo"


@pytest.mark.parametrize("off", TOLERATED, ids=str)
async def test_a_webhook_that_asks_for_the_same_is_remembered_too(off: timedelta) -> None:
    harness = Harness()
    device = harness.register()
    await harness.ask()
    webhook = signed(harness, off)
    await webhook.post(harness)
    await harness.ask(connectedRegistry="planttwo")
    harness.clock.advance(10 * SECOND)
    await assert_out_of_date(harness, webhook)
    assert harness.cloud.record(device).spec.intent.target == "planttwo"


@pytest.mark.parametrize("off", TOLERATED, ids=str)
async def test_a_webhook_posted_again_after_a_lost_answer_changes_nothing(off: timedelta) -> None:
    harness = Harness()
    webhook = signed(harness, off)
    first = await webhook.post(harness)
    harness.clock.advance(10 * SECOND)
    assert await webhook.post(harness) == first


async def test_a_webhook_that_was_refused_before_the_revoke_is_refused_after_it() -> None:
    harness = Harness(policy=make_policy(adoptableTokens=["by-hand"]))
    device = await harness.make_ready()
    make_by_hand(harness, "by-hand")
    webhook = signed(harness, 290 * SECOND)
    with pytest.raises(Refused) as refused:
        await webhook.post(harness, adopt="by-hand")
    assert refused.value.reason is Reason.DEVICE_HAS_TOKEN
    await harness.revoke(device)
    harness.clock.advance(10 * SECOND)
    await assert_out_of_date(harness, webhook, adopt="by-hand")


async def test_a_new_webhook_of_a_sender_whose_clock_is_ahead_onboards_a_revoked_device() -> None:
    harness = Harness()
    device = await harness.make_ready()
    await harness.revoke(device)
    await signed(harness, 290 * SECOND).post(harness)
    await harness.run_until_quiet()
    assert harness.state(device) is State.READY


async def test_a_message_of_a_sender_ahead_is_as_old_as_it_says_once_that_time_has_passed() -> None:
    harness = Harness()
    device = await harness.make_ready()
    webhook = signed(harness, 290 * SECOND)
    harness.clock.advance(291 * SECOND)
    await harness.revoke(device)
    harness.clock.advance(10 * SECOND)
    await assert_out_of_date(harness, webhook)


async def test_of_equal_times_the_later_arrival_wins() -> None:
    harness = Harness()
    device = harness.register()
    first, second = signed(harness), signed(harness, target="planttwo")
    await second.post(harness)
    await first.post(harness)
    assert harness.cloud.record(device).spec.intent.target == "plantone"


async def test_a_record_remembers_no_more_messages_than_their_times_demand() -> None:
    harness = Harness()
    device = harness.register()
    for number in range(30):
        await signed(harness, target=("plantone", "planttwo")[number % 2]).post(harness)
        harness.clock.advance(SECOND)
    assert len(harness.cloud.record(device).spec.messages) == 1


async def test_a_flood_of_messages_from_the_future_is_refused_before_any_is_forgotten() -> None:
    harness = Harness()
    device = harness.register()
    webhooks = [signed(harness, 290 * SECOND) for _ in range(300)]
    taken = []
    for webhook in webhooks:
        try:
            await webhook.post(harness)
        except Transient:
            break
        taken.append(webhook)
    assert 100 < len(taken) < 300
    await harness.revoke(device)
    for webhook in taken:
        await assert_out_of_date(harness, webhook)


@pytest.mark.parametrize("off", APART, ids=str)
async def test_a_revoke_on_any_host_outlasts_an_older_message_on_any_other(off: timedelta) -> None:
    for revoking, asking in ((0, 1), (1, 0)):
        harness = on_hosts(RIGHT, off, RIGHT)
        device = await ready_on(harness)
        harness.clock.advance(MINUTE)
        written = signed(harness)
        await revoke_on(harness, revoking, device)
        harness.clock.advance(2 * MINUTE)
        with pytest.raises(Refused):
            await written.post(harness, host=asking)


@pytest.mark.parametrize("off", APART, ids=str)
async def test_a_fresh_request_is_never_out_of_date_whatever_host_takes_it(off: timedelta) -> None:
    for first, second in ((0, 1), (1, 0)):
        harness = on_hosts(RIGHT, off, RIGHT)
        device = await ready_on(harness)
        await revoke_on(harness, first, device)
        record = await harness.processes[second].onboarding.ask(
            harness.request(), requested_by="a person"
        )
        assert record.spec.revocation is None
        harness.clock.advance(3 * SECOND)
        await revoke_on(harness, first, device)
        harness.clock.advance(3 * SECOND)
        assert (await signed(harness).post(harness, host=second)).spec.revocation is None


@pytest.mark.parametrize("off", [-300 * SECOND, -7 * SECOND, 7 * SECOND, 300 * SECOND], ids=str)
async def test_a_host_whose_clock_is_off_leaves_the_device_to_others_and_says_so(
    off: timedelta, caplog: pytest.LogCaptureFixture
) -> None:
    harness = on_hosts(off)
    device = harness.register()
    await harness.ask()
    await harness.run_for(5 * MINUTE)
    assert harness.state(device) is State.PENDING
    assert not harness.cloud.writes()
    assert any(LogEvent.HOST_CLOCK_OFF in record.getMessage() for record in caplog.records)
    harness.processes += [host(harness, RIGHT), host(harness, RIGHT)]
    await harness.run_until(lambda: harness.state(device) is State.READY, 30 * MINUTE)
    assert harness.state(device) is State.READY


@pytest.mark.parametrize("off", [-3 * SECOND, 3 * SECOND], ids=str)
async def test_a_host_whose_clock_is_a_little_off_does_its_work(off: timedelta) -> None:
    harness = on_hosts(off)
    await ready_on(harness)


@pytest.mark.parametrize("off", [*APART, RIGHT], ids=str)
def test_the_time_is_never_before_the_date_of_the_last_answer(off: timedelta) -> None:
    azure = VirtualClock()
    clock = ServiceClock(HostClock(azure, off))
    for number in range(50):
        sent_at = clock.host_time()
        azure.advance(timedelta(milliseconds=17 * number))
        date = whole_second(azure.now())
        clock.answered(date, sent_at=sent_at)
        assert date <= clock.now() <= azure.now() + SECOND + timedelta(milliseconds=17 * number)
    assert abs(clock.offset() + off) <= SECOND


# Any order, on any host


@dataclass(frozen=True)
class Sent:
    """A message, and when it was really written."""

    webhook: Webhook
    written_at: datetime
    is_ahead: bool


class Story:
    """What happens to one device, and in what order it really happened."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)  # noqa: S311 - chance, not secrets
        self.harness = on_hosts(RIGHT, self.chance.choice([*APART, RIGHT]), RIGHT)
        self.device = self.harness.register()
        self.sent: list[Sent] = []
        self.taken: set[str] = set()
        self.asked_at = self.revoked_at = datetime.min.replace(tzinfo=UTC)

    @property
    def now(self) -> datetime:
        return self.harness.clock.now()

    def target(self) -> str:
        return self.chance.choice(["plantone", "planttwo"])

    async def ask(self) -> None:
        request, began = self.harness.request(connectedRegistry=self.target()), self.now
        await self.some_host().onboarding.ask(request, requested_by="a person")
        self.asked_at = began

    async def revoke(self) -> None:
        if self.device in self.harness.cloud.records:
            began = self.now
            await self.some_host().application.revoking.revoke(self.device, requested_by="x")
            self.revoked_at = began

    async def write(self) -> None:
        off = self.chance.choice([RIGHT, RIGHT, 290 * SECOND])
        webhook = signed(self.harness, off, self.target())
        self.sent.append(Sent(webhook, self.now, is_ahead=off > RIGHT))

    async def deliver(self) -> None:
        """Deliver a message that was sent, perhaps not for the first time."""
        if not self.sent:
            return
        sent, arrived_at = self.chance.choice(self.sent), self.now
        before = self.harness.cloud.records.get(self.device)
        was = self.harness.cloud.record(self.device).spec if before else None
        # A sender ahead of Azure is believed where its time has passed when the message comes.
        counts_from = min(arrived_at, sent.webhook.at) if sent.is_ahead else sent.written_at
        is_first = sent.webhook.id not in self.taken
        latest = max(self.asked_at, self.revoked_at)
        try:
            record = await sent.webhook.post(self.harness, host=self.chance.randrange(2))
        except Refused:
            assert not (is_first and counts_from > latest + 2 * SECOND), "a fresh one was refused"
            return
        self.taken.add(sent.webhook.id)
        if was is not None and record.spec.generation != was.generation:
            assert is_first, "a repeated message changed something"
            if was.revocation is not None:
                assert counts_from > self.revoked_at, "an earlier request restored access"
            assert whole_second(counts_from) >= whole_second(self.asked_at)
        if is_first:
            self.asked_at = max(self.asked_at, counts_from)

    def some_host(self) -> Process:
        return self.chance.choice(self.harness.processes)

    async def run(self) -> None:
        acts = [self.ask, self.revoke, self.write, self.write, self.deliver, self.deliver]
        for _ in range(30):
            await self.chance.choice(acts)()
            await self.harness.run_for(SECOND * self.chance.choice([0, 0.2, 0.7, 1, 3, 40]))
        await self.harness.run_for(30 * MINUTE)
        if self.device in self.harness.cloud.records:
            is_revoked = self.harness.cloud.record(self.device).spec.revocation is not None
            ends = (State.REVOKED, State.BLOCKED) if is_revoked else (State.READY,)
            assert self.harness.state(self.device) in ends
            assert bool(remains(self.harness.cloud, self.device)) is not is_revoked


@pytest.mark.parametrize("seeds", [range(4), pytest.param(range(4, 400), marks=pytest.mark.slow)])
async def test_messages_in_any_order_on_hosts_apart_keep_the_promises(seeds: range) -> None:
    for seed in seeds:
        await Story(seed).run()


async def ready_on(harness: Harness) -> DeviceKey:
    """A ready device; a host whose clock is off leaves it to the timer."""
    device = harness.register()
    await harness.ask()
    await harness.run_until(lambda: harness.state(device) is State.READY, 30 * MINUTE)
    assert harness.state(device) is State.READY
    return device


async def revoke_on(harness: Harness, number: int, device: DeviceKey) -> None:
    """Revoke a device on one host."""
    revoking = harness.processes[number].application.revoking
    await revoking.revoke(device, requested_by="a person")
