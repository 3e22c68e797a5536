"""How long adapters wait, and how long the SDKs do for a socket and for a bearer token.

Their own timeouts are five minutes, several times over. A deadline around an asynchronous call
ends it all the same, but not a call in a thread, nor each page of a long listing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.request import getproxies_environment

type Sleep = Callable[[float], Awaitable[None]]
"""Waits so many seconds."""

SOCKET: dict[str, Any] = {
    "connection_timeout": 5.0,
    "read_timeout": 10.0,
    # Else aiohttp looks for proxies and for ~/.netrc before each request.
    "use_env_settings": bool(getproxies_environment()),
}
"""For a client of azure-core: seconds to connect, and between two reads of an answer.

The environment's proxies are used, of which a process knows when it starts.
"""
IDENTITY: dict[str, Any] = {
    "connection_timeout": 4.0,
    "read_timeout": 4.0,
    "retry_total": 1,
    "retry_backoff_factor": 0.2,
}
"""For a credential: both tries together take less than the deadline of one read."""
