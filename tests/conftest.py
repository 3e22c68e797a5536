"""The test session's own local Azure.

HTTP clients read the certificates that they trust when they are imported. So the authority is
made here, before anything imports one, and the whole session trusts it and nothing else.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from local_azure.kernel.addresses import free_loopback_address
from local_azure.kernel.certificates import CertificateAuthority

if TYPE_CHECKING:
    from local_azure.stack import Stack

_ADDRESS = free_loopback_address()
_SECOND_ADDRESS = free_loopback_address()
"""For a stack beside the session's, whose time a test moves."""
_AUTHORITY = CertificateAuthority(addresses=(_ADDRESS, _SECOND_ADDRESS, "127.0.0.1", "localhost"))
_FOLDER = tempfile.TemporaryDirectory(prefix="firstpull-tests-")
CA_FILE = Path(_FOLDER.name, "ca.pem")
CA_FILE.write_text(_AUTHORITY.ca_pem)
for _name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
    os.environ[_name] = str(CA_FILE)


@pytest.fixture(scope="session")
def ca_file() -> Path:
    """The authority that the whole session trusts."""
    return CA_FILE


@pytest.fixture(scope="session")
def authority() -> CertificateAuthority:
    """Its certificates name the loopback addresses."""
    return _AUTHORITY


@pytest.fixture(scope="session")
async def stack() -> AsyncIterator[Stack]:
    """The session's local Azure, without throttling.

    Its connected registries, plant01 to plant31, sync on request only. Its operations end at once,
    or with SLOW_AZURE=1 after up to 11 s.
    """
    from local_azure.container_registry.backends import SyncOverride  # noqa: PLC0415 - see above
    from local_azure.container_registry.models import AT_ONCE, SLOW  # noqa: PLC0415 - see above
    from local_azure.stack import ConnectedRegistryOptions, StackOptions, start_stack  # noqa: PLC0415 - see above

    options = StackOptions(
        seed=20261123,
        connected_registries=tuple(
            ConnectedRegistryOptions(name=f"plant{number:02}", sync_every_seconds=None)
            for number in range(1, 32)
        ),
        operation_lengths=SLOW if os.environ.get("SLOW_AZURE") else AT_ONCE,
        throttled=False,
    )
    async with start_stack(options, address=_ADDRESS, certificates=_AUTHORITY) as started:
        for site in started.sites.all():
            site.backend.override = SyncOverride(every_seconds=None)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("IDENTITY_ENDPOINT", started.identity_endpoint)
            # An app in this process says which identity it has, or gets none.
            patch.setenv("IDENTITY_HEADER", started.identity_header_of_both)
            started.vault.settings.moving_seconds = (0.0, 0.0)
            yield started


@pytest.fixture(autouse=True)
def _no_faults_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "stack" in request.fixturenames:
        stack: Stack = request.getfixturevalue("stack")
        stack.kernel.faults.clear()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With several workers: what shares a stack or an app stays together.

    The endpoints share one app, a file shares what it sets up, and the core's tests share nothing.
    """
    here = Path(__file__).parent
    for item in items:
        folder = item.path.relative_to(here).parts[0]
        if folder != "firstpull":
            group = folder if folder == "endpoints" else str(item.path)
            item.add_marker(pytest.mark.xdist_group(group))
