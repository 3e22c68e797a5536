"""What is to be done where access is taken away: by a revoke, or at a place that was left.

The order holds whatever is found: the token lets nobody in, it leaves the list, the twin and
Key Vault lose the password, and only then the token goes. A crash anywhere leaves less access
than there was, and the rest is found by the next look.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from firstpull.actions import (
    Action,
    DeleteToken,
    DisableSecretVersion,
    DisableToken,
    LeaveConnectedRegistry,
    WithdrawFromTwin,
)
from firstpull.cloud import ConnectedRegistry, SecretVersion, Token, TokenId, Twin
from firstpull.delivery import read_entry, section_of
from firstpull.ledger import Ledger
from firstpull.records import Holding


@dataclass(frozen=True, kw_only=True)
class HoldingView:
    """What exists of a holding. `shares_token`: what the device keeps has the same token."""

    holding: Holding
    token_id: TokenId
    connected_registry: ConnectedRegistry | None
    ledger: Ledger
    shares_token: bool
    token: Token | None = None
    secrets: tuple[SecretVersion, ...] = ()

    @property
    def is_client(self) -> bool:
        """Whether the list or the ledger of the place still has the token."""
        listed = self.connected_registry is not None and self.connected_registry.lists(
            self.token_id
        )
        return listed or self.ledger.get(self.token_id) is not None


def withdrawal(
    views: Collection[HoldingView], twin: Twin | None, *, in_use: Collection[str], why: str
) -> tuple[Action, ...]:
    """The actions, none twice. `in_use` are the connected registries whose entry the twin keeps."""
    ending = [view for view in views if not view.shares_token]
    steps = (
        *(_disable(view, why) for view in ending),
        *(_leave(view, why) for view in views),
        _withdraw(views, twin, in_use, why),
        *(_hide(view, why) for view in ending),
        *(_delete(view, why) for view in ending),
    )
    return tuple(dict.fromkeys(action for step in steps for action in step))


def _disable(view: HoldingView, why: str) -> Iterator[Action]:
    if view.token is not None and view.token.enabled:
        yield DisableToken(registry=view.holding.place.registry, name=view.token.name, why=why)


def _leave(view: HoldingView, why: str) -> Iterator[Action]:
    if view.is_client:
        yield LeaveConnectedRegistry(
            place=view.holding.place, token=view.holding.names.token, why=why
        )


def _withdraw(
    views: Collection[HoldingView], twin: Twin | None, in_use: Collection[str], why: str
) -> Iterator[Action]:
    """One write for all entries. An entry that is whole and for another token stays."""
    found = []
    for view in views:
        key = view.holding.place.connected_registry
        if twin is None or key in in_use or not section_of(twin.desired, key):
            continue
        entry = read_entry(twin.desired, key)
        if entry is None or not entry.intact or entry.is_for(view.holding.names.token):
            found.append(key)
    if found:
        yield WithdrawFromTwin(connected_registries=tuple(dict.fromkeys(found)), why=why)


def _hide(view: HoldingView, why: str) -> Iterator[Action]:
    for version in view.secrets:
        if version.enabled:
            yield DisableSecretVersion(
                secret=view.holding.names.secret, version=version.version, why=why
            )


def _delete(view: HoldingView, why: str) -> Iterator[Action]:
    if view.token is not None:
        yield DeleteToken(registry=view.holding.place.registry, name=view.token.name, why=why)
