"""What a delivery kind decides: the one protocol between firstpull and a consumer of credentials.

A further kind is one module that implements `DeliveryKind`, and its line in the registry of kinds
(firstpull/model/delivery_kinds/__init__.py). Everything is pure: a kind reads twins that were
observed, and returns patches that somebody else sends.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from firstpull.model.azure_resources import ConnectedRegistryRef, Twin
from firstpull.model.reasons import Reason
from firstpull.model.secret import Secret
from firstpull.model.twin_entry import Acknowledgement, Contents, DeliveredEntry


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Why a kind cannot deliver. With `waits`, no person is needed."""

    reason: Reason
    message: str
    remedy: str
    waits: bool = False


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a kind is asked to deliver: the contents, for which connected registry, to whom.

    `tokens` are the device's own: an entry for one of them is not foreign. `delivered_until` is the
    expiry of the delivery that the record names, None without one; `delivers_now` is
    false for an adopted token, whose device gets an entry only when its password is replaced.
    """

    device_id: str
    ref: ConnectedRegistryRef
    contents: Contents
    tokens: Collection[str]
    delivered_until: datetime | None
    delivers_now: bool


class DeliveryKind(Protocol):
    """How a credential reaches one kind of consumer."""

    @property
    def name(self) -> str:
        """The value of `delivery` in a request."""
        ...

    @property
    def place(self) -> str:
        """Kinds with the same place write the same entries, so changing between them moves none."""
        ...

    @property
    def module(self) -> str | None:
        """The module in whose twin the entries are; None for the device's own twin."""
        ...

    @property
    def options(self) -> frozenset[str]:
        """The values of `deliveryOptions` that this kind knows."""
        ...

    @property
    def seals(self) -> bool:
        """Whether its consumer opens sealed passwords; with others, a sealing key is refused."""
        ...

    @property
    def last_share(self) -> float:
        """The last share of a password's life in which its expiry is worth a warning."""
        ...

    def may_be_at(self, twin: Twin) -> bool:
        """Whether a device can have entries of this kind, by its own twin."""
        ...

    def entry(self, twin: Twin, connected_registry: str) -> DeliveredEntry | None:
        """The entry for a connected registry, None if there is none or it cannot be read."""
        ...

    def entries(self, twin: Twin) -> dict[str, DeliveredEntry]:
        """The readable entries, by connected registry."""
        ...

    def keys(self, twin: Twin, connected_registry: str) -> tuple[str, ...]:
        """The names under which there is anything for a connected registry, readable or not."""
        ...

    def problem(self, twin: Twin, wanted: Wanted) -> Problem | None:
        """What stands in the way of a delivery, None if nothing does. Nothing was made yet."""
        ...

    def withheld(
        self, twin: Twin, wanted: Wanted, *, secret: str, expires_at: datetime | None
    ) -> Problem | None:
        """Why a person has to write the delivery that firstpull has prepared; else None.

        The password is in Key Vault as `secret`, a name and a version; `expires_at` is None as long
        as it is not made.
        """
        ...

    def if_silent(self, twin: Twin) -> str | None:
        """What to tell a person of a device that does not answer to this kind; else None."""
        ...

    def fields(self, contents: Contents, expires_at: datetime) -> Mapping[str, Any]:
        """The fields of the entry as `entry` reads them back.

        Among them are `address`, `username` and `expiresOn`, by which a lost record is made again.
        """
        ...

    def delivery_id(self, contents: Contents, password: Secret, *, expires_at: datetime) -> str:
        """A digest of the entry, as `entry` computes it from what it reads."""
        ...

    def patch(
        self,
        contents: Contents,
        connected_registry: str,
        password: Secret,
        *,
        expires_at: datetime,
        replaces: Collection[str],
    ) -> dict[str, Any]:
        """The merge patch that writes the entry. `replaces` is what `replaced` found."""
        ...

    def replaced(self, twin: Twin, connected_registry: str) -> frozenset[str]:
        """The names that a write of the entry has to clear."""
        ...

    def removal(self, keys: Collection[str]) -> dict[str, Any]:
        """The merge patch that removes what `keys` named."""
        ...

    def acknowledgement(
        self, twin: Twin, connected_registry: str, *, synced_at: datetime | None
    ) -> Acknowledgement | None:
        """What the consumer says of the entry, None if nothing yet.

        `synced_at` is when the connected registry last synced.
        """
        ...

    def frees_old_slot(self, options: Collection[str]) -> bool:
        """Whether the earlier password ends at the acknowledgement, else at its own expiry."""
        ...


def twin_at(kind: DeliveryKind, twin: Twin | None) -> Twin | None:
    """The twin that has a kind's entries: the device's, or that of a module which was read."""
    if twin is None or kind.module is None:
        return twin
    return twin.modules.get(kind.module)


def was_read(kind: DeliveryKind, twin: Twin) -> bool:
    """Whether the twin that a kind writes to was read, should there be one."""
    return kind.module is None or kind.module in twin.modules
