"""A client of a registry's token protocol, which sends the password to one host only."""

from __future__ import annotations

import ssl
from base64 import b64encode
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Protocol, Self
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies, parse_dict_header
from urllib3.exceptions import HTTPError

from firstpull_agent.deliveries import Delivery
from firstpull_agent.reports import Failure, Reason
from firstpull_agent.secret import Secret

_TIMEOUT_SECONDS = (5.0, 15.0)  # to connect, to answer


def check_login(delivery: Delivery) -> None:
    """Raise Failure unless the registry takes this credential now."""
    with Registry(delivery.address, ca=delivery.ca, insecure=delivery.insecure) as registry:
        repository = first_concrete(delivery.repositories)
        registry.log_in(delivery.username, delivery.password, repository=repository)


def first_concrete(repositories: Iterable[str]) -> str | None:
    """The first name without a wildcard, None if there is none."""
    return next((name for name in repositories if "*" not in name), None)


class Registry:
    """A client of one registry. It uses the environment's proxies and never reads `.netrc`."""

    def __init__(self, address: str, *, ca: str | None, insecure: bool) -> None:
        self.address = address
        self.insecure = insecure
        self._host = urlsplit(f"//{address}").hostname
        self._base = f"{'http' if insecure else 'https'}://{address}/v2/"
        self.session = requests.Session()
        self.session.trust_env = False  # else a .netrc would replace the credential
        self.session.proxies.update(get_environ_proxies(self._base))
        self.session.mount("https://", _TrustingAdapter(_context(ca)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.session.close()

    def log_in(self, username: str, password: Secret, *, repository: str | None) -> Secret:
        """A bearer token for the credential, after one test of it. Raises Failure.

        The token allows to pull from `repository`; None requests no repository.
        """
        challenge = self._challenge()
        token = self._token(challenge, username, password, repository)
        answer = self._get(self._base, headers={"Authorization": f"Bearer {token.reveal()}"})
        _refuse_rejection(answer)
        if answer.status_code != 200:
            raise _unexpected(answer, "to its own token")
        return token

    def _challenge(self) -> dict[str, str]:
        answer = self._get(self._base)
        scheme, _, parameters = answer.headers.get("WWW-Authenticate", "").partition(" ")
        if answer.status_code != 401 or scheme.lower() != "bearer":
            raise _unexpected(answer, "instead of a bearer challenge")
        fields = parse_dict_header(parameters)  # type: ignore[no-untyped-call]
        challenge = {key: value for key, value in fields.items() if value}
        self._refuse_strange_realm(challenge.get("realm", ""))
        return challenge

    def _refuse_strange_realm(self, realm: str) -> None:
        try:
            parts = urlsplit(realm)
            host = parts.hostname
        except ValueError:
            host = None
        allowed = ("https", "http") if self.insecure else ("https",)
        if host is None or host != self._host or parts.scheme not in allowed:
            raise Failure(
                Reason.TOKEN_SERVICE_NOT_TRUSTED,
                f"the registry at {self._base} sends its clients to {realm!r} for tokens;"
                " the agent sends the password to the registry's own host only",
            )

    def _token(
        self, challenge: dict[str, str], username: str, password: Secret, repository: str | None
    ) -> Secret:
        query = {"service": challenge["service"]} if "service" in challenge else {}
        if repository is not None:
            query["scope"] = f"repository:{repository}:pull"
        answer = self._get(
            challenge["realm"],
            query=query,
            headers={"Authorization": _basic(username, password)},
        )
        _refuse_rejection(answer)
        try:
            content = answer.json() if answer.status_code == 200 else {}
            token = content.get("access_token") or content["token"]
        except (ValueError, AttributeError, KeyError):
            token = None
        if not isinstance(token, str):
            raise _unexpected(answer, "instead of a token")
        return Secret(token)

    def _get(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> requests.Response:
        try:
            answer = self.session.get(
                url,
                headers=headers,
                params=query,
                allow_redirects=False,
                timeout=_TIMEOUT_SECONDS,
            )
        except (requests.exceptions.RequestException, HTTPError) as error:
            raise connection_failure(error, self._base) from None
        if answer.status_code >= 500 or answer.status_code == 429:
            raise Failure(
                Reason.REGISTRY_UNREACHABLE, f"{self._base} answered {answer.status_code}"
            )
        return answer


def connection_failure(error: Exception, url: str) -> Failure:
    """The failure for a broken request, without the error's text, which may have headers."""
    text = str(error)
    if "CERTIFICATE_VERIFY_FAILED" in text:
        reason = text.partition("certificate verify failed: ")[2].partition(" (_ssl")[0]
        return Failure(Reason.CERTIFICATE_NOT_TRUSTED, f"{url}: {reason or 'not trusted'}")
    return Failure(Reason.REGISTRY_UNREACHABLE, f"{url} cannot be reached ({type(error).__name__})")


def _basic(username: str, password: Secret) -> str:
    # The encoding of requests itself is limited to Latin-1.
    return "Basic " + b64encode(f"{username}:{password.reveal()}".encode()).decode()


def _refuse_rejection(answer: requests.Response) -> None:
    if answer.status_code in {401, 403}:
        raise Failure(
            Reason.CREDENTIALS_NOT_ACCEPTED,
            f"{urlsplit(answer.url).netloc} does not accept the credential"
            f" (status {answer.status_code})",
        )


def _unexpected(answer: requests.Response, when: str) -> Failure:
    return Failure(
        Reason.UNEXPECTED_ANSWER,
        f"{urlsplit(answer.url).netloc} answered {answer.status_code} {when}",
    )


def _context(ca: str | None) -> ssl.SSLContext:
    """A TLS context that trusts only the delivered CA, or the system's CAs without one."""
    context = ssl.create_default_context(cadata=ca)
    # As engines do: an intermediate may be the trust anchor, and old private CAs may lack
    # extensions that only the strict mode of newer Pythons requires.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


class _Connection(Protocol):
    """The connection that requests passes to `cert_verify`."""

    cert_reqs: str | int | None


class _TrustingAdapter(HTTPAdapter):
    """An adapter with one TLS context; requests would add its own CA bundle."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__()

    def init_poolmanager(
        self,
        connections: int,
        maxsize: int,
        block: bool = False,  # noqa: FBT001, FBT002 - the base's signature
        **more: object,
    ) -> None:
        super().init_poolmanager(connections, maxsize, block, ssl_context=self._context, **more)

    def proxy_manager_for(self, proxy: str, **more: object) -> object:
        return super().proxy_manager_for(proxy, ssl_context=self._context, **more)

    def cert_verify(self, conn: _Connection, url: str, verify: object, cert: object) -> None:  # noqa: ARG002 - the base's signature
        conn.cert_reqs = "CERT_REQUIRED"
