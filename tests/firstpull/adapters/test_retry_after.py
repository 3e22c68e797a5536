"""`Retry-After` of a service's answer, whatever it holds."""

from __future__ import annotations

from datetime import timedelta

import pytest

from firstpull.adapters.azure_errors import retry_after_seconds


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("17", 17),
        ("0.5", 0.5),
        ("-3", 0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        *((text, None) for text in ("", "soon", "nan", "inf", "-inf", "1e999")),
        ("Thu, 01 Jan 1970 00:00:00", None),
    ],
)
def test_a_wait_is_a_number_of_seconds_or_a_date(header: str, seconds: float | None) -> None:
    assert retry_after_seconds(header) == seconds


@pytest.mark.parametrize("header", ["1e300", "9" * 400, "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_a_wait_is_one_that_a_time_can_hold(header: str) -> None:
    seconds = retry_after_seconds(header)
    assert seconds is None or timedelta(seconds=seconds) <= timedelta(days=1)
