"""The preconditions of a provision: an ordered chain of small pure checks.

The first precondition that fails gives the blocker. If none fails, the plan gets a target: the
parts of the observation that then exist for certain.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from firstpull.config.policy import ConnectedRegistryPolicy
from firstpull.model.azure_resources import Twin
from firstpull.model.delivery_kinds import Problem, Wanted
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import DeviceRecord, State
from firstpull.model.errors import (
    Blocked,
    connected_registry_full,
    connected_registry_not_found,
    site_full,
)
from firstpull.model.reasons import Reason
from firstpull.model.scope_actions import in_words, uncovered
from firstpull.model.sealing import Recipient
from firstpull.model.twin_entry import Contents
from firstpull.reconcile.observe import ConnectedRegistryView, CredentialView, Observed


@dataclass(frozen=True, kw_only=True)
class Blocker:
    """Why a device cannot be provisioned now. `state` is Waiting or Blocked."""

    state: State
    reason: Reason
    message: str
    remedy: str | None = None


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where a device is provisioned, when its preconditions hold."""

    twin: Twin
    view: ConnectedRegistryView
    entry: ConnectedRegistryPolicy
    address: str
    credential: CredentialView
    identity: str | None
    """The generationId of the hub's identity, as observed."""


NO_FREE_SLOT = Blocker(
    state=State.WAITING,
    reason=Reason.NO_FREE_SLOT,
    message="Both passwords of the token may be in use, and firstpull knows the value of neither.",
    remedy="Delete the password that no device uses, or rotate the device immediately, which ends "
    "both; otherwise the earlier expiry frees a slot.",
)

NO_SLOT_TO_ROTATE = replace(
    NO_FREE_SLOT, message="The rotation waits: both passwords of the token may be in use."
)


SEALING_KEY_NOT_KNOWN = Blocker(
    state=State.BLOCKED,
    reason=Reason.SEALING_KEY_NOT_KNOWN,
    message="The record was lost, and with it the key to which the device's password is sealed.",
    remedy="Request the device again with its sealingKey; until then it keeps its password.",
)


AWAITING_DEVICE = Blocker(
    state=State.WAITING,
    reason=Reason.AWAITING_DEVICE,
    message="The password is replaced when the device has logged in with it.",
    remedy="If the password leaked, or the device is lost, rotate immediately or revoke.",
)


def check_preconditions(observed: Observed) -> Target | Blocker:
    """The target, or the first blocker in the order of the checks."""
    twin = _enabled_twin(observed)
    if isinstance(twin, Blocker):
        return twin
    view, credential = observed.chosen, observed.credential
    if view is None or credential is None:
        return _nowhere_to_go(observed)
    usable = _usable(view)
    if isinstance(usable, Blocker):
        return usable
    entry, address = usable
    target = Target(
        twin=twin,
        view=view,
        entry=entry,
        address=address,
        credential=credential,
        identity=observed.hub_generation_id,
    )
    blockers = (check(observed, target) for check in PRECONDITIONS)
    return next((blocker for blocker in blockers if blocker is not None), target)


def blocker_from(refusal: Blocked) -> Blocker:
    """A Blocked error as a blocker."""
    return Blocker(
        state=State.BLOCKED,
        reason=refusal.reason,
        message=refusal.message,
        remedy=refusal.remedy,
    )


def _not_registered(device: DeviceKey) -> Blocker:
    return Blocker(
        state=State.WAITING,
        reason=Reason.DEVICE_NOT_REGISTERED,
        message=f"{device.hub} has no device {device.device_id}.",
        remedy="Register the device in the hub; firstpull checks again by itself.",
    )


def _enabled_twin(observed: Observed) -> Twin | Blocker:
    device = observed.record.device
    if observed.twin is None:
        return _not_registered(device)
    if not observed.twin.enabled:
        return Blocker(
            state=State.WAITING,
            reason=Reason.DEVICE_DISABLED,
            message=f"Device {device.device_id} is disabled in {device.hub}.",
            remedy="Enable the device in the hub; firstpull checks again by itself.",
        )
    return observed.twin


def _nowhere_to_go(observed: Observed) -> Blocker:
    """The blocker that says why no candidate takes the device."""
    problems = [problem for view in observed.views if isinstance(problem := _usable(view), Blocker)]
    full = [p for p in problems if p.reason is Reason.CONNECTED_REGISTRY_FULL]
    site = observed.record.spec.intent.site
    if site is not None and len(full) == len(observed.views):
        counts = {str(view.ref): view.used for view in observed.views}
        return blocker_from(site_full(site, used=counts))
    found = next(iter((*full, *problems)), None)
    if found is None:
        ref = observed.record.spec.intent.candidates[0]
        return blocker_from(connected_registry_not_found(ref))
    others = [problem.message for problem in problems if problem is not found]
    return replace(found, message=" ".join((found.message, *others))) if others else found


def _usable(view: ConnectedRegistryView) -> tuple[ConnectedRegistryPolicy, str] | Blocker:
    """The policy's entry and the address of a connected registry that takes the device."""
    if view.connected_registry is None:
        return blocker_from(connected_registry_not_found(view.ref))
    if view.entry is None:
        return Blocker(
            state=State.BLOCKED,
            reason=Reason.NOT_ALLOWED,
            message=f"The policy no longer lists {view.ref}.",
            remedy="List it in the policy again.",
        )
    if view.address is None:
        return Blocker(
            state=State.BLOCKED,
            reason=Reason.NO_ENDPOINT,
            message=f"Azure has no login server for {view.ref} that devices could reach.",
            remedy="Set its `endpoint` in the policy to the host:port that devices use.",
        )
    if not view.holds_room and not view.has_room:
        return blocker_from(connected_registry_full(view.ref, capacity=view.entry.capacity))
    return view.entry, view.address


