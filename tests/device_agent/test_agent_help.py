"""`--help`: what a person reads who has never seen the agent."""

from __future__ import annotations

import argparse

import pytest
from firstpull_agent.cli import _parser, main


def _commands() -> dict[str, argparse.ArgumentParser]:
    parser = _parser()
    found = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    return {"": parser, **found.choices}


@pytest.mark.parametrize("command", sorted(_commands()))
def test_every_option_is_explained_and_every_command_has_an_example(command: str) -> None:
    parser = _commands()[command]
    explained = [a for a in parser._actions if not isinstance(a, argparse._SubParsersAction)]
    assert [action.dest for action in explained if not action.help] == []
    assert parser.description
    assert "firstpull-agent " in (parser.epilog or "")


def test_a_placeholder_says_what_is_expected() -> None:
    unclear = {
        option
        for parser in _commands().values()
        for action in parser._actions
        for option in action.option_strings
        if action.nargs != 0 and not action.metavar and not action.choices
    }
    assert unclear == set()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--help"], "follow the device twin, until stopped"),
        (["run", "--help"], "--connection-string-file FILE"),
        (["pull", "--help"], "firstpull-agent pull hello-world:v1"),
    ],
)
def test_help_is_printed(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 0
    assert said in capsys.readouterr().out
