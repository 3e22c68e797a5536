"""The folder of a running stack."""

from __future__ import annotations

from pathlib import Path

import pytest

from local_azure.commands.workplace import Workplace, WorkplaceInUse


def test_a_second_stack_needs_another_folder(
    tmp_path: Path,
) -> None:
    first, second = Workplace(tmp_path / "here"), Workplace(tmp_path / "there")
    with first.lock(), second.lock():
        another = Workplace(first.folder).lock()
        with pytest.raises(WorkplaceInUse, match="--workplace"):
            another.__enter__()
    with first.lock():
        pass


def test_the_environment_of_a_shell_is_removed_on_exit(tmp_path: Path) -> None:
    workplace = Workplace(tmp_path / "here")
    with workplace.environment({"KEY": "a b"}) as file:
        assert file.read_text() == "export KEY='a b'\n"
        assert file.stat().st_mode & 0o077 == 0
    assert not file.exists()
