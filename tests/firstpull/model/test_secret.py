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


@pytest.mark.parametrize(
    "serialise",
    [
        *(lambda s, p=protocol: pickle.dumps(s, p) for protocol in range(6)),
        json.dumps,
        hash,
    ],
)
def test_a_secret_is_neither_serialised_nor_hashed(serialise: Callable[[Secret], object]) -> None:
    with pytest.raises(TypeError) as raised:
        serialise(Secret(TEXT))
    assert TEXT not in str(raised.value)


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


def test_a_secret_is_its_text_and_not_empty() -> None:
    secret = Secret(TEXT)
    assert secret.reveal() == TEXT
    assert secret == Secret(TEXT)
    assert secret != Secret("another")
    assert secret != TEXT
    assert copy.copy(secret) is copy.deepcopy(secret) is secret
    with pytest.raises(ValueError, match="not empty"):
        Secret("")
