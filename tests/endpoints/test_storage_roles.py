"""The app is held to its roles on this storage, too, although no other app uses it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from local_azure.kernel.access import Access
from local_azure.stack.identities import STORAGE_ID
from local_azure.stack.options import PRINCIPAL_ID

from .endpoints import Endpoints


@pytest.fixture
def access(endpoints: Endpoints) -> Iterator[Access]:
    """The app's roles, which are as before in the end."""
    access = endpoints.stack.kernel.access
    before = access.assignments(PRINCIPAL_ID)
    yield access
    access.assign(PRINCIPAL_ID, before)


@pytest.mark.parametrize(
    ("role", "path", "service"),
    [
        ("Storage Table Data Contributor", "devices", "tableServices"),
        ("Storage Queue Data Contributor", "poison", "queueServices"),
        ("Storage Blob Data Owner", "sweep", "blobServices"),
    ],
)
async def test_without_a_role_on_its_storage_the_app_is_refused(
    endpoints: Endpoints, access: Access, role: str, path: str, service: str
) -> None:
    roles = access.assignments(PRINCIPAL_ID)
    assert (await endpoints.call("GET", path)).status < 500
    access.assign(PRINCIPAL_ID, [each for each in roles if each.role != role])
    access.decisions.clear()
    assert (await endpoints.call("GET", path)).status == 500
    refused = {decision.scope for decision in access.decisions if not decision.allowed}
    assert {scope for scope in refused if scope.startswith(f"{STORAGE_ID}/{service}/")}
    access.assign(PRINCIPAL_ID, roles)
    assert (await endpoints.call("GET", path)).status < 500
