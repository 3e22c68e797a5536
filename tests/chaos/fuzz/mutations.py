"""Changed JSON documents, for Hypothesis."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import strategies as st

ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**53, 2**63, -(2**63), 10**30, 0.5, 1e308),
    *("", " ", "x", "null", "\0", "\u2028", "\ud800", "é" * 300, "a" * 70_000, "../..", "%s"),
    *("0001-01-01T00:00:00Z", "9999-12-31T23:59:59.9999999-14:00", "2026-02-30T00:00:00Z"),
    *("+99999-01-01T00:00:00Z", "P2D", "1e400", "NaN", "//", "https://[", "https://a/secrets/"),
    *("/subscriptions/0000", "/SUBSCRIPTIONS/0/resourceGroups//providers", "a/b/c/d/e/f/g/h/i/j"),
    *([], {}, [[]], [{}], {"": {}}, [None], ["a"] * 600, {"a": {"a": {"a": {"a": 1}}}}),
)


@st.composite
def changed(draw: st.DrawFn, samples: tuple[Any, ...]) -> bytes:
    """A sample with up to three changes, as JSON; now and then in base64 or with broken bytes."""
    document = copy.deepcopy(draw(st.sampled_from(samples)))
    document = json.loads(document) if isinstance(document, bytes) else document
    for _ in range(draw(st.integers(1, 3))):
        document = _change(draw, document)
    text = json.dumps(document).encode(errors="surrogatepass")
    if draw(st.integers(0, 9)) == 0:
        place = draw(st.integers(0, len(text)))
        text = text[:place] + draw(st.binary(max_size=8)) + text[place + draw(st.integers(0, 3)) :]
    return text


def _change(draw: st.DrawFn, document: Any) -> Any:  # noqa: ANN401 - JSON
    places = list(_places(document, ()))
    place = draw(st.sampled_from(places))
    if not place:
        return copy.deepcopy(draw(st.sampled_from([document, [document], *ODD])))
    parent = document
    for step in place[:-1]:
        parent = parent[step]
    how = draw(st.integers(0, 5))
    if how == 0 and isinstance(parent, dict):
        del parent[place[-1]]
    elif how == 1 and isinstance(parent, dict):
        parent[draw(st.sampled_from(["", "id", "addedLater", "$x", "a.b"]))] = draw(_values())
    elif how == 2 and isinstance(parent, list):
        parent += parent * draw(st.integers(1, 3))
    else:
        parent[place[-1]] = draw(_values())
    return document


def _values() -> st.SearchStrategy[Any]:
    scalars = st.one_of(
        st.sampled_from(ODD),
        st.text(max_size=40),
        st.integers(),
        st.floats(allow_nan=False),
        st.datetimes().map(lambda at: at.isoformat() + "Z"),
    )
    return st.one_of(scalars, st.lists(scalars, max_size=3)).map(copy.deepcopy)


def _places(document: Any, here: tuple[Any, ...]) -> Any:  # noqa: ANN401 - JSON
    yield here
    if isinstance(document, dict):
        for name, value in document.items():
            yield from _places(value, (*here, name))
    elif isinstance(document, list):
        for number, value in enumerate(document[:20]):
            yield from _places(value, (*here, number))
