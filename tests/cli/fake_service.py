"""An HTTP server that gives the answers it was told, one after the other."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Told = tuple[int, dict[str, str], object]
"""Status, headers, and a document; text is sent as it is."""


@dataclass
class FakeService:
    """What was asked, with its headers, and what is still to be answered."""

    url: str = ""
    answers: list[Told] = field(default_factory=list)
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)


@contextmanager
def fake_service(*answers: Told) -> Iterator[FakeService]:
    """A server on the loopback that gives these answers."""
    service = FakeService(answers=list(answers))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            self.rfile.read(length)
            service.requests.append((f"{self.command} {self.path}", dict(self.headers)))
            status, headers, document = service.answers.pop(0)
            body = document if isinstance(document, str) else json.dumps(document)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body.encode())))
            self.end_headers()
            self.wfile.write(body.encode())

        do_POST = do_GET  # noqa: N815 - the base class asks for these names
        do_DELETE = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    service.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
