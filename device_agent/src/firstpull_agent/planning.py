"""What to do next for one connected registry. Decisions only; nothing is touched here."""

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
    """Check the credential at the registry, then give it to the engine."""

    delivery: Delivery


@dataclass(frozen=True)
class Check:
    """Only check that the registry takes the credential; the engine's login is as it should be."""

    delivery: Delivery


@dataclass(frozen=True)
class Refuse:
    """Leave everything as it is and say why."""

    rejected: Rejected


@dataclass(frozen=True)
class Withdraw:
    """Log out and forget."""

    name: str


Step: TypeAlias = LogIn | Check | Refuse | Withdraw


def to_settle(
    wanted: Mapping[str, Wanted], *, known: Collection[str], applied: Collection[Applied]
) -> dict[str, Wanted | None]:
    """Everything that is wanted, and None for what is known on the device but no longer wanted.

    Withdrawals come first, but for those whose address is wanted by another: there the login is
    replaced without a gap. The newest deliveries come before the older ones.
    """
    gone = sorted(set(known) - wanted.keys())
    addresses = {want.address for want in wanted.values() if isinstance(want, Delivery)}
    replaced = {login.name for login in applied if login.address in addresses}
    first: dict[str, Wanted | None] = dict.fromkeys(name for name in gone if name not in replaced)
    last: dict[str, Wanted | None] = dict.fromkeys(name for name in gone if name in replaced)
    return first | dict(sorted(wanted.items(), key=_newness, reverse=True)) | last


def newer_rivals(wanted: Wanted | None, everything: Mapping[str, Wanted]) -> frozenset[Delivery]:
    """The newer deliveries for the same address, for which an engine can keep one login only."""
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
    """The step that brings `name` to what is wanted.

    `in_place` says whether the engine holds exactly this delivery, `superseded` whether it holds
    a newer one for the same address.
    """
    if wanted is None:
        return Withdraw(name)
    if isinstance(wanted, Rejected):
        return Refuse(wanted)
    return Check(wanted) if in_place or superseded else LogIn(wanted)


def _newness(item: tuple[str, Wanted]) -> tuple[datetime, str]:
    """A credential that expires later was made later; the name decides between equals."""
    name, wanted = item
    expires_on = wanted.expires_on if isinstance(wanted, Delivery) else None
    return expires_on or _LONG_AGO, name
