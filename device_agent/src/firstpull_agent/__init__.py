"""Keeps a device logged in at its site's container registry with the delivered credentials."""

from __future__ import annotations

__version__ = "0.2.0"
