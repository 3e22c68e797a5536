"""The api-versions of Microsoft.ContainerRegistry that this emulator serves."""

from __future__ import annotations

STABLE = "2025-11-01"
PREVIEW = "2026-09-01-preview"
SERVED_API_VERSIONS = (STABLE, PREVIEW)
