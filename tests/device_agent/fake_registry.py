from __future__ import annotations

import hashlib
import json
import ssl
import threading
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from local_azure.kernel.certificates import CertificateAuthority

AUTHORITY = CertificateAuthority(addresses=("127.0.0.1",))
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
LAYER = bytes(10240)  # an empty tar archive
INDEX = "application/vnd.oci.image.index.v1+json"


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@dataclass(frozen=True)
class Request:
    path: str
    query: dict[str, list[str]]
    authorization: str | None

    @property
    def call(self) -> str:
        """Which of the agent's calls this is."""
        if self.path == "/v2/":
            return "proof" if self.authorization else "challenge"
        return next((name for name in ("token", "manifests", "blobs") if name in self.path), "")


@dataclass
class FakeRegistry:
    """A registry with the token protocol, in a thread, that can be told to misbehave."""

    secure: bool = True
    accepted: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    contents: dict[str, tuple[str, bytes]] = field(default_factory=dict)  # path: type, body
    realm: str | None = None
    open_to_all: bool = False
    answers: dict[str, int] = field(default_factory=dict)  # path: status, whatever was asked
    redirect: str | None = None
    scripts: dict[str, Callable[[], Iterator[bytes]]] = field(default_factory=dict)  # by call
    requests: list[Request] = field(default_factory=list)
    address: str = ""
    context: ssl.SSLContext | None = None  # instead of a good certificate
    date: datetime | None = None  # what it says that the time is, instead of the time

    def accept(self, username: str, password: str, *repositories: str) -> None:
        self.accepted[username, password] = set(repositories)

    def passwords_seen(self) -> list[str]:
        return [
            b64decode(request.authorization.removeprefix("Basic ")).decode()
            for request in self.requests
            if request.authorization and request.authorization.startswith("Basic ")
        ]

    def add_blob(self, repository: str, content: bytes) -> dict[str, Any]:
        digest = digest_of(content)
        self.contents[f"/v2/{repository}/blobs/{digest}"] = ("application/octet-stream", content)
        return {"mediaType": "application/octet-stream", "digest": digest, "size": len(content)}

    def add_manifest(
        self, repository: str, tag: str, content: object, media_type: str = MANIFEST
    ) -> str:
        body = json.dumps(content).encode()
        for reference in (tag, digest_of(body)):
            self.contents[f"/v2/{repository}/manifests/{reference}"] = (media_type, body)
        return digest_of(body)

    def add_image(self, repository: str, tag: str, layer: bytes = LAYER) -> str:
        rootfs = {"type": "layers", "diff_ids": [digest_of(layer)]}
        config = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": rootfs}).encode()
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {
                **self.add_blob(repository, config),
                "mediaType": "application/vnd.oci.image.config.v1+json",
            },
            "layers": [
                {
                    **self.add_blob(repository, layer),
                    "mediaType": "application/vnd.oci.image.layer.v1.tar",
                }
            ],
        }
        return self.add_manifest(repository, tag, manifest)

    @contextmanager
    def listening(self) -> Iterator[FakeRegistry]:
        server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        if self.secure:
            context = self.context or AUTHORITY.server_context()
            server.socket = context.wrap_socket(server.socket, server_side=True)
        self.address = f"127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def _handler(registry) -> type[BaseHTTPRequestHandler]:  # noqa: N805 - `self` is the request's
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                authorization = self.headers["Authorization"]
                registry.requests.append(Request(parts.path, parse_qs(parts.query), authorization))
                if script := registry.scripts.get(registry.requests[-1].call):
                    self.close_connection = True
                    with suppress(OSError):  # the client has gone
                        for part in script():
                            self.wfile.write(part)
                    return
                status, headers, body = registry._answer(registry.requests[-1])
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

            do_HEAD = do_GET  # noqa: N815 - http.server's name

            def date_time_string(self, timestamp: float | None = None) -> str:
                stated = registry.date.timestamp() if registry.date else timestamp
                return super().date_time_string(stated)

            def log_message(self, *_: object) -> None:
                pass

        return Handler

    def _answer(self, request: Request) -> tuple[int, dict[str, str], bytes]:
        if request.path in self.answers:
            headers = {"Location": self.redirect} if self.redirect else {}
            return self.answers[request.path], headers, b"{}"
        if request.path == "/token":
            return self._issue(request)
        if self.open_to_all:
            media_type, body = self.contents[request.path]
            return 200, {"Content-Type": media_type}, body
        username = (request.authorization or "").removeprefix("Bearer token-of-")
        reach = [names for (name, _), names in self.accepted.items() if name == username]
        if not reach:
            return 401, {"WWW-Authenticate": self._challenge()}, b"{}"
        return (200, {}, b"{}") if request.path == "/v2/" else self._content(request, reach[0])

    def _content(
        self, request: Request, repositories: set[str]
    ) -> tuple[int, dict[str, str], bytes]:
        if not any(request.path.startswith(f"/v2/{name}/") for name in repositories):
            return 403, {}, b"{}"
        if request.path not in self.contents:
            return 404, {}, b"{}"
        media_type, body = self.contents[request.path]
        return 200, {"Content-Type": media_type}, body

    def _issue(self, request: Request) -> tuple[int, dict[str, str], bytes]:
        scheme, _, encoded = (request.authorization or "").partition(" ")
        if scheme != "Basic":
            return 401, {}, b"{}"
        username, _, password = b64decode(encoded).decode().partition(":")
        if (username, password) not in self.accepted:
            return 401, {}, b"{}"
        return 200, {}, json.dumps({"access_token": f"token-of-{username}"}).encode()

    def _challenge(self) -> str:
        scheme = "https" if self.secure else "http"
        realm = self.realm or f"{scheme}://{self.address}/token"
        return f'Bearer realm="{realm}",service="{self.address}",scope="a,b:c"'
