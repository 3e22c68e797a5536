"""What the agent has applied on this device, kept across restarts. No secret is in it."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from firstpull_agent.files import remove_unfinished, replace_file

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Applied:
    """The login that an engine was given, or is being given while `done` is false.

    `auth_file` is where the engine keeps it; an auth file has one login for an address.
    `certs_dir` is where the agent wrote a CA file for it, None where it wrote none.
    `earlier_usernames` are those that the login may still carry until this one is done.
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
        """Whether the agent wrote a CA file for it."""
        return self.certs_dir is not None

    @property
    def place(self) -> tuple[str, str]:
        """What can hold one login only: an address in an auth file."""
        return self.auth_file, self.address

    @property
    def usernames(self) -> frozenset[str]:
        """The user names by which a login there is known as the agent's own."""
        return frozenset({self.username, *self.earlier_usernames})


class AppliedStore:
    """Everything applied, in one JSON file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> tuple[Applied, ...]:
        """Everything applied. A file that cannot be understood counts as empty."""
        try:
            return tuple(_applied(entry) for entry in json.loads(self._path.read_bytes()))
        except FileNotFoundError:
            return ()
        except (ValueError, TypeError):
            _log.warning("%s cannot be understood; starting afresh", self._path)
            return ()

    def discard_unfinished(self) -> None:
        """Remove what an agent that was killed left half-written. Raises OSError."""
        remove_unfinished(self._path)

    def at(self, place: tuple[str, str]) -> Applied | None:
        """What is applied at a place."""
        return next((applied for applied in self.load() if applied.place == place), None)

    def put(self, applied: Applied) -> None:
        """Remember this one instead of any other at its place. Raises OSError."""
        self._save([*self._elsewhere(applied), applied])

    def remove(self, applied: Applied) -> None:
        """Forget what is at the place of this one. Raises OSError."""
        self._save(self._elsewhere(applied))

    def _elsewhere(self, applied: Applied) -> list[Applied]:
        return [other for other in self.load() if other.place != applied.place]

    def _save(self, everything: Iterable[Applied]) -> None:
        content = [asdict(applied) for applied in everything]
        replace_file(self._path, json.dumps(content, indent=2).encode(), mode=0o600)


def _applied(entry: Mapping[str, Any]) -> Applied:
    names = ("repositories", "earlier_usernames")
    return Applied(**{**entry, **{name: tuple(entry.get(name, ())) for name in names}})
