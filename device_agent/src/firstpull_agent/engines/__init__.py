"""The ways to keep a login on a device and to pull with it."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from firstpull_agent.applied import Applied
from firstpull_agent.auth_file import AuthFile
from firstpull_agent.ca_files import CaFiles
from firstpull_agent.deliveries import Delivery
from firstpull_agent.images import Image

__all__ = ["Engine"]


class Engine(Protocol):
    """A container engine, or the agent's own replacement. Methods raise Failure or OSError."""

    @property
    def name(self) -> str:
        """The engine's name."""
        ...

    @property
    def auth_file(self) -> AuthFile:
        """The file of the engine's logins."""
        ...

    @property
    def ca_files(self) -> CaFiles:
        """The folder of the engine's private certificate authorities."""
        ...

    def login(self, delivery: Delivery) -> None:
        """Store this login, replacing another one for its address."""
        ...

    def logout(self, address: str) -> None:
        """Remove the login for `address`. A missing login is no error."""
        ...

    def pull(self, image: Image, login: Applied, *, output: Path) -> str:
        """Pull with the stored login; returns the digest.

        `output` is the folder for the image if the engine has no image store.
        """
        ...
