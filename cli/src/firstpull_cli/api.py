"""firstpull's HTTP API: one request at a time, repeated where the service asks for it."""

from __future__ import annotations

import email.utils
import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlsplit

import requests
from requests.auth import AuthBase

from firstpull_cli import __version__
from firstpull_cli.credentials import Credentials
from firstpull_cli.errors import CliError, Exit
from firstpull_cli.profiles import Profile

Document = dict[str, Any]
Filters = Mapping[str, str | int | None]

PAGE = 1000
"""Devices of a page of the listing, and rows of a batch: what the API takes at most."""
_CONNECT_SECONDS = 10.0
_ANSWER_SECONDS = 240.0  # the platform ends a request after 230
_PATIENCE_SECONDS = 180.0
_LONGEST_PAUSE = 30.0
_AGAIN = {429, 502, 503, 504}


@dataclass(frozen=True)
class Answer:
    """An answer with its JSON document, which is empty where there is none."""

    status: int
    headers: Mapping[str, str]
    document: Document


class Api:
    """A caller of one firstpull. `on_pause` is told why and for how many seconds it waits."""

    def __init__(
        self,
        profile: Profile,
        *,
        sleep: Callable[[float], None] = time.sleep,
        on_pause: Callable[[str, float], None] = lambda _why, _seconds: None,
    ) -> None:
        self.profile = profile
        self.sleep = sleep
        self._on_pause = on_pause
        self._credentials = Credentials(profile)
        self._session = requests.Session()
        self._session.headers.update(
            {"User-Agent": f"firstpull-cli/{__version__}", "Accept": "application/json"}
        )

    def __enter__(self) -> Self:
        """The API itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connections."""
        self._session.close()

    def get(self, path: str, **query: str | int | None) -> Document:
        """What is at a path below `/api/`. Raises CliError."""
        return self.send("GET", path, query=query).document

    def devices(self, filters: Filters, *, most: int | None = None) -> Iterator[Document]:
        """The devices of some filters, by pages. Raises CliError."""
        for page in self.pages(filters, most=most):
            yield from page["devices"]

    def pages(self, filters: Filters, *, most: int | None = None) -> Iterator[Document]:
        """Pages of the listing, with at most `most` devices. Raises CliError."""
        after: str | None = None
        while most is None or most > 0:
            size = PAGE if most is None else min(PAGE, most)
            page = self.get("devices", **filters, size=size, after=after)
            yield page
            most = None if most is None else most - len(page["devices"])
            after = page.get("next")
            if after is None:
                return

    def send(
        self,
        method: str,
        path: str,
        *,
        body: object = None,
        query: Filters | None = None,
        repeatable: bool = True,
        as_master: bool = False,
    ) -> Answer:
        """The answer to a request that succeeded. Raises CliError for any other.

        It is repeated after 429 and 503 when the service says, and after a lost connection unless
        a second one would mean something else. `path` is below `/api/`, or begins with a slash.
        """
        url = f"{self.profile.url}{path if path.startswith('/') else f'/api/{path}'}"
        params = {name: str(value) for name, value in (query or {}).items() if value is not None}
        waited, attempt = 0.0, 0
        while True:
            try:
                response = self._session.request(
                    method,
                    url,
                    params=params,
                    json=body,
                    auth=_Headers(self._credentials.headers(as_master=as_master)),
                    timeout=(_CONNECT_SECONDS, _ANSWER_SECONDS),
                    allow_redirects=False,  # the key would go along
                    verify=self.profile.ca or True,
                )
            except requests.RequestException as error:
                failure = _unreachable(self.profile.url, error)
                may_repeat = repeatable or isinstance(error, requests.ConnectTimeout)
                is_final = isinstance(error, requests.exceptions.SSLError) or not may_repeat
                asked = None
            else:
                if response.status_code < 300:
                    return _read(response)
                failure = problem_error(response)
                is_final = response.status_code not in _AGAIN
                asked = retry_after(response.headers.get("Retry-After"))
            pause = asked if asked is not None else min(2.0**attempt, _LONGEST_PAUSE)
            if is_final or waited + pause > _PATIENCE_SECONDS:
                raise failure
            self._on_pause(failure.message, pause)
            # Never earlier than the service asks for; and not all callers at once.
            self.sleep(pause + random.uniform(0.0, pause / 4))  # noqa: S311 - no secret
            waited, attempt = waited + pause, attempt + 1


