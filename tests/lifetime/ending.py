"""The end of every scenario: faults end, everything settles, and then nothing is written."""

from __future__ import annotations

from collections.abc import Awaitable, Iterator, Mapping
from datetime import timedelta
from functools import partial

from firstpull.bootstrap import Application
from firstpull.intake.requests import OnboardingRequest
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import DeviceRecord, State
from firstpull.model.reasons import Reason
from tests.lifetime.expected_state import ExpectedState
from tests.lifetime.sites import CAPACITY, REFS
from tests.lifetime.world import World

_ROUND = timedelta(minutes=70)
_ROUNDS = 12
_LONGEST_REST = timedelta(days=1)
_LONGEST_VALIDITY = timedelta(days=91)
_FULL = (Reason.CONNECTED_REGISTRY_FULL, Reason.SITE_FULL)


def asks_for(request: OnboardingRequest, record: DeviceRecord) -> bool:
    """Whether the record holds this request, and not one that a tag made since."""
    target = f"site {request.site}" if request.site else request.connected_registry
    return (
        record.spec.intent.target == target
        and record.spec.intent.repositories == tuple(sorted(request.repositories))
        and record.spec.intent.adopt == request.adopt
    )


def check_the_end(
    world: World,
    expected: Mapping[DeviceKey, ExpectedState],
    requests: Mapping[DeviceKey, OnboardingRequest],
) -> None:
    """Raise AssertionError where a device does not end as it has to."""
    _end_faults(world)
    _settle(world)
    problems = [
        f"{record.device.device_id} {problem}: {record.status.condition}"
        for record in world.cloud.all_records()
        for problem in _problems(world, record, expected.get(record.device, ExpectedState()))
    ]
    problems += _room_for_nobody(world)
    world.cloud.watch.check_replaced_devices()
    world.cloud.watch.check()
    if problems:
        raise AssertionError("P3: " + "\n".join(problems))
    _check_quiet(world, requests)


def _end_faults(world: World) -> None:
    """End all faults, and let every site and device be online."""
    world.cloud.end_faults()
    for site in world.cloud.sites.values():
        site.go_online()
    for key, device in world.cloud.devices.items():
        device.is_away = False
        if not world.cloud.hub.device(key.device_id).enabled:
            world.cloud.change_identity(key, enabled=True)


def _settle(world: World) -> None:
    """Let time pass until a round changes nothing."""
    for number in range(_ROUNDS):
        before = _state(world)
        world.run(world.run_for(_ROUND))
        world.run(world.try_sweep(approve=True))
        world.run(world.run_for(_ROUND))
        if number == 0:
            world.clock.advance(_LONGEST_REST)  # a device that no query lists is read once a day
            continue
        reasons = {record.status.condition.reason for record in world.cloud.all_records()}
        if Reason.NO_FREE_SLOT in reasons:
            world.clock.advance(_LONGEST_VALIDITY)  # a slot is free when its password has expired
        elif before == _state(world):
            return
    raise AssertionError(
        f"P3: it does not settle: {[r.status.condition for r in world.cloud.all_records()]}"
    )


def _state(world: World) -> tuple[object, list[tuple[int, State]]]:
    records = [(r.spec.generation, r.status.condition.state) for r in world.cloud.all_records()]
    return world.cloud.state(), records


def _problems(world: World, record: DeviceRecord, expected_state: ExpectedState) -> Iterator[str]:
    """What is wrong with a device that had enough time."""
    is_revoked = record.spec.revocation is not None
    if not expected_state.allows(is_revoked=is_revoked):
        yield "is revoked, and nobody asked for it" if is_revoked else "has access after its revoke"
    if is_revoked:
        if not record.is_tombstone:
            yield "is not quite revoked"
    elif record.device not in world.cloud.devices:
        if record.status.condition.reason is not Reason.DEVICE_NOT_REGISTERED:
            yield "has gone from its hub and was not revoked"
    elif record.status.condition.state is State.READY:
        if not _can_log_in(world, record):
            yield "is ready and cannot log in"
    elif not _has_reason(world, record):
        yield "is not ready"


def _can_log_in(world: World, record: DeviceRecord) -> bool:
    """Whether its site lets it in, to the wanted repositories and no more."""
    grant = record.status.grant
    if grant is None:
        return False
    ref, token = grant.ref, grant.names.token
    if record.status.adopted:
        passwords = world.cloud.passwords[ref.registry, token]
    else:
        used = world.cloud.devices[record.device].logins.get(ref)
        passwords = [used.password] if used and used.token == token else []
    logins = [world.cloud.sites[ref].authenticate(token, password) for password in passwords]
    return any(login and login.actions == record.spec.intent.scope_actions for login in logins)


def _has_reason(world: World, record: DeviceRecord) -> bool:
    """Whether the cause that its condition names is there."""
    reason, intent = record.status.condition.reason, record.spec.intent
    if reason in _FULL:
        grant = record.status.grant
        wanted = (grant.ref,) if grant else intent.candidates
        return all(len(world.cloud.clients(ref)) >= CAPACITY[ref] for ref in wanted)
    if intent.adopt is None:
        return False
    ref = intent.candidates[0]
    token = world.cloud.token(ref.registry, intent.adopt)
    if reason is Reason.TOKEN_NOT_FOUND:
        return token is None
    taken = any(
        grant.names.token == intent.adopt and grant.ref.registry == ref.registry
        for other in world.cloud.all_records()
        if other.device != record.device
        for grant in other.grants
    )
    return reason is Reason.TOKEN_NOT_OURS and taken


def _room_for_nobody(world: World) -> Iterator[str]:
    """Ledger entries of tokens that are in no list and that no record has there."""
    for ref in REFS:
        explained = set(world.cloud.clients(ref)) | {
            grant.names.token
            for record in world.cloud.all_records()
            if not record.is_tombstone
            for grant in record.grants
            if grant.ref == ref
        }
        held = {e.token_id.name for e in world.cloud.ledger(ref).entries.values()}
        if held - explained:
            yield f"{ref} holds room for {', '.join(sorted(held - explained))}"


def _ask(request: OnboardingRequest, app: Application) -> Awaitable[DeviceRecord]:
    return app.onboarding.ask(request, requested_by="again")


def _check_quiet(world: World, requests: Mapping[DeviceKey, OnboardingRequest]) -> None:
    """P3 and P8: another pass over all devices, and all requests again, write nothing."""
    before, written = world.cloud.state(), world.cloud.writes()
    for record in world.cloud.all_records():
        request = requests.get(record.device)
        if request is not None and record.spec.revocation is None and asks_for(request, record):
            world.run(world.retry(partial(_ask, request)))
    for record in world.cloud.all_records():
        world.run(world.reconcile(record.device))
    world.run(world.try_sweep(approve=False))
    writes = world.cloud.writes() - written
    if writes or before != world.cloud.state():
        raise AssertionError(f"P3: one more pass and one more sweep wrote {dict(writes)}")
    world.cloud.watch.check()
