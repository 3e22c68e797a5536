"""What stands in a device's way: checks in a fixed order, the first that fails is the answer."""

from __future__ import annotations

from dataclasses import dataclass, replace

from firstpull.delivery import read_entry
from firstpull.errors import (
    Blocked,
    connected_registry_full,
    connected_registry_not_found,
    site_full,
)
from firstpull.observation import Observed, PlaceView
from firstpull.reasons import Reason
from firstpull.records import State, tokens_left_in
from firstpull.repositories import in_words, uncovered


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Why nothing can be done now."""

    state: State
    reason: Reason
    message: str
    remedy: str | None = None


def first_finding(observed: Observed) -> Finding | None:
    """The first thing that stands in the way, in this order."""
    return (
        _device_missing(observed)
        or _no_place(observed)
        or _token_is_not_ours(observed)
        or _nothing_to_adopt(observed)
        or _twin_entry_is_not_ours(observed)
        or _not_synced(observed)
    )


def _device_missing(observed: Observed) -> Finding | None:
    device = observed.record.device
    if observed.twin is None:
        return Finding(
            state=State.WAITING,
            reason=Reason.DEVICE_NOT_REGISTERED,
            message=f"{device.hub} has no device {device.device_id}.",
            remedy="Register the device in the hub; it is looked at again by itself.",
        )
    if not observed.twin.enabled:
        return Finding(
            state=State.WAITING,
            reason=Reason.DEVICE_DISABLED,
            message=f"Device {device.device_id} is disabled in {device.hub}.",
            remedy="Enable the device in the hub; it is looked at again by itself.",
        )
    return None


def _no_place(observed: Observed) -> Finding | None:
    if observed.chosen is not None:
        return _place_problem(observed.chosen)
    problems = [_place_problem(view) for view in observed.views]
    full = [p for p in problems if p and p.reason is Reason.CONNECTED_REGISTRY_FULL]
    site = observed.record.intent.site
    if site is not None and len(full) == len(problems):
        counts = {str(view.place): view.used for view in observed.views}
        return finding_of(site_full(site, used=counts))
    found = next(iter(full), None) or problems[0]
    others = [p.message for p in problems if p is not None and p is not found]
    if found is None or not others:
        return found
    return replace(found, message=" ".join((found.message, *others)))


def _place_problem(view: PlaceView) -> Finding | None:
    if view.connected_registry is None:
        return finding_of(connected_registry_not_found(view.place))
    if view.entry is None:
        return Finding(
            state=State.BLOCKED,
            reason=Reason.NOT_ALLOWED,
            message=f"The policy no longer lists {view.place}.",
            remedy="List it in FIRSTPULL_POLICY again.",
        )
    if view.address is None:
        return Finding(
            state=State.BLOCKED,
            reason=Reason.NO_ENDPOINT,
            message=f"The service knows no login server of {view.place}.",
            remedy="Set its `endpoint` in FIRSTPULL_POLICY to the host:port that devices use.",
        )
    if not view.holds_room and not view.has_room:
        return finding_of(connected_registry_full(view.place, capacity=view.entry.capacity))
    return None


def finding_of(refusal: Blocked) -> Finding:
    """What somebody was told, or a worker would be told on trying."""
    return Finding(
        state=State.BLOCKED,
        reason=refusal.reason,
        message=refusal.message,
        remedy=refusal.remedy,
    )


def _token_is_not_ours(observed: Observed) -> Finding | None:
    credential = observed.credential
    if credential is None or credential.token is None:
        return None
    token, view = credential.names.token, observed.chosen
    if view is not None and token in tokens_left_in(observed.record, view.place.registry):
        return None  # the device's own, from the place that it leaves
    if credential.is_taken:
        return Finding(
            state=State.BLOCKED,
            reason=Reason.TOKEN_NOT_OURS,
            message=f"The token {token} is another device's, another deployment's or a connected "
            "registry's.",
            remedy="Ask with the name of the device's own token, or without `adopt`.",
        )
    if observed.record.names is not None or observed.record.intent.adopt is not None:
        return None
    return Finding(
        state=State.BLOCKED,
        reason=Reason.TOKEN_NOT_OURS,
        message=f"A token {token} exists that no record names.",
        remedy="If nobody uses it, take it off the lists of connected registries and delete it: it "
        "is made anew. To keep it, list it under adoptableTokens in FIRSTPULL_POLICY, and ask with "
        "`adopt`.",
    )


def _nothing_to_adopt(observed: Observed) -> Finding | None:
    credential, adopt = observed.credential, observed.record.intent.adopt
    if credential is None or adopt is None or observed.record.names is not None:
        return None
    if credential.token is not None and credential.token.name == adopt:
        return None
    return Finding(
        state=State.BLOCKED,
        reason=Reason.TOKEN_NOT_FOUND,
        message=f"The container registry has no token {adopt}.",
        remedy="Ask with the name of a token that exists, or without `adopt`.",
    )


def _twin_entry_is_not_ours(observed: Observed) -> Finding | None:
    """Whole, but for a token that is none of the device's: another deployment wrote it."""
    view, twin, credential = observed.chosen, observed.twin, observed.credential
    if view is None or twin is None or credential is None:
        return None
    entry = read_entry(twin.desired, view.place.connected_registry)
    ours = {credential.names.token, *(h.names.token for h in observed.record.leaving)}
    if entry is None or any(entry.is_for(token) for token in ours):
        return None
    if not entry.intact and observed.record.delivery is not None:
        return None  # somebody edited what this deployment delivered
    return Finding(
        state=State.BLOCKED,
        reason=Reason.TWIN_ENTRY_NOT_OURS,
        message=f"The twin holds a delivery for {view.place} that another deployment made.",
        remedy="Revoke the device there, or remove the entry from the twin's desired properties.",
    )


def _not_synced(observed: Observed) -> Finding | None:
    credential = observed.credential
    view = observed.chosen
    if credential is None or credential.synced_actions is None:
        return None
    if view is None or view.entry is None or view.entry.repositories is not None:
        return None  # what the policy lists is allowed, synced or not: it is a warning
    missing = uncovered(observed.record.intent.scope_actions, credential.synced_actions)
    if not missing:
        return None
    return Finding(
        state=State.BLOCKED,
        reason=Reason.REPOSITORIES_NOT_SYNCED,
        message=f"The connected registry does not sync {in_words(missing)}.",
        remedy="Add them to the connected registry, or ask for others.",
    )
