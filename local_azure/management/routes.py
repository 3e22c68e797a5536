"""The routes of the kernel. `GET /` shows their docstrings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from datetime import timedelta
from random import Random
from typing import Any

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from pydantic.alias_generators import to_camel

from local_azure.kernel import Kernel
from local_azure.kernel.clock import wire_time
from local_azure.kernel.faults import Fault
from local_azure.kernel.latency import Duration, Latency
from local_azure.kernel.storm import KINDS, Storm
from local_azure.management.json_input import (
    AdvanceBody,
    ClientCertificateBody,
    FaultBody,
    InvalidBody,
    LatencyBody,
    StormBody,
    read_body,
)

_LATEST_CALLS = 100


class KernelRoutes:
    """The clock, calls, faults and certificates of a kernel."""

    def __init__(
        self,
        kernel: Kernel,
        *,
        seed: int,
        more_health: Sequence[Callable[[], Mapping[str, object]]] = (),
    ) -> None:
        self._kernel = kernel
        self._seed = seed
        self._more_health = more_health

    def table(self) -> list[web.RouteDef]:
        """All routes."""
        return [
            web.route("GET", "/health", self.health),
            web.route("GET", "/seed", self.seed),
            web.route("GET", "/clock", self.clock),
            web.route("POST", "/clock", self.advance_clock),
            web.route("GET", "/calls", self.calls),
            web.route("DELETE", "/calls", self.reset_calls),
            web.route("GET", "/faults", self.faults),
            web.route("POST", "/faults", self.add_fault),
            web.route("DELETE", "/faults", self.clear_faults),
            web.route("PUT", "/latency", self.set_latency),
            web.route("PUT", "/storm", self.set_storm),
            web.route("GET", "/certificates/ca", self.ca_certificate),
            web.route("POST", "/certificates/clients", self.issue_client_certificate),
        ]

    async def health(self, _: web.Request) -> web.Response:
        """Answers as soon as the stack serves."""
        health: dict[str, object] = {"status": "ok"}
        for more in self._more_health:
            health |= more()
        return web.json_response(health)

    async def seed(self, _: web.Request) -> web.Response:
        """The seed of the random numbers; the same seed repeats faults and ids."""
        return web.json_response({"seed": self._seed})

    async def clock(self, _: web.Request) -> web.Response:
        """The stack's time, and how far it is ahead of real time."""
        clock = self._kernel.clock
        return web.json_response(
            {"now": wire_time(clock.now()), "shiftSeconds": clock.shift.total_seconds()}
        )

    async def advance_clock(self, request: web.Request) -> web.Response:
        """Moves the time of the stack and of the app forward: {"advanceSeconds": 3600}."""
        body = await read_body(request, AdvanceBody)
        self._kernel.clock.advance(timedelta(seconds=body.advance_seconds))
        await self._kernel.clock.all_have_moved()
        return await self.clock(request)

    async def calls(self, request: web.Request) -> web.Response:
        """How often each operation was called, and the latest calls (?latest=100)."""
        given = request.query.get("latest", str(_LATEST_CALLS))
        if not given.isdecimal():
            raise InvalidBody([{"field": "latest", "message": "Input should be a number"}])
        latest = self._kernel.calls.latest()
        shown = latest[max(0, len(latest) - int(given)) :]
        return web.json_response(
            {"counts": self._kernel.calls.counts(), "latest": [asdict(call) for call in shown]}
        )

    async def reset_calls(self, _: web.Request) -> web.Response:
        """Counts from zero again."""
        self._kernel.calls.reset()
        return web.Response(status=204)

    async def faults(self, _: web.Request) -> web.Response:
        """The fault rules with their hits, and the latency."""
        return web.json_response(
            {
                "rules": [_show_fault(rule) for rule in self._kernel.faults.rules],
                "latency": _show_latency(self._kernel.faults.latency),
            }
        )

    async def add_fault(self, request: web.Request) -> web.Response:
        """Adds a fault rule: {"operation": "keyVault.secrets.set", "kind": "answerLost"}."""
        fault = (await read_body(request, FaultBody)).to_fault()
        self._kernel.faults.add(fault)
        return web.json_response(_show_fault(fault), status=201)

    async def clear_faults(self, _: web.Request) -> web.Response:
        """Removes all faults, the latency, the storm and the odd answers."""
        self._kernel.faults.clear()
        self._kernel.oddities.clear()
        return web.Response(status=204)

    async def set_latency(self, request: web.Request) -> web.Response:
        """Sets how long calls take: {"leastSeconds", "mostSeconds", "operations": [{…}]}."""
        latency = (await read_body(request, LatencyBody)).to_latency()
        self._kernel.faults.latency = latency
        return web.json_response(_show_latency(latency))

    async def set_storm(self, request: web.Request) -> web.Response:
        """Trouble at a share of all calls: {"share": 0.05, "seed": 7, "pageSize": 2, …}."""
        body = await read_body(request, StormBody)
        chance = Random(body.seed)  # noqa: S311 - chance, not secrets
        storm = Storm(chance=chance, share=body.share, now=self._kernel.clock.now)
        self._kernel.faults.storm = storm
        odd = self._kernel.oddities
        odd.page_size, odd.chance = body.page_size, chance
        odd.case_of_ids, odd.unknown_fields = body.case_of_ids, body.unknown_fields
        return web.json_response({"kinds": KINDS})

    async def ca_certificate(self, _: web.Request) -> web.Response:
        """The certificate authority that clients must trust, in PEM."""
        return web.Response(
            text=self._kernel.certificates.ca_pem, content_type="application/x-pem-file"
        )

    async def issue_client_certificate(self, request: web.Request) -> web.Response:
        """A certificate with its key for an X.509 device: {"commonName": "camera-7"}."""
        body = await read_body(request, ClientCertificateBody)
        certificate_pem, key_pem = self._kernel.certificates.issue_client(body.common_name)
        certificate = x509.load_pem_x509_certificate(certificate_pem.encode())
        return web.json_response(
            {
                "certificate": certificate_pem,
                "key": key_pem,
                "sha1Thumbprint": _thumbprint(certificate, hashes.SHA1()),  # noqa: S303 - as IoT Hub
                "sha256Thumbprint": _thumbprint(certificate, hashes.SHA256()),
            },
            status=201,
        )


def _thumbprint(certificate: x509.Certificate, algorithm: hashes.HashAlgorithm) -> str:
    return certificate.fingerprint(algorithm).hex().upper()


def _show_latency(latency: Latency) -> dict[str, object]:
    operations = [{"operation": o.operation, **_show_duration(o)} for o in latency.operations]
    return {**_show_duration(latency), "operations": operations}


def _show_duration(duration: Duration) -> dict[str, float]:
    return {"leastSeconds": duration.least_seconds, "mostSeconds": duration.most_seconds}


def _show_fault(fault: Fault) -> dict[str, Any]:
    return {to_camel(f.name): getattr(fault, f.name) for f in fields(fault) if f.init}