def _token_is_ours(observed: Observed, target: Target) -> Blocker | None:
    """An existing token with the name is the device's own, or the one to adopt."""
    if target.credential.token is None:
        return None
    token = target.credential.names.token
    if token in observed.record.retiring_tokens_in(target.view.ref.registry):
        return None  # the device already uses it at the connected registry of a retiring grant
    if target.credential.is_taken:
        return Blocker(
            state=State.BLOCKED,
            reason=Reason.TOKEN_NOT_OURS,
            message=f"The token {token} belongs to another device or deployment, or is a connected "
            "registry's own.",
            remedy="Ask without `adopt`, or to adopt a token that nothing else has. Where this is "
            "the device's own token, revoke the other device that has it.",
        )
    if observed.record.status.grant is not None or observed.record.spec.intent.adopt is not None:
        return None
    if target.credential.is_made_here:
        return None
    return Blocker(
        state=State.BLOCKED,
        reason=Reason.TOKEN_NOT_OURS,
        message=f"A token {token} exists that no record names.",
        remedy="Take it off the lists of connected registries and delete it; firstpull then "
        "creates it with another password.",
    )


def _token_to_adopt_exists(observed: Observed, target: Target) -> Blocker | None:
    """The token to adopt exists."""
    adopt, token = observed.record.token_to_adopt, target.credential.token
    if adopt is None or (token is not None and token.name == adopt):
        return None
    return Blocker(
        state=State.BLOCKED,
        reason=Reason.TOKEN_NOT_FOUND,
        message=f"The container registry has no token {adopt}.",
        remedy="Ask with the name of a token that exists, or without `adopt`.",
    )


def _kind_delivers(observed: Observed, target: Target) -> Blocker | None:
    """Nothing stands in the way of the delivery: it is known before anything is made."""
    record = observed.record
    problem = record.delivery_kind.problem(target.twin, wanted_delivery(record, target))
    return blocker_of(problem) if problem is not None else None


def _may_be_plain(observed: Observed, target: Target) -> Blocker | None:
    """The settings allow a password that is not sealed, if it is not."""
    record = observed.record
    if record.spec.intent.sealing_key is not None or not observed.requires_sealing:
        return None
    if not wanted_delivery(record, target).delivers_now:
        return None
    return Blocker(
        state=State.BLOCKED,
        reason=Reason.SEALING_REQUIRED,
        message="The settings forbid a password that is not sealed, and the request has no "
        "sealingKey.",
        remedy="Request the device again with the key that `firstpull-agent key` prints on it.",
    )


def _has_identity_to_seal_to(observed: Observed, target: Target) -> Blocker | None:
    """The hub's identity is known, which a seal names."""
    if observed.record.spec.intent.sealing_key is None or target.identity is not None:
        return None
    return _not_registered(observed.record.device)


def _repositories_are_synced(observed: Observed, target: Target) -> Blocker | None:
    """The connected registry syncs the repositories, unless the policy lists them.

    The policy allows repositories that are not synced yet; a warning names them.
    """
    synced = target.credential.synced_actions
    if synced is None or target.entry.repositories is not None:
        return None
    missing = uncovered(observed.record.spec.intent.scope_actions, synced)
    if not missing:
        return None
    return Blocker(
        state=State.BLOCKED,
        reason=Reason.REPOSITORIES_NOT_SYNCED,
        message=f"The connected registry does not sync {in_words(missing)}.",
        remedy="Add them to the connected registry, or ask for others.",
    )


def wanted_delivery(record: DeviceRecord, target: Target) -> Wanted:
    """What the device's delivery kind is asked to deliver."""
    status = record.status
    is_adopted = status.adopted or record.token_to_adopt is not None
    retiring = (grant.names.token for grant in status.retiring)
    return Wanted(
        device_id=record.device.device_id,
        ref=target.view.ref,
        contents=contents_of(record, target),
        tokens=frozenset((target.credential.names.token, *retiring)),
        delivered_until=status.delivery.expires_at if status.delivery is not None else None,
        delivers_now=status.delivery is not None or not is_adopted,
    )


def blocker_of(problem: Problem) -> Blocker:
    """A delivery kind's problem as a blocker."""
    return Blocker(
        state=State.WAITING if problem.waits else State.BLOCKED,
        reason=problem.reason,
        message=problem.message,
        remedy=problem.remedy,
    )


def contents_of(record: DeviceRecord, target: Target) -> Contents:
    """The contents of the entry."""
    return Contents(
        address=target.address,
        username=target.view.token_id.name,
        repositories=record.spec.intent.repositories,
        ca=target.entry.ca,
        insecure=target.entry.insecure,
        recipient=_recipient(record, target),
    )


def _recipient(record: DeviceRecord, target: Target) -> Recipient | None:
    """To whom the password is sealed; None where it is not."""
    key, delivery = record.spec.intent.sealing_key, record.status.delivery
    if key is None:
        return None
    return Recipient(
        key=key,
        device_id=record.device.device_id,
        generation_id=target.identity or "",
        connected_registry=target.view.ref.name,
        after=delivery.at if delivery is not None else None,
    )


type Precondition = Callable[[Observed, Target], Blocker | None]

PRECONDITIONS: tuple[Precondition, ...] = (
    _token_is_ours,
    _token_to_adopt_exists,
    _may_be_plain,
    _has_identity_to_seal_to,
    _kind_delivers,
    _repositories_are_synced,
)
