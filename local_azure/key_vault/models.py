"""A vault's secrets, with versions, attributes and soft delete: rules without HTTP."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from pydantic import SecretStr

from local_azure.kernel.clock import Clock
from local_azure.key_vault.exceptions import (
    BadParameter,
    SecretDisabled,
    SecretIsBeingDeleted,
    SecretIsBeingRecovered,
    SecretIsDeletedButRecoverable,
    SecretIsMoving,
    SecretNotFound,
)

RECOVERY_LEVEL = "Recoverable+Purgeable"
RECOVERABLE_DAYS = 90

_NAME = re.compile(r"[0-9a-zA-Z-]{1,127}")
_MAX_VALUE_BYTES = 25 * 1024
_MAX_CONTENT_TYPE_CHARACTERS = 255
_MAX_TAGS = 15
_MAX_TAG_CHARACTERS = 256


@dataclass(frozen=True)
class Properties:
    """The properties of a version in a request; None leaves one as it is."""

    content_type: str | None = None
    tags: Mapping[str, str] | None = None
    enabled: bool | None = None
    expires: int | None = None  # in seconds since 1970, like all times of this module


@dataclass(frozen=True)
class SecretVersion:
    """One value of a secret. `version` is 32 hexadecimal digits."""

    name: str
    version: str
    value: SecretStr
    created: int
    updated: int
    enabled: bool = True
    expires: int | None = None
    content_type: str | None = None
    tags: Mapping[str, str] | None = None

    def with_properties(self, properties: Properties, *, at: int) -> SecretVersion:
        """This version with the given properties."""
        given = {name: value for name, value in vars(properties).items() if value is not None}
        return replace(self, updated=at, **given)


@dataclass(frozen=True)
class Secret:
    """A secret's versions, the oldest first; the last one is the current one."""

    versions: tuple[SecretVersion, ...]

    @property
    def current(self) -> SecretVersion:
        """The version that a request without a version gets."""
        return self.versions[-1]


@dataclass(frozen=True)
class DeletedSecret:
    """A secret that can be recovered until it is purged."""

    secret: Secret
    deleted: int
    scheduled_purge: int


@dataclass
class VaultSettings:
    """Settings of the vault, which may be changed while it runs.

    `moving_seconds`: the least and the most time of a deletion, a recovery and a purge. Meanwhile
    the secret is found nowhere, and its name cannot be used.
    """

    moving_seconds: tuple[float, float] = (2.0, 5.0)


@dataclass(frozen=True)
class Move:
    """A deletion, recovery or purge in progress, and the refusal of requests meanwhile."""

    until: datetime
    refusal: Callable[[str], SecretIsMoving]


