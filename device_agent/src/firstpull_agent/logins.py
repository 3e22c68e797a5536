"""Carries out steps on this device. No other module changes logins."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from firstpull_agent.applied import Applied, AppliedStore
from firstpull_agent.auth_file import AuthFile
from firstpull_agent.ca_files import CaFiles
from firstpull_agent.deliveries import Delivery
from firstpull_agent.engines import Engine
from firstpull_agent.planning import Keep, LogIn, Refuse, Step, Withdraw
from firstpull_agent.reports import Failure, Reason

_log = logging.getLogger(__name__)


class Logins:
    """The engine's logins, and the store that names those of the agent.

    The store names a login before the agent makes it, and until after the agent has removed it.
    So after a crash it still names every login that the agent made.
    """

    def __init__(self, *, engine: Engine, store: AppliedStore) -> None:
        self._engine = engine
        self._store = store

    def applied(self) -> tuple[Applied, ...]:
        """Every login that the agent made and has not removed."""
        return self._store.load()

    def in_place(self, delivery: Delivery) -> bool:
        """Whether the engine has exactly the login of this delivery."""
        applied = self._as_applied(delivery)
        try:
            return (
                self._store.at(applied.key) == applied
                and self._engine.auth_file.holds(
                    delivery.address, username=delivery.username, password=delivery.password
                )
                and delivery.ca in {None, self._engine.ca_files.read(delivery.address)}
            )
        except OSError:
            return False

    def carry_out(self, step: Step) -> None:
        """Carry out a step. Raises Failure, and then the previous login is still in place."""
        try:
            match step:
                case Refuse(rejected):
                    raise Failure(rejected.reason, rejected.detail)
                case Withdraw(name):
                    for applied in self._applied_for(name):
                        self._remove(applied)
                case Keep(delivery):
                    self._clear_leftovers(delivery)
                case LogIn(delivery):
                    self._log_in(delivery)
                    self._clear_leftovers(delivery)
        except OSError as error:
            raise Failure(
                Reason.STORAGE_FAILED, f"{error.filename or 'a file'}: {error.strerror}"
            ) from None

    def _log_in(self, delivery: Delivery) -> None:
        new = self._as_applied(delivery)
        before = self._store.at(new.key)
        self._store.put(_unfinished(new, before))
        if delivery.ca is not None:
            self._engine.ca_files.write(delivery.address, delivery.ca)
        self._engine.login(delivery)
        if before is not None and before.certs_dir not in {None, new.certs_dir}:
            self._remove_ca_file(before)
        self._store.put(new)

    def _clear_leftovers(self, delivery: Delivery) -> None:
        """Remove this connected registry's logins at an earlier address or with another engine.

        A failure is only logged, because the current login works. The next start or delivery
        tries again.
        """
        key = self._as_applied(delivery).key
        for applied in self._applied_for(delivery.name):
            if applied.key == key:
                continue
            try:
                self._remove(applied)
            except (Failure, OSError) as error:
                _log.warning("the old login for %s is not removed: %s", applied.address, error)

    def _remove(self, applied: Applied) -> None:
        auth_file = AuthFile(Path(applied.auth_file))
        username = auth_file.username(applied.address)
        if username is not None and username not in applied.usernames:
            _log.info(
                "%s: another user has logged in there since; the agent keeps that login",
                applied.address,
            )
        elif auth_file.path == self._engine.auth_file.path:
            self._engine.logout(applied.address)
        else:
            auth_file.remove(applied.address)
        self._remove_ca_file(applied)
        self._store.remove(applied)

    def _remove_ca_file(self, applied: Applied) -> None:
        file = applied.certs_dir, applied.address
        others = (other for other in self._store.load() if other.key != applied.key)
        if applied.certs_dir and file not in {(other.certs_dir, other.address) for other in others}:
            CaFiles(Path(applied.certs_dir)).remove(applied.address)

    def _applied_for(self, name: str) -> list[Applied]:
        return [applied for applied in self._store.load() if applied.name == name]

    def _as_applied(self, delivery: Delivery) -> Applied:
        """The entry of the store for a delivery that the engine has."""
        return Applied(
            name=delivery.name,
            delivery_id=delivery.delivery_id,
            address=delivery.address,
            username=delivery.username,
            repositories=delivery.repositories,
            insecure=delivery.insecure,
            auth_file=str(self._engine.auth_file.path),
            certs_dir=str(self._engine.ca_files.base) if delivery.has_ca else None,
        )


def _unfinished(new: Applied, before: Applied | None) -> Applied:
    """The entry of the store while the login of `before` may still be in place."""
    if before is None:
        return replace(new, done=False)
    return replace(
        new,
        done=False,
        certs_dir=new.certs_dir or before.certs_dir,
        earlier_usernames=tuple(sorted(before.usernames - {new.username})),
    )
