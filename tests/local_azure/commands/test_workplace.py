"""The folder where a stack leaves what a shell needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from local_azure.commands.workplace import Workplace, WorkplaceInUse


def test_a_second_stack_is_kept_from_the_files_of_the_first_and_told_where_else(
    tmp_path: Path,
) -> None:
    first, second = Workplace(tmp_path / "here"), Workplace(tmp_path / "there")
    with first.occupied(), second.occupied():
        another = Workplace(first.folder).occupied()
        with pytest.raises(WorkplaceInUse, match="--workplace"):
            another.__enter__()
    with first.occupied():
        pass


def test_what_a_shell_needs_is_there_for_as_long_as_it_is_used(tmp_path: Path) -> None:
    workplace = Workplace(tmp_path / "here")
    with workplace.environment({"KEY": "a b"}) as file:
        assert file.read_text() == "export KEY='a b'\n"
        assert file.stat().st_mode & 0o077 == 0
    assert not file.exists()
