"""A clock that is years off is named, and a certificate that has expired is not blamed on it."""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from firstpull_agent.applied import AppliedStore
from firstpull_agent.convergence import Convergence
from firstpull_agent.device_clock import outside_validity
from firstpull_agent.http_client import ANSWER_SECONDS
from firstpull_agent.hub import HubOutsideValidity, HubSettings, Twin, connect_with_key
from firstpull_agent.logins import Logins
from firstpull_agent.registry import check_login
from firstpull_agent.reports import Failure, Reason
from firstpull_agent.secret import Secret
from firstpull_agent.service import Service

from .deliveries import PASSWORD, USERNAME, delivery, desired
from .fake_registry import FakeRegistry
from .fakes import FakeCheck, FakeEngine, FakeHub, ManualTime

_HUB = "127.0.77.1"
YEAR = timedelta(days=365)


def context_in(folder: Path, *, years: int) -> ssl.SSLContext:
    """TLS with a certificate that is good for one year, so many years from now: `chain.pem`."""
    begins = datetime.now(UTC) + years * YEAR
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(begins)
        .not_valid_after(begins + YEAR)
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.IPAddress(ip_address(name)) for name in ("127.0.0.1", _HUB)]
            ),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    chain = folder / "chain.pem"
    chain.write_bytes(
        pem
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    chain.write_bytes(pem)
    return context


@contextmanager
def registry_in(folder: Path, *, years: int, stated: datetime | None) -> Iterator[FakeRegistry]:
    """A registry with such a certificate, and a clock of its own."""
    context = context_in(folder, years=years)
    with FakeRegistry(context=context, date=stated).listening() as registry:
        registry.accept(USERNAME, PASSWORD)
        yield registry


def _failure(registry: FakeRegistry, folder: Path) -> Failure:
    wanted = delivery(registry.address, ca=(folder / "chain.pem").read_text())
    with pytest.raises(Failure) as failed:
        asyncio.run(check_login(wanted, ANSWER_SECONDS, now=lambda: datetime.now(UTC)))
    assert registry.passwords_seen() == []
    return failed.value


@pytest.mark.parametrize("years", [-6, 4])
def test_a_clock_that_is_years_off_is_the_reason(tmp_path: Path, years: int) -> None:
    then = datetime.now(UTC) + years * YEAR + YEAR / 2
    with registry_in(tmp_path, years=years, stated=then) as registry:
        failure = _failure(registry, tmp_path)

    assert failure.reason is Reason.CLOCK_WRONG
    assert f"{then:%Y-%m-%d}" in failure.detail
    assert f"{datetime.now(UTC):%Y-}" in failure.detail
    assert "set the clock" in failure.detail


def test_a_certificate_that_expired_by_the_registrys_clock_too_is_not_trusted(
    tmp_path: Path,
) -> None:
    with registry_in(tmp_path, years=-3, stated=None) as registry:
        failure = _failure(registry, tmp_path)

    assert failure.reason is Reason.CERTIFICATE_NOT_TRUSTED
    assert "expired" in failure.detail


def test_a_hubs_certificate_that_is_not_valid_then_is_told_with_this_devices_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    asked = asyncio.Event()

    class HubFromAnotherTime(FakeHub):
        async def twin(self) -> Twin:
            asked.set()
            raise HubOutsideValidity("the hub's certificate is not valid then")

    caplog.set_level(logging.WARNING, logger="firstpull_agent")
    time, rng = ManualTime(), random.Random(1)  # noqa: S311
    logins = Logins(engine=FakeEngine(tmp_path), store=AppliedStore(tmp_path / "applied.json"))
    convergence = Convergence(logins, check=FakeCheck(), time=time, rng=rng)

    async def until_it_tells() -> None:
        service = Service(HubFromAnotherTime(desired()), convergence, time=time, rng=rng)
        task = asyncio.create_task(service.run())
        await asked.wait()
        service.stop()
        await task

    asyncio.run(until_it_tells())
    assert (
        "this device's clock says 2026-11-23 10:00 UTC: set it if that is wrong"
        in (caplog.messages[0])
    )


async def test_the_sdks_error_shows_that_the_certificate_is_not_valid_then(tmp_path: Path) -> None:
    async def nothing(*_: object) -> None: ...

    context = context_in(tmp_path, years=4)
    # The SDK dials the port of MQTT only, so this address is the test's own.
    server = await asyncio.start_server(nothing, _HUB, 8883, ssl=context)
    connection = f"HostName={_HUB};DeviceId=device-1;SharedAccessKey=c2VjcmV0LWtleQ=="
    ca = (tmp_path / "chain.pem").read_text()
    hub = connect_with_key(Secret(connection), HubSettings(ca=ca))
    try:
        with pytest.raises(HubOutsideValidity):
            await hub.twin()
    finally:
        await hub.close()
        server.close()


def test_a_clients_error_is_followed_to_its_origin() -> None:
    expired = ssl.SSLCertVerificationError("CERTIFICATE_VERIFY_FAILED")
    expired.verify_code = 10
    wrapped = ConnectionError("Could not connect")
    wrapped.__cause__ = OSError("TLS")
    wrapped.__cause__.__context__ = expired
    assert outside_validity(wrapped)

    expired.verify_code = 19  # self-signed
    assert not outside_validity(wrapped)
    assert not outside_validity(ConnectionError("refused"))
