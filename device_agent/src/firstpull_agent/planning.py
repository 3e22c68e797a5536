"""What to do next for one connected registry. Decisions only; nothing is touched here."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from firstpull_agent.deliveries import Delivery, Rejected, Wanted


@dataclass(frozen=True)
class LogIn:
    """Check the credential at the registry, then give it to the engine."""

    delivery: Delivery


@dataclass(frozen=True)
class Check:
    """The engine has this login already: only check that the registry still takes it."""

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


def to_settle(wanted: Mapping[str, Wanted], known: Collection[str]) -> dict[str, Wanted | None]:
    """Everything that is wanted, and None for what is known on the device but no longer wanted."""
    withdrawn: dict[str, Wanted | None] = dict.fromkeys(sorted(set(known) - wanted.keys()))
    # Withdrawals first: an address that changed its connected registry is then logged in last.
    return withdrawn | dict(wanted)


def next_step(name: str, wanted: Wanted | None, *, in_place: bool) -> Step:
    """The step that brings `name` to what is wanted.

    `in_place` says whether the engine holds exactly this delivery.
    """
    if wanted is None:
        return Withdraw(name)
    if isinstance(wanted, Rejected):
        return Refuse(wanted)
    return Check(wanted) if in_place else LogIn(wanted)
