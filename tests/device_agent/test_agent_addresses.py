"""firstpull delivers exactly the addresses that the agent takes, each in one spelling."""

from __future__ import annotations

import pytest
from firstpull_agent.deliveries import Delivery, read_deliveries, without_default_port

from firstpull.model import address as app

from .deliveries import desired, entry

TAKEN = [
    *("site1.example.com", "site1.example.com:8000", "localhost:5000", "edge:80", "10.0.0.4"),
    *("10.0.0.4:8080", "10.0.0.4:65535", "[::1]", "[fd00::7]:8000", "edge.4x", "Edge.Example"),
]
REFUSED = [
    *("registry", "", " ", "x:0", "10.0.0.4:99999", "edge:", "edge:http", "10.0.0.4:80 "),
    *("edge:0443", "10.0.0.4:00080"),
    *("a..b", ".a", "a.", "a.b.", "-a.b", "a-.b", "a_b.c", "10..4:80", "10.0.0.400", "10.0.4"),
    *("https://10.0.0.4", "10.0.0.4/path", "user@10.0.0.4", "--config=x:80", "../../etc:80"),
    *("[::::]:80", "[10.0.0.4]", "::1", "a" * 64 + ".example.com", "b\u00fc.example", "a.b\n"),
]


@pytest.mark.parametrize("address", TAKEN)
def test_an_address_that_firstpull_delivers_is_taken(address: str) -> None:
    assert app.is_registry_address(address)
    assert isinstance(read_deliveries(desired(one=entry(address)))["one"], Delivery)


@pytest.mark.parametrize("address", REFUSED)
def test_an_address_that_the_agent_would_refuse_is_never_delivered(address: str) -> None:
    assert not app.is_registry_address(address)
    assert not isinstance(read_deliveries(desired(one=entry(address)))["one"], Delivery)


@pytest.mark.parametrize(
    ("address", "insecure", "same"),
    [
        ("site1.example.com:443", False, "site1.example.com"),
        ("10.0.0.4:443", False, "10.0.0.4"),
        ("[::1]:443", False, "[::1]"),
        ("site1.example.com:443", True, "site1.example.com:443"),
        ("site1.example.com:8443", False, "site1.example.com:8443"),
        ("site1:443", False, "site1:443"),  # site1 alone would be no registry
    ],
)
def test_both_leave_the_default_port_out(address: str, *, insecure: bool, same: str) -> None:
    assert app.without_default_port(address, insecure=insecure) == same
    assert without_default_port(address, insecure=insecure) == same
    read = read_deliveries(desired(one=entry(address, insecure=insecure)))["one"]
    assert isinstance(read, Delivery)
    assert read.address == same
