"""Checks the promises: at each write, and after each step of a scenario.

A broken promise is noted, not raised: raised inside a call it would look like an error of Azure.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from math import inf
from typing import TYPE_CHECKING

from firstpull.config.policy import Policy
from firstpull.model.azure_resources import ConnectedRegistryRef, RegistryId, TokenId
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import DeviceRecord, Grant
from firstpull.model.errors import FirstpullError
from firstpull.model.ledger import Standing
from local_azure.resource_manager.exceptions import ArmError
from tests.world.device import Device

if TYPE_CHECKING:
    from tests.world.cloud import Cloud


@dataclass(frozen=True)
class _Ended:
    """A password that nothing may accept any more."""

    registry: RegistryId
    token: str
    at: datetime
    why: str


class Messages(logging.Handler):
    """The texts of log records and errors."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self._texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the text of a log record."""
        self._texts.append(self.format(record))

    def add(self, error: FirstpullError) -> None:
        """Keep the text of an answer."""
        self._texts.append(f"{error} {getattr(error, 'errors', '')}")

    def take(self) -> str:
        """The texts since the last time."""
        texts, self._texts = self._texts, []
        return "\n".join(texts)


class Watch:
    """Knows every password that was ever made, and who may lose which."""

    def __init__(self, cloud: Cloud) -> None:
        self.policy: Policy | None = None
        """The policy of the processes, for the room at each connected registry."""
        self.messages = Messages()
        """Log records and errors, which may hold no password either."""
        self.checked: Counter[str] = Counter()
        """How often each promise was checked."""
        self._cloud = cloud
        self._noted: set[str] = set()
        """Records that `after_write` has read."""
        self._read: set[str | bytes] = set()
        """Texts without a password: one that is made later is in none of them."""
        self._ours: set[tuple[RegistryId, str]] = set()
        """Tokens that firstpull made or adopted."""
        self._joined: set[tuple[ConnectedRegistryRef, str]] = set()
        """Where it made them clients, or found them to be."""
        self._ended: dict[str, _Ended] = {}
        self._delivered_to: dict[str, tuple[DeviceKey, str]] = {}
        self._claims_that_end: dict[str, bool] = {}
        self._lost: set[tuple[DeviceKey, Grant]] = set()
        """What lost records named, and no record names since: P1 cannot hold for it."""
        self._lost_secrets: set[str] = set()

    # Called by the ports, and where others act

    def record_was_lost(self, record: DeviceRecord) -> None:
        """P1 ends for what it named, until a record names it again."""
        self._lost |= {(record.device, _plain(grant)) for grant in record.grants}
        self._lost_secrets.update(record.status.retired_secrets)

    def tombstone_was_dropped(self, record: DeviceRecord) -> None:
        """P1 ends for its secrets, which stay in the vault and cannot be read."""
        self._lost_secrets |= {grant.names.secret for grant in record.grants}
        self._lost_secrets.update(record.status.retired_secrets)

    def token_was_made(self, registry: RegistryId, name: str) -> None:
        """P1: a record names it already."""
        self._ours.add((registry, name))
        self.checked["P1"] += 1
        if not any(h.ref.registry == registry and h.names.token == name for h in self._grants()):
            self._note(f"P1: no record names the new token {name}")

    def token_was_made_by_hand(self, registry: RegistryId, name: str) -> None:
        """It is not ours, even if a token of its name was."""
        self._ours.discard((registry, name))
        self._joined = {at for at in self._joined if (at[0].registry, at[1]) != (registry, name)}

    def token_was_deleted(self, registry: RegistryId, name: str) -> None:
        """P7: all its passwords have ended with it."""
        self._end(registry, name, "its token was deleted")

    def secret_was_stored(self, name: str) -> None:
        """P1: a record names it already."""
        named = {grant.names.secret for grant in self._grants()}
        for record in self._cloud.all_records():
            named |= record.status.retired_secrets
        if name not in named | self._lost_secrets:
            self._note(f"P1: no record names the new secret {name}")

    def twin_was_written(self, device: DeviceKey) -> None:
        """P7: no device gets a password that has ended, or that was another device's."""
        self.checked["P7"] += 1
        whose = device, self._cloud.devices[device].generation_id
        known = {value for values in self._cloud.passwords.values() for value in values}
        for _, entry in self._cloud.entries(device):
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
        self.checked["P2"] += 1
        before = [
            (device, value)
            for device, value in self._in_use(registry, token)
            if self._cloud.accepts(registry, token, value)
        ]
        yield
        for device, value in before:
            ended = not self._cloud.accepts(registry, token, value)
            if ended and not self._may_end(device, registry, token, value):
                self._note(f"P2: {device.key.device_id} lost the live password of {token}")

    @contextmanager
    def over_list(self, ref: ConnectedRegistryRef, *, seen: tuple[TokenId, ...]) -> Iterator[None]:
        """P1, P4 and P5: around a write of a list by a process that had read `seen`."""
        self.checked.update(("P4", "P5"))
        before = self._cloud.clients(ref)
        try:
            yield
        except ArmError:
            self._cloud.lists_refused += 1
            raise
        after = self._cloud.clients(ref)
        self._cloud.list_sizes.append(len(after))
        ledger = self._cloud.ledger(ref)
        standing = {e.token_id.name: e.standing for e in ledger.entries.values()}
        for name in ({*before} & {token_id.name for token_id in seen}) - {*after}:
            if standing.get(name) is not Standing.LEAVING or not self._is_ours(ref, name):
                self._note(f"P4: {name} was dropped from {ref}")
            elif not self._may_leave(ref, name):
                self._note(f"P4: {name} was taken off {ref}, and nobody asked for it")
        for entry in ledger.of(Standing.MEMBER):
            name = entry.token_id.name
            if name not in after and self._cloud.stays(ref.registry, name):
                self._note(f"P4: the member {name} was left out of {ref}")
        added = {*after} - {*before}
        if added and len(after) > self._capacity(ref):
            self._note(f"P5: {ref} has {len(after)} clients")
        self._joined |= {(ref, name) for name in added if self._is_ours(ref, name)}
        self._check_clients()

    def after_write(self) -> None:
        """Read the records after each write, so that no state of theirs is missed."""
        for device, (text, _) in self._cloud.records.items():
            if text in self._noted:
                continue
            self._noted.add(text)
            record = self._cloud.record(device)
            at = {(grant.ref, grant.names.token) for grant in record.grants}
            if record.claim is not None:
                self._claims_that_end.setdefault(record.claim.owner, _ends_passwords(record))
            if record.is_tombstone:
                for registry, token in self._revoked(record):
                    self._end(registry, token, "its device was revoked")
            elif record.claim is None or record.spec.revocation is not None:
                # Under a claim, a token that another device adopts meanwhile is given up.
                self._note_ours(at)
            else:
                self._note_ours({(g.ref, g.names.token) for g in record.urgent_grants})
            if record.claim is None or record.spec.revocation is not None:
                self._lost -= {(device, _plain(grant)) for grant in record.grants}

    def _note_ours(self, at: set[tuple[ConnectedRegistryRef, str]]) -> None:
        self._ours |= {(ref.registry, token) for ref, token in at}
        self._joined |= at

    def check_now(self) -> None:
        """P1 and P6, which hold after every single write, whatever failed before it."""
        self.checked.update(("P1", "P6"))
        self._check_names()
        self._check_clients()
        self._check_texts()

    # Called after each step

    def check(self) -> None:
        """Raise AssertionError where a promise was broken since the beginning."""
        self.check_now()
        self.checked["P7"] += 1
        self._check_tombstones()
        self._check_ended()
        if self._cloud.violations:
            raise AssertionError("\n".join(dict.fromkeys(self._cloud.violations)))

    def check_replaced_devices(self) -> None:
        """P7, in the end: no site accepts a password that a deleted identity was delivered."""
        for (registry, token), values in self._cloud.passwords.items():
            for value in values:
                if value not in self._delivered_to:
                    continue
                key, generation_id = self._delivered_to[value]
                device = self._cloud.devices.get(key)
                if device is not None and device.generation_id == generation_id:
                    continue
                refs = [ref for ref in self._cloud.sites if ref.registry == registry]
                if any(self._cloud.site_accepts(ref, token, value) for ref in refs):
                    self._note(f"P7: a deleted {key.device_id} is let in")

    def _check_names(self) -> None:
        """P1: our tokens, secrets and twin entries that no record names any more."""
        grants = self._grants()
        tokens = {(h.ref.registry, h.names.token) for h in grants}
        for registry, name in self._ours - tokens:
            if self._cloud.token(registry, name) is not None:
                self._note(f"P1: no record names the token {name}")
        secrets = {h.names.secret for h in grants}
        retired = {
            name for record in self._cloud.all_records() for name in record.status.retired_secrets
        }
        for name in self._cloud.secrets:
            if name not in secrets | retired | self._lost_secrets:
                self._note(f"P1: no record names the secret {name}")
            elif name not in secrets and self._enabled_versions(name):
                self._note(f"P1: no record names the secret {name}, which can be read")
        for key in self._cloud.devices:
            for ref, entry in self._cloud.entries(key):
                ours = (ref.registry, str(entry.get("username"))) in self._ours
                if ours and not any(grant.ref == ref for grant in self._grants(key)):
                    self._note(f"P1: no record names the entry of {key.device_id} for {ref}")

    def _check_clients(self) -> None:
        """P1: our clients that no record has there."""
        held = {(h.ref, h.names.token) for h in self._grants()}
        for ref, name in self._joined - held:
            if name in self._cloud.clients(ref):
                self._note(f"P1: no record has {name} at {ref}")

    def _check_tombstones(self) -> None:
        """P7: nothing is left of a revoked device."""
        for record in self._cloud.all_records():
            if not record.is_tombstone:
                continue
            for grant in record.grants:
                ref, names = grant.ref, grant.names
                is_revoked = (ref.registry, names.token) in self._revoked(record)
                entries = self._cloud.entries(record.device)
                left = {
                    "its token": is_revoked and self._cloud.token(ref.registry, names.token),
                    "its membership": is_revoked and names.token in self._cloud.clients(ref),
                    "its secret": self._enabled_versions(names.secret),
                    "its delivery": self._has_hub(record)
                    and any(
                        at == ref and entry.get("username") == names.token for at, entry in entries
                    ),
                }
                self._cloud.violations += [
                    f"P7: {record.device.device_id} was revoked and has {what}"
                    for what, is_left in left.items()
                    if is_left
                ]

    def _check_ended(self) -> None:
        """P7: nothing accepts a password that has ended."""
        for value, ended in self._ended.items():
            registry, token = ended.registry, ended.token
            if self._cloud.accepts(registry, token, value):
                self._note(f"P7: {token} has a password although {ended.why}")
            for ref, site in self._cloud.sites.items():
                knows = ref.registry == registry and site.snapshot.taken_at > ended.at
                if knows and site.authenticate(token, value) is not None:
                    self._note(f"P7: {ref} lets {token} in although {ended.why}")

    def _check_texts(self) -> None:
        """P6: a password is in Key Vault, in the twin, and nowhere else."""
        cloud = self._cloud
        texts: list[tuple[str, str | bytes]] = [
            *(("records", text) for text, _ in cloud.records.values()),
            *(("ledgers", text) for text, _ in cloud.ledgers.values()),
            ("queue", repr(cloud.queue)),
            *((name, text) for name, (text, _) in cloud.documents.items()),
            ("messages", self.messages.take()),
        ]
        for where, text in texts:
            if text in self._read:
                continue
            self._read.add(text)
            if cloud.shows_password(text if isinstance(text, str) else text.decode()):
                self._note(f"P6: a password is in the {where}")

    # What may be lost

    def _in_use(self, registry: RegistryId, token: str) -> Iterator[tuple[Device, str]]:
        """The devices that use a password of a token, or have it in their twin."""
        for device in self._cloud.devices.values():
            for ref, login in device.logins.items():
                if (ref.registry, login.token) == (registry, token):
                    yield device, login.password
            for ref, entry in self._cloud.entries(device.key):
                if (ref.registry, entry.get("username")) == (registry, token):
                    yield device, str(entry.get("password"))

    def _may_end(self, device: Device, registry: RegistryId, token: str, value: str) -> bool:
        """Whether somebody asked to end it, or the device has logged in with its replacement."""
        record = self._record(device.key)
        if record is None:
            return any(key == device.key for key, _ in self._lost)
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

    def _revoked(self, record: DeviceRecord) -> set[tuple[RegistryId, str]]:
        """The tokens of a tombstone that nobody made again by hand or adopted since."""
        tokens = {(grant.ref.registry, grant.names.token) for grant in record.grants}
        alive = {
            (grant.ref.registry, grant.names.token)
            for other in self._cloud.all_records()
            if not other.is_tombstone
            for grant in other.grants
        }
        return tokens & self._ours - alive

    def _capacity(self, ref: ConnectedRegistryRef) -> float:
        """The policy's, read without firstpull's own look-up."""
        policies = [self.policy] if self.policy is not None else []
        known = {
            p.ref_of(entry): entry.capacity for p in policies for entry in p.connected_registries
        }
        return known.get(ref, inf)

    def _has_hub(self, record: DeviceRecord) -> bool:
        """Whether firstpull may still use the device's hub."""
        return self.policy is None or self.policy.hub(record.device.hub) is not None

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

    def _is_ours(self, ref: ConnectedRegistryRef, token: str) -> bool:
        return (ref.registry, token) in self._ours

    def _end(self, registry: RegistryId, token: str, why: str) -> None:
        now = self._cloud.clock.now()
        for value in self._cloud.passwords[registry, token]:
            self._ended.setdefault(value, _Ended(registry, token, now, why))

    def _enabled_versions(self, secret: str) -> list[str]:
        found = self._cloud.vault.list_versions(secret).values()
        return [version.version for version in found if version.enabled]

    def _grants(self, of: DeviceKey | None = None) -> list[Grant]:
        """The grants of all records, or of one device; also of records that were lost."""
        known = [(r.device, grant) for r in self._cloud.all_records() for grant in r.grants]
        return [grant for device, grant in (*known, *self._lost) if of in (None, device)]

    def _record(self, device: DeviceKey) -> DeviceRecord | None:
        return self._cloud.record(device) if device in self._cloud.records else None

    def _note(self, broken: str) -> None:
        self._cloud.violations.append(broken)


def _plain(grant: Grant) -> Grant:
    """The grant, retiring or not."""
    return Grant(ref=grant.ref, names=grant.names)


def _ends_passwords(record: DeviceRecord) -> bool:
    """Whether somebody asked to end passwords that may be in use."""
    immediately = record.spec.rotation is not None and record.spec.rotation.immediately
    at_once = any(grant.at_once for grant in record.status.retiring)
    return record.spec.revocation is not None or immediately or at_once
