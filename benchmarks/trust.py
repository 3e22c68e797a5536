"""A certificate authority that the benchmark's own process trusts."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from local_azure.kernel.addresses import free_loopback_address
from local_azure.kernel.certificates import CertificateAuthority

type Trust = tuple[str, CertificateAuthority, str]
"""An address, its authority, and the authority's file."""


@contextmanager
def trusted_authority() -> Iterator[Trust]:
    """An address, its authority, and the authority's file.

    HTTP clients read what they trust when they are imported, so that comes after this.
    """
    address = free_loopback_address()
    authority = CertificateAuthority(addresses=(address,))
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        trusted = Path(folder, "ca.pem")
        trusted.write_text(authority.ca_pem)
        os.environ |= dict.fromkeys(("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"), str(trusted))
        yield address, authority, str(trusted)
