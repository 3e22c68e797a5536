"""Finds out whether a certificate is refused because this device's clock is wrong."""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import aiohttp
from yarl import URL

_OUTSIDE_VALIDITY = {9, 10}  # X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED
_PROBE_SECONDS = 5.0
_OFF_BY = timedelta(days=1)


def outside_validity(error: BaseException | None) -> bool:
    """Whether an error, or one that it came from, is a certificate's expiry or later beginning."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return error.verify_code in _OUTSIDE_VALIDITY
        error = error.__cause__ or error.__context__
    return False


async def stated_time(url: URL) -> datetime | None:
    """What a server says that the time is, None if it does not say.

    The certificate is not checked, since the clock is in question: the answer serves to explain a
    refusal, and nothing is sent but a request without any credential.
    """
    try:
        async with (
            asyncio.timeout(_PROBE_SECONDS),
            aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session,
            session.get(url, ssl=False, allow_redirects=False) as response,
        ):
            stated = parsedate_to_datetime(response.headers.get("Date", ""))
    except (aiohttp.ClientError, TimeoutError, ValueError, OSError):
        return None
    return stated if stated.tzinfo else stated.replace(tzinfo=UTC)


def is_far_off(now: datetime, stated: datetime) -> bool:
    """Whether two clocks differ by more than a day: no drift, but a clock that was never set."""
    return abs(now - stated) > _OFF_BY


def spelled(moment: datetime) -> str:
    """A time for a person: UTC, to the minute."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
