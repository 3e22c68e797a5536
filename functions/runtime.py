"""The application that all functions of this process share."""

from __future__ import annotations

from firstpull import bootstrap

# At import, so that wrong settings stop the app at its start and not at its first device.
runtime = bootstrap.start()
