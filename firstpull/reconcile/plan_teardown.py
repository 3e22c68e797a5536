"""The actions of a teardown: after a revoke, or when a device has moved.

The order is fixed: disable the token, note the request in the secret's tags, leave the list of
clients, remove the twin's entry, disable the secret's versions, delete the token. A crash anywhere
leaves less access than before, and the next pass finds the rest.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from firstpull.model.azure_resources import Twin
from firstpull.model.password_slots import slots_made_here, token_of
from firstpull.model.twin_entry import read_entry, section_of
from firstpull.reconcile.actions import (
    DeleteToken,
    DisableSecretVersion,
    DisableToken,
    KeepPasswords,
    LeaveConnectedRegistry,
    RemoveFromTwin,
    TagSecret,
    TeardownAction,
)
from firstpull.reconcile.observe import GrantView


def plan_teardown(
    views: Collection[GrantView],
    twin: Twin | None,
    *,
    in_use: Collection[str],
    tags: Iterable[TagSecret] = (),
    why: str,
) -> tuple[TeardownAction, ...]:
    """The actions, none twice.

    `in_use` are the connected registries whose entry the twin keeps, `tags` those of the secrets.
    """
    ending = [view for view in views if not view.shares_token]
    owned = [view for view in ending if not view.is_anothers]
    steps: tuple[Iterator[TeardownAction], ...] = (
        *(_disable_token(view, why) for view in owned),
        *(_end_passwords(view, why) for view in ending if view.is_anothers),
        iter(tags),
        *(_leave(view, why) for view in views),
        _remove_from_twin(views, twin, in_use, why),
        *(_disable_secret(view, why, keep_others=bool(in_use)) for view in ending),
        *(_delete_token(view, why) for view in owned),
    )
    return tuple(dict.fromkeys(action for step in steps for action in step))


def _disable_token(view: GrantView, why: str) -> Iterator[TeardownAction]:
    if view.token is not None and view.token.enabled:
        yield DisableToken(registry=view.grant.ref.registry, name=view.token.name, why=why)


def _end_passwords(view: GrantView, why: str) -> Iterator[TeardownAction]:
    """The passwords that firstpull made for this device, on a token that another one has."""
    if view.token is None:
        return
    made = slots_made_here(view.token, view.secrets)
    if made:
        kept = frozenset(password.slot for password in view.token.passwords) - made
        yield KeepPasswords(
            registry=view.grant.ref.registry, name=view.token.name, slots=kept, why=why
        )


def _leave(view: GrantView, why: str) -> Iterator[TeardownAction]:
    if view.is_client:
        yield LeaveConnectedRegistry(
            ref=view.grant.ref, token_id=view.token_id, capacity=view.capacity, why=why
        )


def _remove_from_twin(
    views: Collection[GrantView], twin: Twin | None, in_use: Collection[str], why: str
) -> Iterator[TeardownAction]:
    """One write for all entries. A whole entry for another token stays."""
    if twin is None:
        return
    found = []
    for view in views:
        key = view.grant.ref.name
        if key in in_use or not section_of(twin.desired, key):
            continue
        entry = read_entry(twin.desired, key)
        if entry is None or not entry.intact or entry.is_for(view.grant.names.token):
            found.append(key)
    if found:
        keys = tuple(dict.fromkeys(found))
        yield RemoveFromTwin(connected_registries=keys, twin_etag=twin.etag, why=why)


def _disable_secret(view: GrantView, why: str, *, keep_others: bool) -> Iterator[TeardownAction]:
    """`keep_others` spares the versions of the device's other token, which share the secret."""
    for version in view.secrets:
        is_others = token_of(version) not in (None, view.grant.names.token)
        if version.enabled and not (keep_others and is_others):
            yield DisableSecretVersion(
                secret=view.grant.names.secret, version=version.version, why=why
            )


def _delete_token(view: GrantView, why: str) -> Iterator[TeardownAction]:
    if view.token is not None:
        yield DeleteToken(registry=view.grant.ref.registry, name=view.token.name, why=why)
