"""The next step for one connected registry: pure functions."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeAlias

from firstpull_agent.applied import Applied
from firstpull_agent.deliveries import Delivery, Rejected, Wanted

_LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class LogIn:
    """Give the credential to the engine."""

    delivery: Delivery


@dataclass(frozen=True)
class Keep:
    """Change no login; the engine has the right one."""

    delivery: Delivery


@dataclass(frozen=True)
class Refuse:
    """Change nothing, and report why."""

    rejected: Rejected


@dataclass(frozen=True)
class Withdraw:
    """Log out, and remove the login from the store."""

    name: str


Step: TypeAlias = LogIn | Keep | Refuse | Withdraw


def to_settle(
    wanted: Mapping[str, Wanted], *, known: Collection[str], applied: Collection[Applied]
) -> dict[str, Wanted | None]:
    """The delivery for each connected registry, None for one to log out of, in order.

    Logouts come first, except where another delivery has the same address: it replaces the login
    without a gap. Newer deliveries come before older ones.
    """
    gone = sorted(set(known) - wanted.keys())
    addresses = {want.address for want in wanted.values() if isinstance(want, Delivery)}
    replaced = {login.name for login in applied if login.address in addresses}
    first: dict[str, Wanted | None] = dict.fromkeys(name for name in gone if name not in replaced)
    last: dict[str, Wanted | None] = dict.fromkeys(name for name in gone if name in replaced)
    return first | dict(sorted(wanted.items(), key=_newness, reverse=True)) | last


def lane(
    name: str, target: Wanted | None, *, wanted: Mapping[str, Wanted], applied: Collection[Applied]
) -> str:
    """The lane of a connected registry's attempts: those in one lane are made one by one.

    Attempts for one address are in one lane, because the order of `to_settle` matters there.
    """
    if isinstance(target, Delivery):
        return target.address
    addresses = {want.address for want in wanted.values() if isinstance(want, Delivery)}
    mine = (login.address for login in applied if login.name == name)
    return next((address for address in mine if address in addresses), name)


def newer_rivals(wanted: Wanted | None, everything: Mapping[str, Wanted]) -> frozenset[Delivery]:
    """The newer deliveries for the same address: an engine keeps only one login for it."""
    if not isinstance(wanted, Delivery):
        return frozenset()
    mine = _newness((wanted.name, wanted))
    return frozenset(
        other
        for name, other in everything.items()
        if isinstance(other, Delivery)
        and other.address == wanted.address
        and _newness((name, other)) > mine
    )


def next_step(name: str, wanted: Wanted | None, *, in_place: bool, superseded: bool) -> Step:
    """The step towards the desired state of a connected registry, with an accepted credential.

    `in_place` says whether the engine has exactly this delivery's login, `superseded` whether it
    has a newer login for the same address.
    """
    if wanted is None:
        return Withdraw(name)
    if isinstance(wanted, Rejected):
        return Refuse(wanted)
    return Keep(wanted) if in_place or superseded else LogIn(wanted)


def _newness(item: tuple[str, Wanted]) -> tuple[datetime, str]:
    """The order of deliveries: a later expiry is newer, then the later name."""
    name, wanted = item
    expires_on = wanted.expires_on if isinstance(wanted, Delivery) else None
    return expires_on or _LONG_AGO, name
