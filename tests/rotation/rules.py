"""Wrong rules for a rotation, each of which the model check must refute."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest

from firstpull.model.azure_resources import Slot, Token
from firstpull.model.password_slots import Credential
from firstpull.reconcile import plan_passwords
from firstpull.reconcile.plan_passwords import Passwords
from tests.rotation.check import Result, explore
from tests.rotation.consumers import TWIN, Consumer
from tests.rotation.model import Model

type Plant = Callable[[pytest.MonkeyPatch], None]


def _nothing(patch: pytest.MonkeyPatch) -> None:
    """Leave firstpull as it is."""


def _overwrite_the_oldest(patch: pytest.MonkeyPatch) -> None:
    def oldest(
        token: Token | None,
        *,
        now: datetime,  # noqa: ARG001 - as the right rule
        requested: Collection[Slot],  # noqa: ARG001 - as the right rule
        in_use: Collection[Slot],  # noqa: ARG001 - as the right rule
    ) -> Slot:
        made = {slot: token.password(slot) for slot in Slot} if token else {}
        empty = [slot for slot in Slot if made.get(slot) is None]
        by_age = sorted((p.created_at, p.slot) for p in made.values() if p is not None)
        return next(iter((*empty, *(slot for _, slot in by_age))))

    patch.setattr(plan_passwords, "slot_to_fill", oldest)


def _deliver_before_the_sync(patch: pytest.MonkeyPatch) -> None:
    def newest(passwords: Passwords) -> Credential | None:
        return passwords.current

    def always(_passwords: Passwords, _to: Credential) -> bool:
        return True

    patch.setattr(Passwords, "to_deliver", newest)
    patch.setattr(Passwords, "may_switch", always)


def _trust_any_later_sync(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(plan_passwords, "SYNC_MARGIN", timedelta(0))


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A rule in a few words, and what makes firstpull follow it."""

    says: str
    plant: Plant
    fences: bool = True

    def explore(self, *, to: Consumer = TWIN, steps: int = 2) -> tuple[Model, Result]:
        """What the model check finds, and its model, which has planned by this rule."""
        model = Model.make(to=to, steps=steps, fences=self.fences)
        with pytest.MonkeyPatch.context() as patch:
            self.plant(patch)
            return model, explore(model)


OURS = Rule(says="firstpull", plant=_nothing)
WRONG = (
    Rule(says="overwrite the oldest slot", plant=_overwrite_the_oldest),
    Rule(says="deliver before the sync", plant=_deliver_before_the_sync),
    Rule(says="trust any later sync", plant=_trust_any_later_sync),
    Rule(says="take over at once", plant=_nothing, fences=False),
)


def naive(patch: pytest.MonkeyPatch) -> None:
    """What a script does: overwrite the oldest slot, and deliver at once."""
    _overwrite_the_oldest(patch)
    _deliver_before_the_sync(patch)
