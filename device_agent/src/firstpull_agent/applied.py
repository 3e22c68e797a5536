"""The logins that the agent made on this device, kept across restarts without any secret."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from firstpull_agent.files import remove_unfinished, replace_file
from firstpull_agent.json_text import parse_json

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Applied:
    """A login that the agent made, or is making while `done` is false.

    `auth_file` is the file of the engine that has the login; it has one login for an address.
    `certs_dir` is the folder with the CA file that the agent wrote, None if it wrote none.
    `earlier_usernames` are the user names that the login may still have until `done`.
    """

    name: str
    delivery_id: str
    address: str
    username: str
    repositories: tuple[str, ...]
    insecure: bool
    auth_file: str
    certs_dir: str | None
    done: bool = True
    earlier_usernames: tuple[str, ...] = ()

    @property
    def has_ca(self) -> bool:
        """Whether the agent wrote a CA file for the login."""
        return self.certs_dir is not None

    @property
    def key(self) -> tuple[str, str]:
        """The auth file and the address, which have one login only."""
        return self.auth_file, self.address

    @property
    def usernames(self) -> frozenset[str]:
        """The user names by which the agent recognises the login as its own."""
        return frozenset({self.username, *self.earlier_usernames})


class AppliedStore:
    """All logins that the agent made, in one JSON file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> tuple[Applied, ...]:
        """All logins that the agent made. An unreadable file counts as empty."""
        try:
            return tuple(_applied(entry) for entry in parse_json(self._path.read_bytes()))
        except FileNotFoundError:
            return ()
        except (ValueError, TypeError):
            _log.warning("%s is not readable; the agent starts without it", self._path)
            return ()

    def discard_unfinished(self) -> None:
        """Remove a half-written file of a killed agent. Raises OSError."""
        remove_unfinished(self._path)

    def at(self, key: tuple[str, str]) -> Applied | None:
        """The login with a key, None if there is none."""
        return next((applied for applied in self.load() if applied.key == key), None)

    def put(self, applied: Applied) -> None:
        """Store a login, replacing one with its key. Raises OSError."""
        self._save([*self._others(applied), applied])

    def remove(self, applied: Applied) -> None:
        """Remove the login with this one's key. Raises OSError."""
        self._save(self._others(applied))

    def _others(self, applied: Applied) -> list[Applied]:
        return [other for other in self.load() if other.key != applied.key]

    def _save(self, logins: Iterable[Applied]) -> None:
        content = [asdict(applied) for applied in logins]
        replace_file(self._path, json.dumps(content, indent=2).encode(), mode=0o600)


def _applied(entry: Mapping[str, Any]) -> Applied:
    """An entry of the file; fields of a newer version are ignored, so that one can go back."""
    known = {field.name: entry[field.name] for field in fields(Applied) if field.name in entry}
    names = ("repositories", "earlier_usernames")
    return Applied(**{**known, **{name: tuple(entry.get(name, ())) for name in names}})
