"""The managed identity of a function app."""

from __future__ import annotations
