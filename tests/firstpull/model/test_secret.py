from __future__ import annotations

import copy
import json
import logging
import pickle
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass

import pytest

from firstpull.model.secret import Secret

TEXT = "=pw/open-sesame"


@dataclass(frozen=True)
class Holder:
    name: str
    secret: Secret


@pytest.mark.parametrize(
    "show",
    [
        repr,
        str,
        format,
        lambda s: f"{s}",
        lambda s: f"{s!r:>40}",
        lambda s: f"{s:>40}",
        lambda s: "%s %r" % (s, s),  # noqa: UP031 - logging formats this way
        lambda s: str([s]) + str({"password": s}),
        lambda s: repr(Holder("a", s)),
        lambda s: str(asdict(Holder("a", s))),
        lambda s: str(ValueError("refused", s)),
        lambda s: str(dir(s)) + str(getattr(s, "__dict__", "")),
    ],
)
def test_no_way_of_writing_a_secret_shows_it(show: Callable[[Secret], str]) -> None:
    assert TEXT not in show(Secret(TEXT))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_secret_is_not_pickled(protocol: int) -> None:
    with pytest.raises(TypeError) as raised:
        pickle.dumps(Secret(TEXT), protocol=protocol)
    assert TEXT not in str(raised.value)


def test_a_secret_is_not_written_as_json() -> None:
    with pytest.raises(TypeError) as raised:
        json.dumps({"password": Secret(TEXT)})
    assert TEXT not in str(raised.value)


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
def test_a_copy_is_the_same_secret(duplicate: Callable[[Secret], Secret]) -> None:
    secret = Secret(TEXT)
    assert duplicate(secret) is secret


def test_a_log_record_does_not_show_a_secret(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("test").info("%s %r", Secret(TEXT), Holder("a", Secret(TEXT)))
    assert "***" in caplog.text
    assert TEXT not in caplog.text


def test_a_traceback_with_local_variables_does_not_show_a_secret() -> None:
    def fails(password: Secret) -> None:
        holder = Holder("a", password)
        raise ValueError(holder.name)

    with pytest.raises(ValueError, match="a") as raised:
        fails(Secret(TEXT))
    shown = "".join(
        traceback.TracebackException.from_exception(raised.value, capture_locals=True).format()
    )
    assert "holder = " in shown
    assert TEXT not in shown


def test_only_reveal_yields_the_text() -> None:
    assert Secret(TEXT).reveal() == TEXT


def test_secrets_of_the_same_text_are_equal_and_no_others() -> None:
    assert Secret(TEXT) == Secret(TEXT)
    assert Secret(TEXT) != Secret("another")
    assert Secret(TEXT) != TEXT


def test_a_secret_is_no_key_of_a_dictionary() -> None:
    with pytest.raises(TypeError):
        hash(Secret(TEXT))


def test_a_secret_is_not_empty() -> None:
    with pytest.raises(ValueError, match="not empty"):
        Secret("")