class _Headers(AuthBase):
    """Sets the headers of a request, and thereby keeps requests from reading `.netrc`."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = headers

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers.update(self._headers)
        return request


def device_path(device_id: str, *, then: str = "") -> tuple[str, dict[str, str]]:
    """Path and parameters of a device. An id that no path can carry goes into the parameters."""
    if {"%", "/"} & set(device_id) or set(device_id) <= {"."}:
        return f"devices{then and f':{then}'}", {"deviceId": device_id}
    return f"devices/{quote(device_id, safe='')}{then and f'/{then}'}", {}


def operation_path(answer: Answer) -> str | None:
    """Where to look for the end of a request that was recorded; None if it has ended.

    Only the path counts: a secret goes to no other host than the profile's.
    """
    address = answer.headers.get("Operation-Location")
    if address is None:
        return None
    parts = urlsplit(address)
    return f"{parts.path}?{parts.query}"


def problem_error(response: requests.Response) -> CliError:
    """The error of an answer: its problem document, or what the platform in front answered."""
    status = response.status_code
    try:
        problem = response.json()
        reason, detail = problem["reason"], problem["detail"]
    except (ValueError, KeyError, TypeError):
        return _without_problem(status, response)
    errors = "".join(
        f"\n  {error['path'] or '/'}: {error['message']}" for error in problem.get("errors", ())
    )
    advice = problem.get("remedy") or _ADVICE.get(reason) or problem.get("title", "")
    return CliError(f"{reason}: {detail}{errors}", advice=advice, status=_exit_of(status))


def _without_problem(status: int, response: requests.Response) -> CliError:
    if status in (401, 403):
        return CliError(
            f"the platform in front of firstpull answered {status}",
            advice="The function key is wrong, the Entra token is missing (`entra` in the profile, "
            "FIRSTPULL_TOKEN), or you are not among FIRSTPULL_ENTRA_CALLERS.",
            status=Exit.DENIED,
        )
    if status in (301, 302, 303, 307, 308):
        return CliError(
            f"the address leads elsewhere ({status}); the key is not sent there",
            advice="Write the final address into the profile.",
            status=Exit.USAGE,
        )
    if status == 404:
        return CliError(
            f"{urlsplit(response.url).netloc} has no such route",
            advice="Is the profile's address that of a firstpull, and as new as this command?",
            status=Exit.NOT_FOUND,
        )
    return CliError(
        f"firstpull answered {status} without a reason",
        advice="Try again; if it stays, look into the app's log.",
        status=Exit.UNAVAILABLE if status >= 500 else Exit.FAILED,
    )


_ADVICE = {
    "DeviceNotKnown": "`firstpull devices` lists those that are known; `--hub` names another hub.",
    "RoleMissing": "Ask for the role in the app's Entra registration.",
    "TooManyRevokes": "Go on when `firstpull revokes show` has room; or a MassRevokeApprover runs "
    "`firstpull revokes approve COUNT`.",
    "SweepNotKnown": "A sweep runs each hour, or by `firstpull sweep run`; it is approved "
    "only while it holds devices.",
    "MessageNotKnown": "`firstpull poison list` shows what is kept.",
    "DeviceRevoked": "Onboard it again with `firstpull onboard`.",
    "NothingToRotate": "Wait until it has credentials: `firstpull device ID`.",
    "InvalidRequest": "Correct what is named.",
    "NotAllowed": "Ask for what the policy allows, or change FIRSTPULL_POLICY.",
}


def _exit_of(status: int) -> Exit:
    match status:
        case 401 | 403:
            return Exit.DENIED
        case 404:
            return Exit.NOT_FOUND
        case _:
            return Exit.UNAVAILABLE if status >= 500 or status == 429 else Exit.FAILED


def _unreachable(url: str, error: requests.RequestException) -> CliError:
    if isinstance(error, requests.exceptions.SSLError):
        advice = "If the certificate is of your own authority, set REQUESTS_CA_BUNDLE to its file."
        return CliError(f"{url}: its certificate is not trusted", advice=advice, status=Exit.DENIED)
    is_late = isinstance(error, requests.Timeout)
    what = "did not answer in time" if is_late else "cannot be reached"
    return CliError(
        f"{url} {what}",
        advice="Check the address, the network and proxies; of `make up`, whether it still runs.",
        status=Exit.UNAVAILABLE,
    )


def _read(response: requests.Response) -> Answer:
    if not response.content:
        return Answer(response.status_code, response.headers, {})
    try:
        document = response.json()
    except ValueError:
        document = None
    if not isinstance(document, dict):
        if response.status_code == 202:  # the Functions host's own routes
            return Answer(response.status_code, response.headers, {})
        raise CliError(
            f"{urlsplit(response.url).netloc} does not answer like firstpull",
            advice="Check the address in the profile; a proxy may have answered.",
            status=Exit.UNAVAILABLE,
        )
    return Answer(response.status_code, response.headers, document)


def retry_after(text: str | None) -> float | None:
    """Seconds of a Retry-After, which may be a date."""
    if not text:
        return None
    if text.strip().isdigit():
        return float(text)
    try:
        at = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, at.timestamp() - time.time())
