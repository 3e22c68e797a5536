"""A client of a registry's token protocol, which sends the password to one host only."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from urllib.request import parse_http_list

from yarl import URL

from firstpull_agent.deliveries import Delivery
from firstpull_agent.device_clock import is_far_off, spelled, stated_time
from firstpull_agent.http_client import (
    Answer,
    HttpClient,
    OutsideValidity,
    http_client,
    parsed_url,
)
from firstpull_agent.reports import Failure, Reason
from firstpull_agent.secret import Secret

_TOKEN = re.compile(r"[\x21-\x7e]+")  # what a header can hold


async def check_login(delivery: Delivery, seconds: float, *, now: Callable[[], datetime]) -> None:
    """Raise Failure unless the registry takes this credential within `seconds`.

    A certificate that is not valid `now`, while the registry has another day, is ClockWrong.
    """
    repository = first_concrete(delivery.repositories)
    try:
        async with http_client(delivery.address, ca=delivery.ca, seconds=seconds) as client:
            registry = Registry(client, delivery.address, insecure=delivery.insecure)
            await registry.log_in(delivery.username, delivery.password, repository=repository)
    except OutsideValidity as failure:
        raise await _named(failure, delivery.address, now()) from None


async def _named(failure: OutsideValidity, address: str, now: datetime) -> Failure:
    stated = await stated_time(URL(f"https://{address}/v2/"))
    if stated is None or not is_far_off(now, stated):
        return failure
    return Failure(
        Reason.CLOCK_WRONG,
        f"this device's clock says {spelled(now)}, the registry's {spelled(stated)}: set the clock"
        f" (for {failure.detail})",
    )


def first_concrete(repositories: Iterable[str]) -> str | None:
    """The first name without a wildcard, None if there is none."""
    return next((name for name in repositories if "*" not in name), None)


class Registry:
    """A registry at an address."""

    def __init__(self, client: HttpClient, address: str, *, insecure: bool) -> None:
        self.base = URL(f"{'http' if insecure else 'https'}://{address}/v2/")
        self._client = client

    async def log_in(self, username: str, password: Secret, *, repository: str | None) -> Secret:
        """A bearer token for the credential, after one test of it. Raises Failure.

        The token allows to pull from `repository`; None requests no repository.
        """
        realm, service = await self._challenge()
        query = {} if service is None else {"service": service}
        if repository is not None:
            query["scope"] = f"repository:{repository}:pull"
        token = await self._token(realm.extend_query(query), _basic(username, password))
        answer = await self._get(self.base, headers={"Authorization": f"Bearer {token.reveal()}"})
        _refuse_rejection(answer)
        if answer.status != 200:
            raise _unexpected(answer, "to its own token")
        return token

    async def _challenge(self) -> tuple[URL, str | None]:
        """The token service that the registry names: its URL, and its name for the registry."""
        answer = await self._get(self.base)
        scheme, _, parameters = answer.headers.get("WWW-Authenticate", "").partition(" ")
        if answer.status != 401 or scheme.lower() != "bearer":
            raise _unexpected(answer, "instead of a bearer challenge")
        pairs = (part.partition("=") for part in parse_http_list(parameters))
        fields = {key.strip().lower(): text.strip().strip('"') for key, _, text in pairs}
        return self._own_url(fields.get("realm", "")), fields.get("service")

    def _own_url(self, realm: str) -> URL:
        url = parsed_url(realm)
        if (
            url is None
            or url.host != self.base.host
            or url.scheme not in {"https", self.base.scheme}
        ):
            raise Failure(
                Reason.TOKEN_SERVICE_NOT_TRUSTED,
                f"the registry at {self.base} sends its clients to {realm[:200]!r} for tokens;"
                " the agent sends the password to the registry's own host only",
            )
        return url

    async def _token(self, url: URL, authorization: str) -> Secret:
        answer = await self._get(url, headers={"Authorization": authorization})
        _refuse_rejection(answer)
        try:
            content = answer.json() if answer.status == 200 else None
        except ValueError:
            content = None
        fields = content if isinstance(content, dict) else {}
        token = fields.get("access_token") or fields.get("token")
        if not isinstance(token, str) or not _TOKEN.fullmatch(token):
            raise _unexpected(answer, "instead of a token")
        return Secret(token)

    async def _get(self, url: URL, *, headers: Mapping[str, str] | None = None) -> Answer:
        answer = await self._client.get(url, headers=headers)
        if answer.status >= 500 or answer.status == 429:
            raise Failure(Reason.REGISTRY_UNREACHABLE, f"{url.authority} answered {answer.status}")
        return answer


def _basic(username: str, password: Secret) -> str:
    return "Basic " + b64encode(f"{username}:{password.reveal()}".encode()).decode()


def _refuse_rejection(answer: Answer) -> None:
    if answer.status in {401, 403}:
        raise Failure(
            Reason.CREDENTIALS_NOT_ACCEPTED,
            f"{answer.url.authority} does not accept the credential (status {answer.status})",
        )


def _unexpected(answer: Answer, when: str) -> Failure:
    return Failure(
        Reason.UNEXPECTED_ANSWER, f"{answer.url.authority} answered {answer.status} {when}"
    )
