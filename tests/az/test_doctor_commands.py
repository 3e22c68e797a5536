"""The commands of the doctor, run by azure-cli itself."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from local_azure.commands.up import shell_environment
from tests.doctor.az_commands import Az
from tests.doctor.conftest import Clinic, clinic_on, ward_of_its_own
from tests.doctor.test_doctor import PLANTED, Planted

from .azure_cli import AzureCli
from .conftest import AZ

pytestmark = pytest.mark.timeout(600)

_NOT_OF_AZ = {
    "a rejected message",
    "a list that another writer replaced",
    "a policy that cannot be read",
    "a sweep that did not run",
    # azure-cli reaches the tables of Azure alone.
    "no table of records",
}


@dataclass
class RealAz(Az):
    """azure-cli in place of the requests that it would send."""

    cli: AzureCli = field(kw_only=True)

    async def run(self, words: Sequence[str]) -> None:
        """Run the command as it was printed."""
        await self.cli(*words[1:])


@pytest.fixture(scope="module")
async def clinic(
    _needs_az: None, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Clinic]:
    """firstpull on a local Azure of its own, and an operator who is logged in there."""
    folder = tmp_path_factory.mktemp("clinic")
    async with ward_of_its_own() as stack, clinic_on(stack, folder) as opened:
        environment = {
            **shell_environment(stack, opened.app, ca_file=opened.ca_file),
            "HOME": str(folder),
            "PATH": os.pathsep.join([str(AZ.parent), os.environ["PATH"]]),
            "AZURE_CONFIG_DIR": str(folder / "azure"),
        }
        cli = AzureCli(az=str(AZ), environment=environment)
        await cli.log_in(stack.arm_endpoint)
        opened.az = RealAz(stack, opened.http, Path(opened.ca_file), cli=cli)
        await opened.swept()
        yield opened


@pytest.mark.parametrize(
    "planted", [pytest.param(p, id=name) for name, p in PLANTED.items() if name not in _NOT_OF_AZ]
)
async def test_azure_cli_takes_the_printed_command_and_it_mends_what_was_planted(
    clinic: Clinic, planted: Planted
) -> None:
    await clinic.until_well()
    await planted.plant(clinic)
    await clinic.apply(await clinic.found(planted.finding))
    if planted.afterwards is not None:
        await planted.afterwards(clinic)
    await clinic.until_well()
