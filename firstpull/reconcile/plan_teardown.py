"""The actions of a teardown: after a revoke, or when a device has moved.

Side by side: disable the token; leave the list of clients; remove the twin's entry; note the
request in the secret's tags, then disable its versions. At last delete the token. A crash anywhere
leaves less access than before, and the next pass finds the rest.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from itertools import chain

from firstpull.model.azure_resources import Twin
from firstpull.model.delivery_kinds import DeliveryKind, kind_named, same_place, twin_at
from firstpull.model.device_record import Grant
from firstpull.model.password_slots import slots_made_here, token_of
from firstpull.reconcile.actions import (
    DeleteToken,
    DisableSecretVersion,
    DisableToken,
    KeepPasswords,
    LeaveConnectedRegistry,
    RemoveFromTwin,
    SideBySide,
    TagSecret,
    TeardownAction,
    side_by_side,
)
from firstpull.reconcile.observe import GrantView


def plan_teardown(
    views: Collection[GrantView],
    twin: Twin | None,
    *,
    in_use: Collection[Grant],
    tags: Iterable[TagSecret] = (),
    why: str,
) -> tuple[TeardownAction | SideBySide[TeardownAction], ...]:
    """The steps, with no action twice.

    `in_use` are the grants whose entry stays, `tags` those of the secrets.
    """
    ending = [view for view in views if not view.shares_token]
    owned = [view for view in ending if not view.is_anothers]
    lanes = (
        _lane(
            *(_disable_token(view, why) for view in owned),
            *(_end_passwords(view, why) for view in ending if view.is_anothers),
        ),
        *(_lane(_leave(view, why)) for view in views),
        *(_lane(_remove(kind, views, twin, in_use, why)) for kind in _kinds_of(views)),
        _lane(tags, *(_disable_secret(view, why, keep_others=bool(in_use)) for view in ending)),
    )
    deletions = _lane(*(_delete_token(view, why) for view in owned))
    return (*side_by_side(*dict.fromkeys(lanes)), *deletions)


def _lane(*parts: Iterable[TeardownAction]) -> tuple[TeardownAction, ...]:
    """The actions of a lane, none twice."""
    return tuple(dict.fromkeys(chain(*parts)))


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


def _have_one_entry(one: Grant, other: Grant) -> bool:
    """Whether two grants share an entry: it is named by the connected registry alone."""
    return one.ref.name == other.ref.name and same_place(one.delivery, other.delivery)


def _kinds_of(views: Collection[GrantView]) -> list[DeliveryKind]:
    """The kinds of these grants, one for each place."""
    kinds: dict[str, DeliveryKind] = {}
    for view in views:
        kind = kind_named(view.grant.delivery)
        kinds.setdefault(kind.place, kind)
    return list(kinds.values())


def _remove(
    kind: DeliveryKind,
    views: Collection[GrantView],
    twin: Twin | None,
    in_use: Collection[Grant],
    why: str,
) -> Iterator[TeardownAction]:
    """One write for all entries at the kind's place. A whole entry for another token stays."""
    target = twin_at(kind, twin)
    if twin is None or target is None:
        return
    found: dict[str, tuple[str, ...]] = {}
    for view in views:
        name = view.grant.ref.name
        is_elsewhere = kind_named(view.grant.delivery).place != kind.place
        if is_elsewhere or any(_have_one_entry(view.grant, grant) for grant in in_use):
            continue
        entry = kind.entry(twin, name)
        if entry is None or not entry.intact or entry.is_for(view.grant.names.token):
            found |= {name: keys} if (keys := kind.keys(twin, name)) else {}
    if found:
        yield RemoveFromTwin(
            connected_registries=tuple(found),
            delivery=kind.name,
            keys=tuple(dict.fromkeys(key for keys in found.values() for key in keys)),
            twin_etag=target.etag,
            why=why,
        )


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
