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
    """A container engine, or what stands in for one. Every method raises Failure or OSError."""

    @property
    def name(self) -> str:
        """What people call it."""
        ...

    @property
    def auth_file(self) -> AuthFile:
        """Where its logins are kept."""
        ...

    @property
    def ca_files(self) -> CaFiles:
        """Where it looks for private certificate authorities."""
        ...

    def login(self, delivery: Delivery) -> None:
        """Keep this login instead of any other for its address."""
        ...

    def logout(self, address: str) -> None:
        """Forget the login for `address`; it is no error when there is none."""
        ...

    def pull(self, image: Image, login: Applied, *, output: Path) -> str:
        """Pull with the login that is kept, and return the digest.

        `output` is where the image goes when there is no image store: a folder.
        """
        ...
