"""Checks the promises: at each write, and after each step of a scenario.

A broken promise is noted, not raised: raised inside a call it would look like an error of Azure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from firstpull.model.azure_resources import ConnectedRegistryRef, RegistryId, TokenId
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import DeviceRecord, Grant
from firstpull.model.ledger import Standing
from tests.firstpull.fakes import FakeCloud
from tests.lifetime.azure import CAPACITY, REFS, Azure
from tests.lifetime.device import Device


@dataclass(frozen=True)
class _Ended:
    """A password that nothing may accept any more."""

    registry: RegistryId
    token: str
    at: datetime
    why: str


class Watch:
    """Knows every password that was ever made, and who may lose which."""

    def __init__(self, azure: Azure, cloud: FakeCloud, devices: dict[DeviceKey, Device]) -> None:
        self.texts: list[Callable[[], tuple[str, str]]] = []
        """Further texts that may hold no password: each gives its name and its text."""
        self._azure = azure
        self._cloud = cloud
        self._devices = devices
        self._ours: set[tuple[RegistryId, str]] = set()
        self._passwords: dict[tuple[RegistryId, str], list[str]] = {}
        self._ended: dict[str, _Ended] = {}
        self._delivered_to: dict[str, tuple[str, str]] = {}
        self._claims_that_end: dict[str, bool] = {}

    # Called by the ports

    def token_was_made(self, registry: RegistryId, name: str) -> None:
        """P1: a record names it already."""
        self._ours.add((registry, name))
        if not any(h.ref.registry == registry and h.names.token == name for h in self._grants()):
            self._note(f"P1: no record names the new token {name}")

    def token_was_made_by_hand(self, registry: RegistryId, name: str) -> None:
        """It is not ours, even if a token of its name was."""
        self._ours.discard((registry, name))

    def password_was_made(self, registry: RegistryId, token: str, value: str) -> None:
        """Note whose password it is."""
        self._passwords.setdefault((registry, token), []).append(value)

    def token_was_deleted(self, registry: RegistryId, name: str) -> None:
        """P7: all its passwords have ended with it."""
        self._end(registry, name, "its token was deleted")

    def secret_was_stored(self, name: str) -> None:
        """P1: a record names it already."""
        if not any(grant.names.secret == name for grant in self._grants()):
            self._note(f"P1: no record names the new secret {name}")

    def twin_was_written(self, device: DeviceKey) -> None:
        """P7: no device gets a password that has ended, or that was another device's."""
        identity = self._azure.identity(device.device_id)
        if identity is None:
            return
        whose = (device.device_id, identity.generation_id)
        known = {value for values in self._passwords.values() for value in values}
        for _, entry in self._azure.entries(device.device_id):
            value = entry.get("password", "")
            if value not in known:
                continue
            if value in self._ended:
                why = self._ended[value].why
                self._note(f"P7: {device.device_id} was delivered a password although {why}")
            first = self._delivered_to.setdefault(value, whose)
            if first != whose:
                self._note(f"P7: {device.device_id} was delivered the password of {first}")

    @contextmanager
    def over_token(self, registry: RegistryId, token: str) -> Iterator[None]:
        """P2: around a write that may remove passwords of a token."""
        before = [
            (device, value)
            for device, value in self._in_use(registry, token)
            if self._azure.accepts(registry, token, value)
        ]
        yield
        for device, value in before:
            ended = not self._azure.accepts(registry, token, value)
            if ended and not self._may_end(device, registry, token, value):
                self._note(f"P2: {device.key.device_id} lost the live password of {token}")

    @contextmanager
    def over_list(self, ref: ConnectedRegistryRef, *, seen: tuple[TokenId, ...]) -> Iterator[None]:
        """P1, P4 and P5: around a write of a list by a process that had read `seen`."""
        before = self._azure.clients(ref)
        yield
        after = self._azure.clients(ref)
        ledger = self._cloud.ledger(ref)
        standing = {e.token_id.name: e.standing for e in ledger.entries.values()}
        for name in ({*before} & {token_id.name for token_id in seen}) - {*after}:
            if standing.get(name) is not Standing.LEAVING:
                self._note(f"P4: {name} was dropped from {ref}")
            elif not self._may_leave(ref, name):
                self._note(f"P4: {name} was taken off {ref}, and nobody asked for it")
        for entry in ledger.of(Standing.MEMBER):
            name = entry.token_id.name
            if name not in after and self._azure.token(ref.registry, name) is not None:
                self._note(f"P4: the member {name} was left out of {ref}")
        added = {*after} - {*before}
        if added and len(after) > CAPACITY[ref]:
            self._note(f"P5: {ref} has {len(after)} clients")
        self._check_clients()

    def after_write(self) -> None:
        """Read the records after each write, so that no state of theirs is missed."""
        for record in self._cloud.all_records():
            self._ours |= {(h.ref.registry, h.names.token) for h in record.grants}
            if record.claim is not None:
                self._claims_that_end.setdefault(record.claim.owner, _ends_passwords(record))
            if record.is_tombstone:
                for grant in record.grants:
                    self._end(grant.ref.registry, grant.names.token, "its device was revoked")

    # Called after each step

    def check(self) -> None:
        """Raise AssertionError where a promise was broken since the beginning."""
        self._check_names()
        self._check_clients()
        self._check_tombstones()
        self._check_ended()
        self._check_texts()
        if self._cloud.violations:
            raise AssertionError("\n".join(dict.fromkeys(self._cloud.violations)))

    def passwords_of(self, registry: RegistryId, token: str) -> tuple[str, ...]:
        """All passwords that a token ever had."""
        return tuple(self._passwords.get((registry, token), ()))

    def check_replaced_devices(self) -> None:
        """P7, in the end: no site accepts a password that a deleted identity was delivered."""
        for (registry, token), values in self._passwords.items():
            for value in values:
                device_id, generation_id = self._delivered_to.get(value, ("", ""))
                identity = self._azure.identity(device_id)
                is_still_its = identity and identity.generation_id == generation_id
                if not device_id or is_still_its:
                    continue
                sites = [
                    site for ref, site in self._azure.sites.items() if ref.registry == registry
                ]
                if any(site.authenticate(token, value) is not None for site in sites):
                    self._note(f"P7: a deleted {device_id} is let in")

    def _check_names(self) -> None:
        """P1: our tokens, secrets and twin entries that no record names any more."""
        grants = self._grants()
        tokens = {(h.ref.registry, h.names.token) for h in grants}
        for registry, name in self._ours - tokens:
            if self._azure.token(registry, name) is not None:
                self._note(f"P1: no record names the token {name}")
        secrets = {h.names.secret for h in grants}
        retired = {
            name for record in self._cloud.all_records() for name in record.status.retired_secrets
        }
        for name in self._azure.vault.list_secrets():
            if name not in secrets | retired:
                self._note(f"P1: no record names the secret {name}")
            elif name not in secrets and self._enabled_versions(name):
                self._note(f"P1: no record names the secret {name}, which can be read")
        for key in self._devices:
            for ref, entry in self._azure.entries(key.device_id):
                ours = (ref.registry, entry.get("username", "")) in self._ours
                if ours and not any(h.ref == ref for h in self._grants(key)):
                    self._note(f"P1: no record names the entry of {key.device_id} for {ref}")

    def _check_clients(self) -> None:
        """P1: our clients that no record has there."""
        held = {(h.ref, h.names.token) for h in self._grants()}
        for ref in REFS:
            for name in self._azure.clients(ref):
                if (ref.registry, name) in self._ours and (ref, name) not in held:
                    self._note(f"P1: no record has {name} at {ref}")

    def _check_tombstones(self) -> None:
        """P7: nothing is left of a revoked device."""
        for record in self._cloud.all_records():
            if not record.is_tombstone:
                continue
            for grant in record.grants:
                ref, names = grant.ref, grant.names
                device_id = record.device.device_id
                left = {
                    "its token": self._azure.token(ref.registry, names.token) is not None,
                    "its membership": names.token in self._azure.clients(ref),
                    "its secret": bool(self._enabled_versions(names.secret)),
                    "its delivery": any(
                        at == ref and entry.get("username") == names.token
                        for at, entry in self._azure.entries(device_id)
                    ),
                }
                self._cloud.violations += [
                    f"P7: {device_id} was revoked and has {what}"
                    for what, is_left in left.items()
                    if is_left
                ]

    def _check_ended(self) -> None:
        """P7: nothing accepts a password that has ended."""
        for value, ended in self._ended.items():
            registry, token = ended.registry, ended.token
            if self._azure.accepts(registry, token, value):
                self._note(f"P7: {token} has a password although {ended.why}")
            for ref, site in self._azure.sites.items():
                knows = ref.registry == registry and site.snapshot.taken_at > ended.at
                if knows and site.authenticate(token, value) is not None:
                    self._note(f"P7: {ref} lets {token} in although {ended.why}")

    def _check_texts(self) -> None:
        """P6: a password is in Key Vault, in the twin, and nowhere else."""
        passwords = [value for values in self._passwords.values() for value in values]
        if not passwords:
            return
        cloud = self._cloud
        texts = [
            ("records", "".join(text for text, _ in cloud.records.values())),
            ("ledgers", b"".join(text for text, _ in cloud.ledgers.values()).decode()),
            ("queue", repr(cloud.queue)),
            ("report", cloud.sweep[0].decode() if cloud.sweep else ""),
            *(tell() for tell in self.texts),
        ]
        for where, text in texts:
            if any(value in text for value in passwords):
                self._note(f"P6: a password is in the {where}")

    # What may be lost

    def _in_use(self, registry: RegistryId, token: str) -> Iterator[tuple[Device, str]]:
        """The devices that use a password of a token, or have it in their twin."""
        for device in self._devices.values():
            identity = self._azure.identity(device.key.device_id)
            if identity is None or identity.generation_id != device.generation_id:
                continue
            for ref, login in device.logins.items():
                if (ref.registry, login.token) == (registry, token):
                    yield device, login.password
            for ref, entry in self._azure.entries(device.key.device_id):
                if (ref.registry, entry.get("username")) == (registry, token):
                    yield device, str(entry.get("password"))

    def _may_end(self, device: Device, registry: RegistryId, token: str, value: str) -> bool:
        """Whether somebody asked to end it, or the device has logged in with its replacement."""
        record = self._record(device.key)
        if record is None:
            return False
        if _ends_passwords(record) or (
            record.claim is not None and self._claims_that_end.get(record.claim.owner, False)
        ):
            return True
        seen = record.status.hub_generation_id
        by_hand = value not in self._delivered_to
        if seen not in (None, device.generation_id) and by_hand:
            return True  # the record does not know yet that the device is another one
        grant = record.status.grant
        login = device.logins.get(grant.ref) if grant is not None else None
        return (
            grant is not None
            and login is not None
            and login.token == grant.names.token
            # It need not be accepted still: the write that ended it was checked.
            and (grant.ref.registry, login.token, login.password) != (registry, token, value)
        )

    def _may_leave(self, ref: ConnectedRegistryRef, token: str) -> bool:
        """Whether no record has the token at the connected registry to keep it."""
        return not any(
            record.spec.revocation is None
            and record.status.grant is not None
            and record.status.grant.ref == ref
            and record.status.grant.names.token == token
            and not any(h.ref == ref for h in record.status.retiring)
            for record in self._cloud.all_records()
        )

    # Lookups

    def _end(self, registry: RegistryId, token: str, why: str) -> None:
        now = self._cloud.clock.now()
        for value in self.passwords_of(registry, token):
            self._ended.setdefault(value, _Ended(registry, token, now, why))

    def _enabled_versions(self, secret: str) -> list[str]:
        found = self._azure.vault.list_versions(secret).values()
        return [version.version for version in found if version.enabled]

    def _grants(self, device: DeviceKey | None = None) -> list[Grant]:
        """The grants of the records, of one device or of all."""
        return [
            grant
            for record in self._cloud.all_records()
            if device in (None, record.device)
            for grant in record.grants
        ]

    def _record(self, device: DeviceKey) -> DeviceRecord | None:
        return self._cloud.record(device) if device in self._cloud.records else None

    def _note(self, broken: str) -> None:
        self._cloud.violations.append(broken)


def _ends_passwords(record: DeviceRecord) -> bool:
    """Whether somebody asked to end passwords that may be in use."""
    immediately = record.spec.rotation is not None and record.spec.rotation.immediately
    at_once = any(grant.at_once for grant in record.status.retiring)
    return record.spec.revocation is not None or immediately or at_once
