"""The agent's HTTP client: GET requests to hosts that may be hostile."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.request import getproxies, proxy_bypass

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from firstpull_agent.device_clock import outside_validity
from firstpull_agent.json_text import parse_json
from firstpull_agent.reports import Failure, Reason

# What is read into memory. Answers of token services have some KB, manifests some ten; Python
# needs up to forty times the size of a JSON text.
LIMIT_BYTES = 1 << 20
ANSWER_SECONDS = 20.0
_REDIRECTS = {301, 302, 303, 307, 308}
_MOST_REDIRECTS = 5


class OutsideValidity(Failure):
    """A certificate has expired or is not valid yet: either it is old, or the clock is wrong."""


@dataclass(frozen=True)
class Answer:
    """A whole answer. `body` is empty unless the status is 200."""

    url: URL
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:  # noqa: ANN401 - JSON
        """The body as JSON. Raises ValueError."""
        return parse_json(self.body)


class HttpClient:
    """Makes requests. It asks for no compression and refuses it, so each size is the true one.

    The URL that the caller has checked is the object that is dialled.
    """

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def get(
        self, url: URL, *, headers: Mapping[str, str] | None = None, redirects: bool = False
    ) -> Answer:
        """The answer, within `ANSWER_SECONDS`. Raises Failure if its body is too large."""
        async with (
            asyncio.timeout(ANSWER_SECONDS),
            self._opened(url, headers or {}, redirects=redirects) as response,
        ):
            body = bytearray()
            if response.status == 200:
                async for chunk in _chunks(response, limit=LIMIT_BYTES):
                    body += chunk
            return Answer(response.url, response.status, response.headers, bytes(body))

    @asynccontextmanager
    async def download(
        self, url: URL, *, headers: Mapping[str, str], limit: int
    ) -> AsyncIterator[tuple[int, AsyncIterator[bytes]]]:
        """Status and body, which raises Failure beyond `limit` bytes. Redirects are followed."""
        async with self._opened(url, headers, redirects=True) as response:
            yield response.status, _chunks(response, limit=limit)

    @asynccontextmanager
    async def _opened(
        self, url: URL, headers: Mapping[str, str], *, redirects: bool
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        for _ in range(_MOST_REDIRECTS + 1):
            async with self._session.get(
                url, headers=headers, allow_redirects=False, proxy=_proxy(url)
            ) as response:
                if not redirects or response.status not in _REDIRECTS:
                    yield response
                    return
                target = _target(url, response.headers.get("Location", ""))
            if target.origin() != url.origin():
                headers = {key: text for key, text in headers.items() if key != "Authorization"}
            url = target
        raise _unexpected(url, "one redirect after the other")


@asynccontextmanager
async def http_client(address: str, *, ca: str | None, seconds: float) -> AsyncIterator[HttpClient]:
    """A client of the registry at `address`, for `seconds` that include look-up and handshake.

    It trusts only `ca` (PEM), or the system's CAs without one. It uses the environment's proxies
    and never reads `.netrc`, which would replace the credential. Inside the context, each failure
    of a request is raised as Failure.
    """
    with _failures(address):
        async with (
            asyncio.timeout(seconds),
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=_context(ca), resolver=_Resolver()),
                headers={"Accept-Encoding": "identity"},
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None),
            ) as session,
        ):
            yield HttpClient(session)


@contextmanager
def _failures(address: str) -> Iterator[None]:
    """Raises Failure for the errors of requests, without their texts, which may have headers."""
    try:
        yield
    except TimeoutError:
        detail = f"{address} did not answer completely in time"
        raise Failure(Reason.REGISTRY_UNREACHABLE, detail) from None
    except aiohttp.ClientConnectorCertificateError as error:
        why = getattr(error.certificate_error, "verify_message", "not trusted")
        kind = OutsideValidity if outside_validity(error.certificate_error) else Failure
        raise kind(Reason.CERTIFICATE_NOT_TRUSTED, f"{error.host}:{error.port}: {why}") from None
    except (aiohttp.ClientResponseError, aiohttp.InvalidURL) as error:
        detail = f"{address} does not speak HTTP ({type(error).__name__})"
        raise Failure(Reason.UNEXPECTED_ANSWER, detail) from None
    except aiohttp.ClientError as error:
        detail = f"{address} cannot be reached ({type(error).__name__})"
        raise Failure(Reason.REGISTRY_UNREACHABLE, detail) from None


async def _chunks(response: aiohttp.ClientResponse, *, limit: int) -> AsyncIterator[bytes]:
    """The body of a response. Raises Failure if it is compressed or too large."""
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise _unexpected(response.url, "compressed content, which was not asked for")
    size = 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > limit:
            raise _unexpected(response.url, f"more than {limit} bytes")
        yield chunk


def parsed_url(text: str) -> URL | None:
    """An absolute URL of http or https, None for anything else or one with credentials."""
    if not text.isascii() or not text.isprintable() or " " in text or "\\" in text:
        return None
    try:
        url = URL(text)
        is_web = url.scheme in {"https", "http"} and bool(url.host)
    except ValueError:  # also of a host that is no IDN, once it is read
        return None
    return url if is_web and url.user is None and url.password is None else None


def _target(url: URL, location: str) -> URL:
    try:
        target = parsed_url(str(url.join(URL(location))))
    except ValueError:
        target = None
    if target is None or (url.scheme == "https" and target.scheme != "https"):
        raise _unexpected(url, "a redirect that the agent does not follow")
    return target


def _unexpected(url: URL, what: str) -> Failure:
    return Failure(Reason.UNEXPECTED_ANSWER, f"{url.authority} answered with {what}")


def _proxy(url: URL) -> str | None:
    host = url.host or ""
    if proxy_bypass(f"{host}:{url.port}") or _is_in_no_proxy_network(host):
        return None
    proxies = getproxies()
    return proxies.get(url.scheme) or proxies.get("all")


def _is_in_no_proxy_network(host: str) -> bool:
    """Whether NO_PROXY has a network of this address, which engines allow and Python does not."""
    with suppress(ValueError):
        address = ipaddress.ip_address(host)
        for entry in getproxies().get("no", "").split(","):
            with suppress(ValueError):
                if address in ipaddress.ip_network(entry.strip(), strict=False):
                    return True
    return False


def _context(ca: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=ca)
    # As engines do: an intermediate may be the trust anchor, and old private CAs may lack
    # extensions that only the strict mode of newer Pythons requires.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


class _Resolver(AbstractResolver):
    """Looks names up in threads that nobody waits for, because a look-up cannot be cancelled."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of a host. Raises OSError."""
        found: Future[list[Any]] = Future()

        def look_up() -> None:
            found.set_running_or_notify_cancel()
            try:
                found.set_result(socket.getaddrinfo(host, port, family, socket.SOCK_STREAM))
            except Exception as error:
                found.set_exception(error)

        threading.Thread(target=look_up, daemon=True).start()
        return [
            ResolveResult(
                hostname=host,
                host=address[0],
                port=address[1],
                family=kind,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for kind, _, protocol, _, address in await asyncio.wrap_future(found)
        ]

    async def close(self) -> None:
        """Nothing to close."""
