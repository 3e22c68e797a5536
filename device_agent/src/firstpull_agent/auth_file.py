"""The file in which an engine keeps logins, in docker's format."""

from __future__ import annotations

import base64
import binascii
import json
from pathlib import Path
from typing import Any

from firstpull_agent.files import remove_unfinished, replace_file
from firstpull_agent.json_text import parse_json
from firstpull_agent.secret import Secret


class AuthFile:
    """An engine's file of logins. A missing or unreadable file has no login."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def has(self, address: str) -> bool:
        """Whether this file or a helper that it names has a login for `address`."""
        entry = self._auths(self._load()).get(address)
        return entry is not None and ("auth" in entry or self._has_helper())

    def holds(self, address: str, *, username: str, password: Secret) -> bool:
        """Whether the login for `address` is this one.

        A login in a credential helper or with an identity token cannot be compared: any login
        then counts as this one.
        """
        kept = self.credentials(address)
        if kept is None:
            return self.has(address)
        return kept == (username, password)

    def credentials(self, address: str) -> tuple[str, Secret] | None:
        """User name and password for `address`, None if this file does not have them."""
        username, _, password = self._decoded(address).partition(":")
        # An empty password means that the engine has exchanged it for an identity token.
        return (username, Secret(password)) if password else None

    def username(self, address: str) -> str | None:
        """The user name of the login at `address`, None if this file has none."""
        return self._decoded(address).partition(":")[0] or None

    def put(self, address: str, *, username: str, password: Secret) -> None:
        """Store a login; those for other addresses stay. Raises OSError."""
        content = self._load()
        auth = base64.b64encode(f"{username}:{password.reveal()}".encode()).decode()
        self._save({**content, "auths": {**self._auths(content), address: {"auth": auth}}})

    def remove(self, address: str) -> None:
        """Remove the login for `address`, even a half-written one. Raises OSError."""
        remove_unfinished(self.path)
        content = self._load()
        auths = self._auths(content)
        if auths.pop(address, None) is not None:
            self._save({**content, "auths": auths})

    def _decoded(self, address: str) -> str:
        entry = self._auths(self._load()).get(address, {})
        try:
            return base64.b64decode(entry["auth"], validate=True).decode()
        except (KeyError, TypeError, ValueError, binascii.Error):
            return ""

    def _load(self) -> dict[str, Any]:
        try:
            content = parse_json(self.path.read_bytes())
        except (FileNotFoundError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def _save(self, content: dict[str, Any]) -> None:
        replace_file(self.path, json.dumps(content, indent=2).encode(), mode=0o600)

    def _has_helper(self) -> bool:
        content = self._load()
        return bool(content.get("credsStore") or content.get("credHelpers"))

    @staticmethod
    def _auths(content: dict[str, Any]) -> dict[str, dict[str, Any]]:
        auths = content.get("auths")
        if not isinstance(auths, dict):
            return {}
        return {key: entry for key, entry in auths.items() if isinstance(entry, dict)}
