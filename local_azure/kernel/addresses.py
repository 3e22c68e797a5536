"""Loopback addresses, one per stack, so that several stacks can run side by side."""

from __future__ import annotations

import random
import socket

DEVICE_PORT = 8883
"""The port of MQTT, which device SDKs cannot change."""
_ATTEMPTS = 50


class NoAddressFree(Exception):
    """No loopback address with a free DEVICE_PORT was found."""


def free_loopback_address() -> str:
    """A random address of 127.0.0.0/8 with a free DEVICE_PORT."""
    chance = random.SystemRandom()
    for _ in range(_ATTEMPTS):
        address = f"127.{chance.randint(1, 254)}.{chance.randint(0, 254)}.{chance.randint(1, 254)}"
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, DEVICE_PORT))
            except OSError:
                continue
        return address
    raise NoAddressFree(
        f"Port {DEVICE_PORT}, which the SDKs of devices cannot change, is in use on every "
        "loopback address, as by an MQTT broker. Find its process and end it: "
        f"ss -ltnp 'sport = :{DEVICE_PORT}'"
    )
