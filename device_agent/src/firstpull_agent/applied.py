"""What the agent has applied on this device, kept across restarts. No secret is in it."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from firstpull_agent.deliveries import Delivery
from firstpull_agent.files import replace_file

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Applied:
    """The login that an engine was given. `has_ca` says that the agent wrote a CA file for it."""

    delivery_id: str
    address: str
    username: str
    repositories: tuple[str, ...]
    has_ca: bool
    insecure: bool

    @classmethod
    def of(cls, delivery: Delivery) -> Applied:
        """What is remembered of a delivery."""
        return cls(
            delivery_id=delivery.delivery_id,
            address=delivery.address,
            username=delivery.username,
            repositories=delivery.repositories,
            has_ca=delivery.ca is not None,
            insecure=delivery.insecure,
        )


class AppliedStore:
    """Connected registry to what is applied for it, in one JSON file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> dict[str, Applied]:
        """Everything applied. A file that cannot be understood counts as empty."""
        try:
            entries: Mapping[str, Any] = json.loads(self._path.read_bytes())
            return {name: _applied(entry) for name, entry in entries.items()}
        except FileNotFoundError:
            return {}
        except (ValueError, TypeError, AttributeError):
            _log.warning("%s cannot be understood; starting afresh", self._path)
            return {}

    def put(self, name: str, applied: Applied) -> None:
        """Remember one. Raises OSError."""
        self._save({**self.load(), name: applied})

    def remove(self, name: str) -> None:
        """Forget one. Raises OSError."""
        everything = self.load()
        if everything.pop(name, None) is not None:
            self._save(everything)

    def _save(self, everything: Mapping[str, Applied]) -> None:
        content = {name: asdict(applied) for name, applied in everything.items()}
        replace_file(self._path, json.dumps(content, indent=2).encode(), mode=0o600)


def _applied(entry: Mapping[str, Any]) -> Applied:
    return Applied(**{**entry, "repositories": tuple(entry.get("repositories", ()))})
