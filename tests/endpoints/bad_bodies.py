"""Bodies that every endpoint and trigger for onboarding refuses, each with its exact answer.

`MARK` stands in whatever is wrong, and must not come back in an answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .documents import body_of, request

MARK = "zqzq"
_DEVICE = f"refused-{MARK}"
LONGEST = 64 * 1024
"""Bytes of a body, and of a queue message."""
INVALID, FORBIDDEN = "InvalidRequest", "NotAllowed"


@dataclass(frozen=True)
class Bad:
    """A body, and what is said of it: the reason, and the paths of its errors in order."""

    name: str
    body: bytes
    reason: str
    paths: tuple[str, ...] = ()

    @property
    def status(self) -> int:
        """Of the HTTP answer."""
        return 403 if self.reason == FORBIDDEN else 400


def _invalid(name: str, *paths: str, **changes: Any) -> Bad:  # noqa: ANN401 - JSON
    return Bad(name, body_of(request(_DEVICE, **changes)), INVALID, paths)


def _forbidden(name: str, *paths: str, **changes: Any) -> Bad:  # noqa: ANN401 - JSON
    return Bad(name, body_of(request(_DEVICE, **changes)), FORBIDDEN, paths)


def _raw(name: str, body: bytes) -> Bad:
    return Bad(name, body, INVALID)


def _repository(name: str, repository: object) -> Bad:
    return _invalid(name, "/repositories/1", repositories=["hello-world", repository])


def _device(name: str, device_id: object) -> Bad:
    return _invalid(name, "/deviceId", deviceId=device_id)


_good = body_of(request(_DEVICE))

NOT_JSON = (
    _raw("a word", MARK.encode()),
    _raw("half an object", _good[:-1]),
    _raw("two objects", _good + b" " + _good),
    _raw("a comma at the end", _good[:-1] + b",}"),
    _raw("single quotes", _good.replace(b'"', b"'")),
    _raw("a comment", b"/* " + MARK.encode() + b" */ " + _good),
    _raw("NaN", _good[:-1] + b', "hub": NaN}'),
    _raw("half a surrogate", _good.replace(_DEVICE.encode(), b"\\ud800" + MARK.encode())),
    _raw("a number of 5,000 digits", _good[:-1] + b', "hub": 1' + b"0" * 5000 + b"}"),
    _raw("5,000 lists in each other", b'{"hub":' + b"[" * 5000 + b"]" * 5000 + b"}"),
    _raw("5,000 objects in each other", b'{"hub":' * 5000 + b"1" + b"}" * 5000),
    Bad(
        "a name twice",
        _good[:-1] + b',"deviceId":"' + MARK.encode() + b'"}',
        INVALID,
        ("/deviceId",),
    ),
    Bad(
        "a name twice in a value",
        _good[:-1] + b',"hub":{"a~/":[{"b":1,"b":2}]}}',
        INVALID,
        ("/hub/a~0~1/0/b",),
    ),
    _raw("a list", b"[" + _good + b"]"),
    _raw("a text", b'"' + MARK.encode() + b'"'),
    _raw("a number", b"7"),
    _raw("null", b"null"),
    _raw("YAML", f"deviceId: {MARK}\nsite: works".encode()),
    _raw("XML", f"<deviceId>{MARK}</deviceId>".encode()),
    _raw("a form", f"deviceId={MARK}&site=works".encode()),
)
SHAPE = (
    _invalid("both targets", "", site=MARK),
    _invalid("neither target", "", connectedRegistry=...),
    _invalid("no repositories", "/repositories", repositories=...),
    _invalid("an empty list of repositories", "/repositories", repositories=[]),
    _invalid("repositories as a text", "/repositories", repositories=f"line/{MARK}"),
    _invalid("repositories as an object", "/repositories", repositories={MARK: MARK}),
    _invalid("101 repositories", "/repositories", repositories=[f"{MARK}{n}" for n in range(101)]),
    _invalid("a repository twice", "/repositories", repositories=["line/a", "line/b", "line/a"]),
    _invalid("an empty list of actions", "/actions", actions=[]),
    _invalid("an action twice", "/actions", actions=["content/read", "content/read"]),
    _invalid("an unknown action", "/actions/1", actions=["content/read", f"content/{MARK}"]),
    _invalid("an action in upper case", "/actions/0", actions=["CONTENT/READ"]),
    _invalid("a wildcard for actions", "/actions/0", actions=["*"]),
    _invalid("an unknown field", "/password", password=MARK),
    _invalid("a field in another case", "/DeviceId", DeviceId=MARK),
    _invalid("an endpoint of one's own", "/endpoint", endpoint=f"{MARK}.example:8000"),
    _invalid("a field that looks like a path", "/a~1b~0c", **{"a/b~c": MARK}),
    _invalid("a token to adopt with a space in its name", "/adopt", adopt=f"{MARK} a"),
    _invalid("too short a token to adopt", "/adopt", adopt="abcd"),
    _invalid("a pattern of tokens to adopt", "/adopt", adopt="legacy-*"),
    _invalid("a truth for a token to adopt", "/adopt", adopt=True),
    _invalid("a text for a key", "/sealingKey", sealingKey=MARK),
    _invalid("a key of an unknown kind", "/sealingKey", sealingKey={"kty": MARK}),
    _invalid("a private key", "/sealingKey", sealingKey={"kty": "EC", "d": MARK}),
    _invalid("a key on no curve", "/sealingKey", sealingKey={"kty": "EC", "crv": MARK}),
    _invalid("a short key", "/sealingKey", sealingKey={"kty": "RSA", "n": "gAA", "e": "AQAB"}),
    _invalid("a key with a name", "/sealingKey", sealingKey={"kty": "RSA", MARK: MARK}),
    _invalid("a number for a hub", "/hub", hub=7),
    _invalid("a truth for a site", "/site", connectedRegistry=..., site=True),
    _invalid("too long a site", "/site", connectedRegistry=..., site=MARK * 33),
    _invalid("a deep object for a hub", "/hub", hub={"a": [{"b": [MARK]}] * 20}),
    Bad(
        "all wrong at once",
        body_of({"deviceId": "", "repositories": ["A", "b//c"], "actions": [1], "x": MARK}),
        INVALID,
        ("/repositories/0", "/repositories/1", "/actions/0", "/deviceId", "/x"),
    ),
)
DEVICE_IDS = (
    _device("no text", 7),
    _device("null", None),
    _device("empty", ""),
    _device("129 characters", MARK * 32 + "a"),
    _device("a space", f"{MARK} 1"),
    _device("a slash", f"{MARK}/1"),
    _device("a backslash", f"{MARK}\\1"),
    _device("a quote", f'{MARK}"'),
    _device("angle brackets", f"<{MARK}>"),
    _device("an ampersand", f"{MARK}&a"),
    _device("a semicolon", f"{MARK};"),
    _device("braces", f"{{{MARK}}}"),
    _device("square brackets", f"[{MARK}]"),
    _device("a bar", f"{MARK}|"),
    _device("a caret", f"{MARK}^"),
    _device("a backtick", f"`{MARK}`"),
    _device("a tilde", f"~{MARK}"),
    _device("a tab", f"{MARK}\t"),
    _device("a line end", f"{MARK}\n"),
    _device("a zero", f"{MARK}\x00"),
    _device("an umlaut", f"{MARK}ä"),
    _device("a Cyrillic a", f"{MARK}\u0430"),
    _device("full-width digits", f"{MARK}\uff11"),
    _device("a zero-width space", f"{MARK}\u200b"),
    _device("a right-to-left override", f"{MARK}\u202e"),
    _device("a combining accent", f"{MARK}e\u0301"),
    _device("an emoji", f"{MARK}🔑"),
)
REPOSITORIES = (
    _repository("no text", 5),
    _repository("null", None),
    _repository("empty", ""),
    _repository("257 characters", "a" * 257),
    _repository("upper case", f"line/{MARK.upper()}"),
    _repository("two slashes", f"line//{MARK}"),
    _repository("a slash at the end", f"{MARK}/"),
    _repository("a slash at the start", f"/{MARK}"),
    _repository("two dots", f"line/../{MARK}"),
    _repository("one dot", f"line/./{MARK}"),
    _repository("dots within a name", f"{MARK}..a"),
    _repository("a dash at the end", f"{MARK}-"),
    _repository("three underscores", f"{MARK}___a"),
    _repository("a tag", f"{MARK}:latest"),
    _repository("a digest", f"{MARK}@sha256:{'0' * 64}"),
    _repository("a host", f"{MARK}.azurecr.io:443/a"),
    _repository("a wildcard in the middle", f"line/*/{MARK}"),
    _repository("a wildcard at the start", f"*{MARK}"),
    _repository("a wildcard within a segment", f"{MARK}*"),
    _repository("two wildcards", "line/*/*"),
    _repository("only slash and wildcard", "/*"),
    _repository("a question mark", f"{MARK}?"),
    _repository("a percent sign", f"{MARK}%2fa"),
    _repository("a space", f"line/{MARK} a"),
    _repository("a line end", f"line/{MARK}\n"),
    _repository("a Cyrillic a", f"line/{MARK}\u0430"),
    _repository("full-width letters", f"line/{MARK}\uff41"),
    _repository("a zero-width joiner", f"line/{MARK}\u200da"),
    _repository("a right-to-left override", f"line/\u202e{MARK}"),
    _repository("a dotless i", f"line/{MARK}\u0131"),
    _repository("a long s, small of S", f"line/{MARK}\u017f"),
    _repository("a Kelvin sign", f"line/{MARK}\u212a"),
)
NOT_LISTED = (
    _forbidden("a hub", "/hub", hub=f"{MARK}.azure-devices.net"),
    _forbidden("an empty-looking hub", "/hub", hub=" "),
    _forbidden("a container registry", "/containerRegistry", containerRegistry=MARK),
    _forbidden("a connected registry", "/connectedRegistry", connectedRegistry=MARK),
    _forbidden(
        "a connected registry of look-alikes",
        "/connectedRegistry",
        connectedRegistry="d\u043e\u043erone",
    ),
    _forbidden("a site", "/site", connectedRegistry=..., site=MARK),
    _forbidden("a site for a connected registry", "/connectedRegistry", connectedRegistry="works"),
    _forbidden("a repository", "/repositories/1", repositories=["line/a", MARK]),
    _forbidden(
        "a repository with the same start", "/repositories/0", repositories=[f"lineup/{MARK}"]
    ),
    _forbidden("the folder itself", "/repositories/0", repositories=["line"]),
    _forbidden("everything", "/repositories/0", repositories=["*"]),
    _forbidden(
        "more than a name that is listed", "/repositories/0", repositories=["hello-world/*"]
    ),
    _forbidden("an action", "/actions/1", actions=["content/read", "content/write"]),
    _forbidden(
        "all other actions",
        "/actions/0",
        "/actions/1",
        actions=["content/delete", "metadata/write"],
    ),
    _forbidden(
        "an action of one that lists none",
        "/actions/0",
        connectedRegistry="doorsynced",
        actions=["metadata/read"],
    ),
    _forbidden("a token to adopt", "/adopt", adopt=f"{MARK}-1"),
    _forbidden("a token to adopt of another case", "/adopt", adopt=f"Legacy-{MARK}"),
    _forbidden(
        "nothing of all",
        "/hub",
        "/containerRegistry",
        "/repositories/0",
        "/repositories/1",
        "/actions/0",
        "/adopt",
        hub=MARK,
        containerRegistry=MARK,
        repositories=[MARK, f"{MARK}/*"],
        actions=["content/write"],
        adopt=MARK * 2,
    ),
)
BODIES = (*NOT_JSON, *SHAPE, *DEVICE_IDS, *REPOSITORIES, *NOT_LISTED)
