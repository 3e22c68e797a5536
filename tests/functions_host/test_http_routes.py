from __future__ import annotations

import pytest

from local_azure.functions_host.http_address import decode_path, encode_path, read_query
from local_azure.functions_host.http_routes import InvalidRoute, Route, RouteTable


def table(*templates: str) -> RouteTable[str]:
    return RouteTable(Route(text, frozenset(), text) for text in templates)


@pytest.mark.parametrize(
    ("template", "path", "values"),
    [
        ("api/devices", "/API/Devices/", {}),
        ("api/devices", "/api/devices/a", None),
        ("devices/{id}", "/devices/", None),
        ("devices/{id}", "/devices/a/b", None),
        ("devices/{id}", "/devices//a", None),
        ("devices/{id}", "/devices/a//", None),
        ("devices/{id}", "//devices/a", None),
        ("devices/{id}", "/devices/a%25b", {"id": "a%25b"}),
    ],
)
def test_a_template_matches_as_in_asp_net_core(
    template: str, path: str, values: dict[str, str] | None
) -> None:
    assert table(template).find("GET", path) == (None if values is None else (template, values))


def test_the_most_literal_template_goes_first_whatever_the_order() -> None:
    found = table("d/{id}/{more}", "d/{id}/x", "d/mine/{more}").find("GET", "/d/mine/x")
    assert found == ("d/mine/{more}", {"more": "x"})


def test_a_route_for_other_methods_does_not_hide_a_less_literal_one() -> None:
    routes = RouteTable(
        [
            Route("d/mine", frozenset({"PUT"}), "literal"),
            Route("d/{id}", frozenset({"GET"}), "parameter"),
        ]
    )
    assert routes.find("get", "/d/mine") == ("parameter", {"id": "mine"})
    assert routes.find("DELETE", "/d/mine") is None


@pytest.mark.parametrize(
    ("raw", "decoded", "encoded"),
    [
        ("/a%25b", "/a%b", "/a%25b"),
        ("/a%2525b", "/a%25b", "/a%25b"),
        ("/a%2fb", "/a%2fb", "/a%2fb"),
        ("/a%252Fb", "/a%2Fb", "/a%2Fb"),
        ("/%C3%A9", "/é", "/%C3%A9"),
        ("/%C3%A9%C3%", "/é%C3%", "/%C3%A9%C3%25"),
        ("/%E2%82%AC%F0%9F%98%80%80", "/€😀%80", "/%E2%82%AC%F0%9F%98%80%80"),
        ("/a%0Ab", "/a\nb", "/a%0Ab"),
        ("/a+b;c=d", "/a+b;c=d", "/a+b;c=d"),
        ("/a\\b", "/a\\b", "/a%5Cb"),
        ("/a%zzb", "/a%zzb", "/a%25zzb"),
        ("/a/./b/../c", "/a/c", "/a/c"),
        ("/a/%2e%2E/b", "/b", "/b"),
        ("/a/b/..", "/a/", "/a/"),
        ("/a/b/.", "/a/b/", "/a/b/"),
        ("/../..", "/", "/"),
        ("/a/...", "/a/...", "/a/..."),
    ],
)
def test_a_path_is_decoded_once_then_its_dots_are_resolved(
    raw: str, decoded: str, encoded: str
) -> None:
    assert (decode_path(raw), encode_path(decoded)) == (decoded, encoded)


@pytest.mark.parametrize(
    ("text", "params"),
    [
        ("", {}),
        ("a=&b&=", {}),
        ("a=1&a=2", {"a": "1,2"}),
        ("a=&a=1&a=", {"a": "1"}),
        ("Name=1&name=2", {"name": "1,2"}),
        ("a=x+y%20z", {"a": "x y z"}),
        ("a=%zz&b=%FF", {"a": "%zz", "b": "%FF"}),
        ("%61=b%3Dc=d", {"a": "b=c=d"}),
    ],
)
def test_parameters_without_a_value_are_dropped_and_those_of_one_name_joined(
    text: str, params: dict[str, str]
) -> None:
    assert read_query(text) == params


@pytest.mark.parametrize("template", ["a/{id?}", "a/{*r}", "a/{id:int}", "a/{", "a/x{r}"])
def test_a_template_that_is_not_served_is_refused(template: str) -> None:
    with pytest.raises(InvalidRoute):
        table(template)
