"""The test session's own local Azure.

HTTP clients read the certificates that they trust when they are imported. So the authority is
made here, before anything imports one, and the whole session trusts it and nothing else.
"""

from __future__ import annotations

import os
import random
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from local_azure.kernel.addresses import free_loopback_address
from local_azure.kernel.certificates import CertificateAuthority

if TYPE_CHECKING:
    from local_azure.stack import Stack

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell's job in the background ignores it, and so would the commands that tests interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)

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


def pytest_addoption(parser: pytest.Parser) -> None:
    """How much of the slow tier runs."""
    parser.addoption("--slow-share", type=float, default=1.0, help="of the slow tests, 0 to 1")
    parser.addoption("--slow-seed", default="1", help="which of them; the same for the same seed")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is not in the share of slow tests; with several workers, group the others.

    What shares a stack or an app stays together: the endpoints share one app, but for modules with
    a group of their own; a file shares what it sets up, and the core's tests share nothing.
    """
    _keep_share(config, items)
    here = Path(__file__).parent
    for item in items:
        folder = item.path.relative_to(here).parts[0]
        if folder != "firstpull" and item.get_closest_marker("xdist_group") is None:
            group = folder if folder == "endpoints" else str(item.path)
            item.add_marker(pytest.mark.xdist_group(group))


def _keep_share(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the slow tests that are not in the share; which they are follows from the seed.

    The cases of `slow(whole=True)` build on one another, so that they are kept or left together.
    """
    share, seed = config.getoption("--slow-share"), config.getoption("--slow-seed")
    kept, left_out = list[pytest.Item](), list[pytest.Item]()
    for item in items:
        slow = item.get_closest_marker("slow")
        drawn = item.nodeid.partition("[")[0] if slow and slow.kwargs.get("whole") else item.nodeid
        is_kept = slow is None or random.Random(f"{seed} {drawn}").random() < share  # noqa: S311 - no secret
        (kept if is_kept else left_out).append(item)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = kept
