"""Carries out steps on this device: the only place where logins change."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from firstpull_agent.applied import Applied, AppliedStore
from firstpull_agent.auth_file import AuthFile
from firstpull_agent.ca_files import CaFiles
from firstpull_agent.deliveries import Delivery
from firstpull_agent.engines import Engine
from firstpull_agent.planning import Check, LogIn, Refuse, Step, Withdraw
from firstpull_agent.reports import Failure, Reason

_log = logging.getLogger(__name__)

LoginCheck = Callable[[Delivery], None]  # raises Failure unless the registry takes the credential


class Logins:
    """The engine's logins together with the record of who put them there.

    What is about to be put on the device is recorded before, and forgotten only when it is gone:
    after a crash the record names at least everything that is there.
    """

    def __init__(self, *, engine: Engine, store: AppliedStore, check: LoginCheck) -> None:
        self._engine = engine
        self._store = store
        self._check = check

    def applied(self) -> tuple[Applied, ...]:
        """Every login that the agent made and has not taken away."""
        return self._store.load()

    def in_place(self, delivery: Delivery) -> bool:
        """Whether the engine holds exactly this delivery."""
        applied = self._as_applied(delivery)
        try:
            return (
                self._store.at(applied.place) == applied
                and self._engine.auth_file.holds(
                    delivery.address, username=delivery.username, password=delivery.password
                )
                and delivery.ca in {None, self._engine.ca_files.read(delivery.address)}
            )
        except OSError:
            return False

    def carry_out(self, step: Step) -> None:
        """Do it. Raises Failure; then the login of before is still there."""
        try:
            match step:
                case Refuse(rejected):
                    raise Failure(rejected.reason, rejected.detail)
                case Withdraw(name):
                    for applied in self._applied_for(name):
                        self._take_away(applied)
                case Check(delivery):
                    self._check(delivery)
                    self._clear_leftovers(delivery)
                case LogIn(delivery):
                    self._check(delivery)
                    self._log_in(delivery)
                    self._clear_leftovers(delivery)
        except OSError as error:
            raise Failure(
                Reason.STORAGE_FAILED, f"{error.filename or 'a file'}: {error.strerror}"
            ) from None

    def _log_in(self, delivery: Delivery) -> None:
        new = self._as_applied(delivery)
        before = self._store.at(new.place)
        self._store.put(_begun(new, before))
        if delivery.ca is not None:
            self._engine.ca_files.write(delivery.address, delivery.ca)
        self._engine.login(delivery)
        if before is not None and before.certs_dir not in {None, new.certs_dir}:
            self._remove_ca_file(before)
        self._store.put(new)

    def _clear_leftovers(self, delivery: Delivery) -> None:
        """Take away what this connected registry had at an earlier address or with another engine.

        The login that counts works, and that is what is reported: a failure here is only logged,
        and the next start or delivery tries again.
        """
        place = self._as_applied(delivery).place
        for applied in self._applied_for(delivery.name):
            if applied.place == place:
                continue
            try:
                self._take_away(applied)
            except (Failure, OSError) as error:
                _log.warning("the login for %s is left over: %s", applied.address, error)

    def _take_away(self, applied: Applied) -> None:
        auth_file = AuthFile(Path(applied.auth_file))
        username = auth_file.username(applied.address)
        if username is not None and username not in applied.usernames:
            _log.info("%s: somebody else has logged in there since; left alone", applied.address)
        elif auth_file.path == self._engine.auth_file.path:
            self._engine.logout(applied.address)
        else:
            auth_file.remove(applied.address)
        self._remove_ca_file(applied)
        self._store.remove(applied)

    def _remove_ca_file(self, applied: Applied) -> None:
        file = applied.certs_dir, applied.address
        others = (other for other in self._store.load() if other.place != applied.place)
        if applied.certs_dir and file not in {(other.certs_dir, other.address) for other in others}:
            CaFiles(Path(applied.certs_dir)).remove(applied.address)

    def _applied_for(self, name: str) -> list[Applied]:
        return [applied for applied in self._store.load() if applied.name == name]

    def _as_applied(self, delivery: Delivery) -> Applied:
        """What is to be remembered of a delivery once the engine has it."""
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


def _begun(new: Applied, before: Applied | None) -> Applied:
    """What is to be remembered while `before` may still be there."""
    if before is None:
        return replace(new, done=False)
    return replace(
        new,
        done=False,
        certs_dir=new.certs_dir or before.certs_dir,
        earlier_usernames=tuple(sorted(before.usernames - {new.username})),
    )