class Vault:
    """The secrets of one vault, in memory. Names have no case, as in Key Vault."""

    def __init__(
        self, *, clock: Clock, random: random.Random, settings: VaultSettings | None = None
    ) -> None:
        self.settings = settings or VaultSettings()
        self._clock = clock
        self._random = random
        self._secrets: dict[str, Secret] = {}
        self._deleted: dict[str, DeletedSecret] = {}
        self._moves: dict[str, Move] = {}
        self._listeners: list[Callable[[SecretVersion], None]] = []

    def subscribe(self, listener: Callable[[SecretVersion], None]) -> None:
        """Call `listener` with every new version, after it became the current one."""
        self._listeners.append(listener)

    def set(self, name: str, value: SecretStr, properties: Properties) -> SecretVersion:
        """Add a version, which becomes the current one.

        Raises BadParameter, SecretIsDeletedButRecoverable while the name is deleted, and
        SecretIsMoving.
        """
        key = _key(name)
        _check_properties(properties)
        if len(value.get_secret_value().encode()) > _MAX_VALUE_BYTES:
            raise BadParameter(f"A secret's value has at most {_MAX_VALUE_BYTES} bytes.")
        self._check_settled(key)
        if self._find_deleted(key) is not None:
            raise SecretIsDeletedButRecoverable(name)
        known = self._secrets.get(key)
        now = self._now()
        added = SecretVersion(
            name=known.current.name if known else name,
            version=f"{self._random.getrandbits(128):032x}",
            value=value,
            created=now,
            updated=now,
        ).with_properties(properties, at=now)
        self._secrets[key] = Secret((*(known.versions if known else ()), added))
        for listener in self._listeners:
            listener(added)
        return added

    def get(self, name: str, version: str | None = None) -> SecretVersion:
        """A version with its value; without `version` the current one.

        An expired version is served, as in Key Vault. Raises SecretNotFound and SecretDisabled.
        """
        found = self._find_version(name, version)
        if not found.enabled:
            raise SecretDisabled
        return found

    def update(self, name: str, version: str | None, properties: Properties) -> SecretVersion:
        """Change a version's properties. Raises BadParameter and SecretNotFound."""
        _check_properties(properties)
        old = self._find_version(name, version)
        new = old.with_properties(properties, at=self._now())
        key = _key(name)
        versions = self._secrets[key].versions
        self._secrets[key] = Secret(tuple(new if each is old else each for each in versions))
        return new

    def delete(self, name: str) -> DeletedSecret:
        """Delete a secret, which can be recovered. Raises SecretNotFound."""
        key = _key(name)
        secret = self._find(name)
        now = self._now()
        purge = now + int(timedelta(days=RECOVERABLE_DAYS).total_seconds())
        deleted = DeletedSecret(secret, deleted=now, scheduled_purge=purge)
        self._deleted[key] = deleted
        del self._secrets[key]
        self._move(key, SecretIsBeingDeleted)
        return deleted

    def list_secrets(self) -> dict[str, SecretVersion]:
        """The current versions, disabled ones included, sorted by their lower-case names."""
        settled = (key for key in sorted(self._secrets) if not self._is_moving(key))
        return {key: self._secrets[key].current for key in settled}

    def list_versions(self, name: str) -> dict[str, SecretVersion]:
        """All versions, sorted by id and not by age as in Key Vault. Empty for an unknown name."""
        key = _key(name)
        secret = None if self._is_moving(key) else self._secrets.get(key)
        versions = secret.versions if secret else ()
        return {each.version: each for each in sorted(versions, key=lambda one: one.version)}

    def get_deleted(self, name: str) -> DeletedSecret:
        """A secret that can be recovered. Raises SecretNotFound."""
        deleted = self._find_deleted(_key(name))
        if deleted is None:
            raise SecretNotFound(f"Deleted Secret not found: {name}")
        return deleted

    def list_deleted(self) -> dict[str, DeletedSecret]:
        """The deleted secrets, sorted by their lower-case names."""
        found = {key: self._find_deleted(key) for key in sorted(self._deleted)}
        return {key: deleted for key, deleted in found.items() if deleted is not None}

    def recover(self, name: str) -> SecretVersion:
        """Recover a deleted secret with all its versions. Raises SecretNotFound, SecretIsMoving."""
        key = _key(name)
        self._check_settled(key)
        secret = self.get_deleted(name).secret
        self._secrets[key] = secret
        del self._deleted[key]
        self._move(key, SecretIsBeingRecovered)
        return secret.current

    def purge(self, name: str) -> None:
        """Remove a deleted secret for good. Raises SecretNotFound and SecretIsMoving."""
        key = _key(name)
        self._check_settled(key)
        self.get_deleted(name)
        del self._deleted[key]
        self._move(key, SecretIsBeingDeleted)

    def _find(self, name: str) -> Secret:
        key = _key(name)
        secret = self._secrets.get(key)
        if secret is None or self._is_moving(key):
            raise _not_found(name)
        return secret

    def _find_version(self, name: str, version: str | None) -> SecretVersion:
        secret = self._find(name)
        if version is None:
            return secret.current
        for each in secret.versions:
            if each.version == version.lower():
                return each
        raise _not_found(f"{name}/{version}")

    def _find_deleted(self, key: str) -> DeletedSecret | None:
        deleted = self._deleted.get(key)
        if deleted is not None and deleted.scheduled_purge <= self._now():
            del self._deleted[key]
            return None
        return None if self._is_moving(key) else deleted

    def _move(self, key: str, refusal: Callable[[str], SecretIsMoving]) -> None:
        least, most = self.settings.moving_seconds
        if most > 0:
            takes = timedelta(seconds=self._random.uniform(least, most))
            self._moves[key] = Move(self._clock.now() + takes, refusal)

    def _is_moving(self, key: str) -> bool:
        move = self._moves.get(key)
        return move is not None and self._clock.now() < move.until

    def _check_settled(self, key: str) -> None:
        if self._is_moving(key):
            raise self._moves[key].refusal(key)

    def _now(self) -> int:
        return int(self._clock.now().timestamp())


def _key(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise BadParameter(f"The request URI contains an invalid name: {name}")
    return name.lower()


def _check_properties(properties: Properties) -> None:
    if len(properties.content_type or "") > _MAX_CONTENT_TYPE_CHARACTERS:
        raise BadParameter(f"contentType has at most {_MAX_CONTENT_TYPE_CHARACTERS} characters.")
    tags = properties.tags or {}
    if len(tags) > _MAX_TAGS:
        raise BadParameter(f"A secret has at most {_MAX_TAGS} tags.")
    if any(len(text) > _MAX_TAG_CHARACTERS for tag in tags.items() for text in tag):
        raise BadParameter(f"A tag's name and value have at most {_MAX_TAG_CHARACTERS} characters.")


def _not_found(name: str) -> SecretNotFound:
    return SecretNotFound(
        f"A secret with (name/id) {name} was not found in this key vault. If you recently deleted"
        " this secret you may be able to recover it using the correct recovery command."
    )
