"""The check of a credential at the registry, before any engine is given it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from firstpull_agent.deliveries import Delivery, read_deliveries
from firstpull_agent.http_client import ANSWER_SECONDS
from firstpull_agent.registry import check_login
from firstpull_agent.reports import Failure, Reason
from firstpull_agent.times import MachineTime

from .deliveries import PASSWORD, USERNAME, desired, entry_for
from .fake_registry import FakeRegistry


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry().listening() as registry:
        registry.accept(USERNAME, PASSWORD, "hello-world")
        yield registry


def _delivery(registry: FakeRegistry, **changes: object) -> Delivery:
    read = read_deliveries(desired(site1=entry_for(registry, **changes)))["site1"]
    assert isinstance(read, Delivery), read
    return read


def _check(delivery: Delivery) -> None:
    asyncio.run(check_login(delivery, ANSWER_SECONDS, now=MachineTime().now))


def _failure(delivery: Delivery) -> Failure:
    with pytest.raises(Failure) as failed:
        _check(delivery)
    assert PASSWORD not in str(failed.value)
    return failed.value


def test_an_accepted_credential_passes_by_way_of_a_token(registry: FakeRegistry) -> None:
    _check(_delivery(registry))

    ping, token, proof = registry.requests
    assert (ping.path, ping.authorization) == ("/v2/", None)
    assert token.query == {
        "service": [registry.address],
        "scope": ["repository:hello-world:pull"],
    }
    assert (proof.path, proof.authorization) == ("/v2/", "Bearer token-of-device-1")
    assert registry.passwords_seen() == [f"{USERNAME}:{PASSWORD}"]


def test_without_a_concrete_repository_no_scope_is_asked_for(registry: FakeRegistry) -> None:
    _check(_delivery(registry, repositories=["samples/*"]))

    assert "scope" not in registry.requests[1].query


def test_an_unknown_credential_is_not_accepted(registry: FakeRegistry) -> None:
    failure = _failure(_delivery(registry, username="other"))

    assert failure.reason is Reason.CREDENTIALS_NOT_ACCEPTED


def test_a_token_that_the_registry_then_refuses_is_not_accepted(registry: FakeRegistry) -> None:
    registry.answers["/token"] = 403

    assert _failure(_delivery(registry)).reason is Reason.CREDENTIALS_NOT_ACCEPTED


def test_a_certificate_of_an_unknown_authority_is_not_trusted(registry: FakeRegistry) -> None:
    failure = _failure(_delivery(registry, ca=None))

    assert failure.reason is Reason.CERTIFICATE_NOT_TRUSTED
    assert registry.passwords_seen() == []


def test_a_certificate_for_another_name_is_not_trusted(registry: FakeRegistry) -> None:
    elsewhere = registry.address.replace("127.0.0.1", "localhost")

    assert _failure(_delivery(registry, address=elsewhere)).reason is Reason.CERTIFICATE_NOT_TRUSTED


def test_a_closed_port_is_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = f"127.0.0.1:{closed.getsockname()[1]}"

    failure = _failure(_delivery(FakeRegistry(secure=False, address=address)))

    assert failure.reason is Reason.REGISTRY_UNREACHABLE
    assert address in failure.detail


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_registry_that_cannot_serve_now_is_unreachable(
    registry: FakeRegistry, status: int
) -> None:
    registry.answers["/token"] = status

    assert _failure(_delivery(registry)).reason is Reason.REGISTRY_UNREACHABLE


@pytest.mark.parametrize(("path", "status"), [("/v2/", 200), ("/v2/", 404), ("/token", 200)])
def test_what_does_not_speak_the_token_protocol_is_called_so(
    registry: FakeRegistry, path: str, status: int
) -> None:
    registry.answers[path] = status

    assert _failure(_delivery(registry)).reason is Reason.UNEXPECTED_ANSWER


def test_plain_http_is_spoken_only_where_the_delivery_says_so() -> None:
    with FakeRegistry(secure=False).listening() as registry:
        registry.accept(USERNAME, PASSWORD)
        _check(_delivery(registry))

        assert _failure(_delivery(registry, insecure=False)).reason is Reason.REGISTRY_UNREACHABLE


@pytest.mark.parametrize(
    "realm",
    [
        "https://elsewhere.example.com/token",
        "http://{address}/token",
        "https://{host}.example.com/token",
        "https://{host}@elsewhere.example.com/token",
        "/token",
        "https://[broken/token",
        "",
    ],
)
def test_the_password_is_not_sent_to_a_token_service_elsewhere(
    registry: FakeRegistry, realm: str
) -> None:
    registry.realm = realm.format(address=registry.address, host="127.0.0.1") or " "

    assert _failure(_delivery(registry)).reason is Reason.TOKEN_SERVICE_NOT_TRUSTED
    assert registry.passwords_seen() == []


def test_no_redirect_is_followed_with_the_password(registry: FakeRegistry) -> None:
    with FakeRegistry(secure=False).listening() as elsewhere:
        registry.answers["/token"] = 307
        registry.redirect = f"http://{elsewhere.address}/token"

        assert _failure(_delivery(registry)).reason is Reason.UNEXPECTED_ANSWER
        assert elsewhere.requests == []


def test_a_netrc_file_does_not_replace_the_credential(
    registry: FakeRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))

    _check(_delivery(registry))

    assert registry.requests[0].authorization is None
    assert registry.passwords_seen() == [f"{USERNAME}:{PASSWORD}"]


@pytest.mark.parametrize("direct", ["127.0.0.1", "10.0.0.0/8, 127.0.0.0/8", "*"])
def test_the_environments_proxy_is_used_but_for_what_no_proxy_names(
    monkeypatch: pytest.MonkeyPatch, direct: str
) -> None:
    with (
        FakeRegistry(secure=False).listening() as registry,
        FakeRegistry(secure=False).listening() as proxy,
    ):
        registry.accept(USERNAME, PASSWORD)
        monkeypatch.setenv("http_proxy", f"http://{proxy.address}")
        assert _failure(_delivery(registry)).reason is Reason.CREDENTIALS_NOT_ACCEPTED
        assert registry.requests == []

        monkeypatch.setenv("no_proxy", direct)
        _check(_delivery(registry))
        assert registry.passwords_seen() == [f"{USERNAME}:{PASSWORD}"]
