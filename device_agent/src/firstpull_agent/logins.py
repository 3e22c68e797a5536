"""Carries out steps on this device: the only place where logins change."""

from __future__ import annotations

import logging
from collections.abc import Callable

from firstpull_agent.applied import Applied, AppliedStore
from firstpull_agent.deliveries import Delivery
from firstpull_agent.engines import Engine
from firstpull_agent.planning import Check, LogIn, Refuse, Step, Withdraw
from firstpull_agent.reports import Failure, Reason

_log = logging.getLogger(__name__)

LoginCheck = Callable[[Delivery], None]  # raises Failure unless the registry takes the credential


class Logins:
    """The engine's logins together with the record of who put them there."""

    def __init__(self, *, engine: Engine, store: AppliedStore, check: LoginCheck) -> None:
        self._engine = engine
        self._store = store
        self._check = check

    def applied(self) -> dict[str, Applied]:
        """Connected registry to the login that is applied for it."""
        return self._store.load()

    def in_place(self, delivery: Delivery) -> bool:
        """Whether the engine holds exactly this delivery."""
        try:
            return (
                self._store.load().get(delivery.name) == Applied.of(delivery)
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
                    self._withdraw(name)
                case Check(delivery):
                    self._check(delivery)
                case LogIn(delivery):
                    self._check(delivery)
                    self._log_in(delivery)
        except OSError as error:
            raise Failure(
                Reason.STORAGE_FAILED, f"{error.filename or 'a file'}: {error.strerror}"
            ) from None

    def _log_in(self, delivery: Delivery) -> None:
        before = self._store.load().get(delivery.name)
        new = Applied.of(delivery)
        if delivery.ca is not None:
            self._engine.ca_files.write(delivery.address, delivery.ca)
        self._engine.login(delivery)
        self._store.put(delivery.name, new)
        if before is not None:
            self._clear_leftovers(before, new)

    def _clear_leftovers(self, before: Applied, new: Applied) -> None:
        """Take away what the old login had and the new one does not."""
        try:
            if before.address != new.address:
                self._log_out(before)
            elif before.has_ca and not new.has_ca:
                self._engine.ca_files.remove(before.address)
        except (Failure, OSError) as error:
            # The new login works, and that is what counts and is reported.
            _log.warning("something is left of the login for %s: %s", before.address, error)

    def _withdraw(self, name: str) -> None:
        others = self._store.load()
        applied = others.pop(name, None)
        if applied is None:
            return
        if applied.address not in {login.address for login in others.values()}:
            self._log_out(applied)
        self._store.remove(name)

    def _log_out(self, applied: Applied) -> None:
        self._engine.logout(applied.address)
        if applied.has_ca:
            self._engine.ca_files.remove(applied.address)
