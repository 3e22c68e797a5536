"""Image references for `pull`, and the choice of a login for them."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from fnmatch import fnmatchcase

from firstpull_agent.applied import Applied
from firstpull_agent.deliveries import without_default_port

DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_REPOSITORY = re.compile(r"[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


class CannotPull(Exception):
    """An image cannot be pulled; the message is for a person."""


@dataclass(frozen=True)
class Image:
    """A repository and a tag or digest in it."""

    repository: str
    reference: str

    @classmethod
    def parse(cls, text: str) -> Image:
        """The image of `repository[:tag]` or `repository@digest`. Raises CannotPull."""
        repository, at, digest = text.partition("@")
        if at:
            found = DIGEST.fullmatch(digest)
        else:
            repository, _, tag = text.partition(":")
            found = _TAG.fullmatch(tag or "latest")
        if found is None or not _REPOSITORY.fullmatch(repository):
            raise CannotPull(
                f"{text!r} is not REPOSITORY, REPOSITORY:TAG or REPOSITORY@sha256:DIGEST;"
                " do not give the registry's address"
            )
        return cls(repository, found[0])

    def at(self, address: str) -> str:
        """The full name of the image at a registry."""
        separator = "@" if DIGEST.fullmatch(self.reference) else ":"
        return f"{address}/{self.repository}{separator}{self.reference}"


def login_for(image: Image, applied: Collection[Applied], *, registry: str | None) -> Applied:
    """The delivered login to pull with.

    `registry` is the login's connected registry or address; without it, the first login whose
    repositories include the image's. Raises CannotPull.
    """
    if not applied:
        raise CannotPull("no login has been delivered to this device and accepted yet")
    for login in sorted(applied, key=lambda login: login.name):
        if registry is None:
            if any(fnmatchcase(image.repository, pattern) for pattern in login.repositories):
                return login
        elif registry in {login.name, login.address} or (
            without_default_port(registry, insecure=login.insecure) == login.address
        ):
            return login
    if registry is not None:
        names = ", ".join(sorted(login.name for login in applied))
        raise CannotPull(f"no login for {registry} here; delivered are: {names}")
    reach = sorted({pattern for login in applied for pattern in login.repositories})
    raise CannotPull(
        f"no delivered login reaches {image.repository}; they reach: {', '.join(reach)}"
    )
