"""Requests to Azure, with a bearer token and retries, by path and body alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from azure.core import PipelineClient
from azure.core.credentials import TokenCredential
from azure.core.exceptions import AzureError
from azure.core.pipeline.policies import (
    BearerTokenCredentialPolicy,
    HeadersPolicy,
    HTTPPolicy,
    RetryPolicy,
    SansIOHTTPPolicy,
    UserAgentPolicy,
)
from azure.core.rest import HttpRequest, HttpResponse

ARM_AUDIENCE = "https://management.azure.com"

Document = dict[str, Any]
Wait = Callable[[float], None]

_UNSEEN = ("SubscriptionNotFound",)
_POLL_SECONDS = 5.0
_MOST_SECONDS = 20 * 60


class Refused(Exception):
    """A request that Azure refused, or that got no answer (`status` 0)."""

    def __init__(self, request: str, *, status: int, code: str, message: str) -> None:
        super().__init__(f"{request}: {status} {code}: {message}")
        self.request = request
        self.status = status
        self.code = code
        self.message = message

    @property
    def remedy(self) -> str | None:
        """What a person has to do, None where it is not known."""
        assigns = "Microsoft.Authorization/" in self.request
        role = "Role Based Access Control Administrator" if assigns else "Contributor"
        return {
            "AuthorizationFailed": f"You need the role {role} (or Owner) in the subscription.",
            "RequestDisallowedByPolicy": "A policy of the subscription forbids it: ask for an "
            "exemption, or use another subscription.",
            "MissingSubscriptionRegistration": "Register the resource provider: "
            "az provider register --namespace NAME.",
            "SubscriptionNotFound": "Is it of the tenant that you are logged in to (az login)?",
            "NoAnswer": "Is the network there, and are you logged in (az login)?",
        }.get(self.code)


@dataclass(frozen=True)
class Answer:
    """An answer. `body` is its JSON, empty without one."""

    status: int
    headers: Mapping[str, str]
    body: Any


class Rest:
    """A service at one address. Without `credential` requests carry what the caller gives."""

    def __init__(
        self, endpoint: str, *, credential: TokenCredential | None = None, audience: str = ""
    ) -> None:
        self._endpoint = endpoint.rstrip("/")
        policies: list[HTTPPolicy[Any, Any] | SansIOHTTPPolicy[Any, Any]] = [
            HeadersPolicy(),
            UserAgentPolicy("firstpull-verify-azure"),
            RetryPolicy(retry_total=4, retry_backoff_factor=0.5),
        ]
        if credential is not None:
            policies.append(BearerTokenCredentialPolicy(credential, f"{audience}/.default"))
        self._client: PipelineClient[HttpRequest, HttpResponse] = PipelineClient(
            self._endpoint, policies=policies
        )

    def send(
        self,
        method: str,
        path: str,
        *,
        body: Document | None = None,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """The answer, whatever its status. Raises Refused without one."""
        request = HttpRequest(
            method,
            f"{self._endpoint}{path}",
            params=dict(query or {}),
            headers=dict(headers or {}),
            json=body,
        )
        try:
            response = self._client.send_request(request)
            text = response.text()
        except AzureError as error:
            message = str(error).partition("\n")[0]
            raise Refused(f"{method} {path}", status=0, code="NoAnswer", message=message) from None
        try:
            document = response.json() if text else {}
        except ValueError:
            document = {}
        return Answer(response.status_code, response.headers, document)


class Arm:
    """Azure Resource Manager: resources by their ids."""

    def __init__(
        self, credential: TokenCredential, *, endpoint: str, wait: Wait = time.sleep
    ) -> None:
        self.endpoint = endpoint.rstrip("/")
        self.wait = wait
        self._rest = Rest(endpoint, credential=credential, audience=ARM_AUDIENCE)

    def put(self, path: str, body: Document, *, api_version: str) -> Document:
        """The answer to a PUT. The resource may not be ready yet. Raises Refused."""
        return self._send("PUT", path, api_version, body) or {}

    def get(self, path: str, *, api_version: str, **query: str) -> Document | None:
        """A resource or a page of a list, None without it. Raises Refused."""
        return self._send("GET", path, api_version, query=query)

    def post(self, path: str, body: Document | None = None, *, api_version: str) -> Document | None:
        """The answer to a POST, None for 404. Raises Refused."""
        return self._send("POST", path, api_version, body)

    def delete(self, path: str, *, api_version: str) -> bool:
        """Whether there was something to delete. It may not be gone yet. Raises Refused."""
        return self._send("DELETE", path, api_version) is not None

    def list(self, path: str, *, api_version: str, **query: str) -> list[Document]:
        """All pages of a list. Raises Refused."""
        found: list[Document] = []
        page = self.get(path, api_version=api_version, **query)
        while page is not None:
            found += page.get("value", [])
            link = str(page.get("nextLink") or "")
            if not link.startswith(self.endpoint):
                break
            page = self._rest.send("GET", link.removeprefix(self.endpoint)).body
        return found

    def when_ready(self, path: str, *, api_version: str) -> Document:
        """A resource, once it is provisioned. Raises Refused, also where that fails."""
        found: Document = {}
        for _ in self._polls():
            # A resource that was accepted a moment ago may be 404 at first.
            found = self.get(path, api_version=api_version) or {}
            state = found.get("properties", {}).get("provisioningState")
            if state == "Succeeded":
                return found
            if state in ("Failed", "Canceled"):
                break
        message = f"It is not provisioned: {found.get('properties', {}).get('provisioningState')}."
        raise Refused(f"GET {path}", status=200, code="NotProvisioned", message=message)

    def until_gone(self, path: str, *, api_version: str) -> None:
        """Wait until a resource is no longer there. Raises Refused, also after a long time."""
        for _ in self._polls():
            if self.get(path, api_version=api_version) is None:
                return
        raise Refused(f"GET {path}", status=200, code="NotDeleted", message="It is still there.")

    def _polls(self) -> Iterator[float]:
        """Seconds waited so far, soon at first, until it is too long."""
        pause, waited = 0.5, 0.0
        while waited < _MOST_SECONDS:
            yield waited
            self.wait(pause)
            waited, pause = waited + pause, min(pause * 1.5, _POLL_SECONDS)

    def _send(
        self,
        method: str,
        path: str,
        api_version: str,
        body: Document | None = None,
        *,
        query: Mapping[str, str] | None = None,
    ) -> Document | None:
        answer = self._rest.send(
            method, path, body=body, query={"api-version": api_version, **(query or {})}
        )
        document = answer.body if isinstance(answer.body, dict) else {}
        error = document.get("error") or {}
        code = str(error.get("code", ""))
        # A subscription that the caller does not see may still have what is asked for.
        if answer.status == HTTPStatus.NOT_FOUND and method != "PUT" and code not in _UNSEEN:
            return None
        if answer.status == HTTPStatus.NO_CONTENT and method == "DELETE":
            return None
        if answer.status >= HTTPStatus.BAD_REQUEST:
            raise Refused(
                f"{method} {path}",
                status=answer.status,
                code=code,
                message=str(error.get("message", "")),
            )
        return document
