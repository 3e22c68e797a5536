"""Asks a service for every answer of the contract, and says what differs.

It needs an address and a credential, so that it runs against the local Azure as against a
subscription.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from aiohttp import ClientSession
from yarl import URL

from contract.answers import Answer, Expected, Request, Service

_NAME = re.compile(r"\{(\w+)\}")
_STEP = re.compile(r"(?P<name>[^.\[\]]+)|\[(?P<key>[^=\]]+)=(?P<value>[^\]]*)\]|\.")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{0,6}[1-9])?(Z|\+00:00)")
_PAUSE = 1.0
_PAUSES = 60
"""As many seconds as an operation may take."""
_MISSING = object()


@dataclass(frozen=True, kw_only=True)
class Target:
    """A service to ask.

    `authorization`: the value of that header, for each request. `variables` fill `{names}`;
    what answers save is added. `sleep` waits between polls.
    """

    endpoint: str
    session: ClientSession
    authorization: Callable[[], Awaitable[str]]
    variables: dict[str, str] = field(default_factory=dict)
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


@dataclass(frozen=True)
class Difference:
    """An answer that is not as the contract says."""

    answer: Answer
    problems: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.answer.id}: {'; '.join(self.problems)}"


@dataclass(frozen=True)
class Reply:
    """What a service answered; `body` is None where there is none."""

    status: int
    headers: Mapping[str, str]
    body: Any


async def check(service: Service, target: Target) -> list[Difference]:
    """The differences, by asking in the contract's order.

    A request is left out if one of its variables has no value.
    """
    found = []
    for answer in service.answers:
        request, expected = answer.request, answer.expected
        if request is None or expected is None or not _has_all_variables(request, target):
            continue
        reply, problems = await _ask(service, request, answer, target)
        if problems:
            found.append(Difference(answer, tuple(problems)))
        else:
            target.variables.update(_saved(answer, reply))
    return found


async def _ask(
    service: Service, request: Request, answer: Answer, target: Target
) -> tuple[Reply, list[str]]:
    """The last reply, with what it has other than expected."""
    for pause in range(_PAUSES):
        if pause:
            await target.sleep(_PAUSE)
        reply = await _send(service, request, target)
        problems = _problems(answer.expected, reply, target)
        if not problems or _problems(answer.meanwhile, reply, target):
            break
    return reply, problems


async def _send(service: Service, request: Request, target: Target) -> Reply:
    path = _filled(request.path, target.variables)
    url = URL(path if urlsplit(path).scheme else target.endpoint + path, encoded=True)
    version = request.api_version or service.api_version
    if version and "api-version" not in url.query:
        url = url.update_query({"api-version": version})
    headers = {name: _filled(value, target.variables) for name, value in request.headers.items()}
    if request.sends_credential:
        headers.setdefault("Authorization", await target.authorization())
    body = _filled(request.body, target.variables)
    sent = {"json": body} if body is not None else {}
    async with target.session.request(request.method, url, headers=headers, **sent) as reply:
        text = await reply.text()
        return Reply(reply.status, reply.headers, json.loads(text) if text else None)


def _problems(expected: Expected | None, reply: Reply, target: Target) -> list[str]:
    """What a reply has other than expected; one that nothing expects is a problem."""
    if expected is None or reply.status not in expected.statuses:
        return [f"status {reply.status}: {json.dumps(reply.body)[:300]}"]
    return [
        *_of_headers(expected, reply, target.variables),
        *_of_fields(expected, reply, target.variables),
        *_of_lists(expected, reply),
    ]


def _of_headers(expected: Expected, reply: Reply, variables: Mapping[str, str]) -> Iterator[str]:
    for name, pattern in expected.headers.items():
        value = reply.headers.get(name)
        if value is None or not re.fullmatch(_filled(pattern, variables), value, re.IGNORECASE):
            yield f"header {name} is {value}"
    for name in expected.without_headers:
        if name in reply.headers:
            yield f"there is a header {name}"


def _of_fields(expected: Expected, reply: Reply, variables: Mapping[str, str]) -> Iterator[str]:
    if expected.is_empty and reply.body is not None:
        yield f"there is a body {json.dumps(reply.body)[:300]}"
    for path, wanted in expected.fields.items():
        value = _at(reply.body, path)
        if not _fits(value, _filled(wanted, variables)):
            yield f"{path} is {'missing' if value is _MISSING else json.dumps(value)[:300]}"
    for path in expected.without_fields:
        if _at(reply.body, path) is not _MISSING:
            yield f"there is {path}"
    for path, before in expected.differs.items():
        if str(_at(reply.body, path)) == _filled(before, variables):
            yield f"{path} is as before"


def _of_lists(expected: Expected, reply: Reply) -> Iterator[str]:
    if expected.unordered is not None:
        names = [each["name"] for each in _at(reply.body, expected.unordered)]
        if names == sorted(names):
            yield f"{expected.unordered} is in the order of names"


def _fits(value: Any, wanted: Any) -> bool:  # noqa: ANN401 - JSON
    match wanted:
        case "<any>":
            return value is not _MISSING
        case "<text>":
            return isinstance(value, str) and value != ""
        case "<list>":
            return isinstance(value, list)
        case "<time>":
            return isinstance(value, str) and _TIME.fullmatch(value) is not None
        case str() if isinstance(value, str):
            return value.lower() == wanted.lower()  # ids come back in another case
        case _:
            return bool(value == wanted)


def _at(body: Any, path: str) -> Any:  # noqa: ANN401 - JSON
    """The value at a path, `_MISSING` where there is none."""
    for step in _STEP.finditer(path):
        if step["key"]:
            rows = body if isinstance(body, list) else []
            body = next((each for each in rows if each.get(step["key"]) == step["value"]), _MISSING)
        elif step["name"] and isinstance(body, list):
            index = int(step["name"])
            body = body[index] if index < len(body) else _MISSING
        elif step["name"]:
            body = body.get(step["name"], _MISSING) if isinstance(body, dict) else _MISSING
    return body


def _saved(answer: Answer, reply: Reply) -> dict[str, str]:
    return {
        name: reply.headers[where.removeprefix("header:")]
        if where.startswith("header:")
        else str(_at(reply.body, where))
        for name, where in answer.saves.items()
    }


def _has_all_variables(request: Request, target: Target) -> bool:
    return all(name in target.variables for name in _NAME.findall(request.model_dump_json()))


def _filled(value: Any, variables: Mapping[str, str]) -> Any:  # noqa: ANN401 - JSON
    """A value with its `{names}` filled."""
    match value:
        case str():
            return _NAME.sub(lambda name: variables.get(name[1], name[0]), value)
        case dict():
            return {name: _filled(each, variables) for name, each in value.items()}
        case list():
            return [_filled(each, variables) for each in value]
        case _:
            return value
