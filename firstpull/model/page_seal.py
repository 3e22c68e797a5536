"""What sessions of the fleet page are sealed with."""

from __future__ import annotations

from dataclasses import dataclass, field

_LENGTH = 32


@dataclass(frozen=True, kw_only=True)
class PageSeal:
    """A random key. It opens nothing but the page, and who can read it can read the records."""

    key: bytes = field(repr=False)


def to_bytes(seal: PageSeal) -> bytes:
    """The seal as it is stored."""
    return seal.key.hex().encode()


def from_bytes(content: bytes) -> PageSeal | None:
    """The seal in what `to_bytes` made, None for anything else."""
    try:
        key = bytes.fromhex(content.decode("ascii"))
    except ValueError:
        return None
    return PageSeal(key=key) if len(key) == _LENGTH else None
