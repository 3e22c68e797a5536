"""What a data plane needs of the registry behind it: the cloud's, or a connected registry's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from local_azure.registry.images import Image


@dataclass(frozen=True)
class Grant:
    """Who logged in, and the registry actions that its scope map lists.

    Actions are the registry's own strings, `repositories/hello-world/content/read`, with
    the wildcards that scope maps allow: `repositories/samples/*/content/read`, `repositories/*/…`.
    """

    token_name: str
    actions: frozenset[str]


class RegistryBackend(Protocol):
    """The state that a data plane serves. A connected registry's is as of its last sync."""

    def authenticate(self, username: str, password: str) -> Grant | None:
        """The grant of this token name and password as they are known here, or None."""
        ...

    def repositories(self) -> Mapping[str, Mapping[str, Image]]:
        """Repository name to tag to image, for all that is served here now."""
        ...
