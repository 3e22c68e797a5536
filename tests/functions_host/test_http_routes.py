from __future__ import annotations

import pytest

from local_azure.functions_host.http_routes import (
    InvalidRoute,
    Route,
    RouteTable,
    RouteTemplate,
    split_path,
)

GUID = "8d2e5d4c-2f3a-4b64-8a37-1f5b7f2f1a11"


def table(*templates: str) -> RouteTable[str]:
    return RouteTable(Route(RouteTemplate.parse(text), frozenset(), text) for text in templates)


@pytest.mark.parametrize(
    ("template", "path", "values"),
    [
        ("api/devices", "/api/devices", {}),
        ("api/devices", "/API/Devices/", {}),
        ("api/devices", "/api/devices/a", None),
        ("devices/{id}", "/devices/a", {"id": "a"}),
        ("devices/{id}", "/devices/", None),
        ("devices/{id}", "/devices/a/b", None),
        ("devices/{id?}", "/devices", {}),
        ("devices/{id?}", "/devices/a", {"id": "a"}),
        ("files/{*rest}", "/files", {"rest": ""}),
        ("files/{*rest}", "/files/a/b", {"rest": "a/b"}),
        ("files/{name}.{ext}", "/files/a.b.txt", {"name": "a", "ext": "b.txt"}),
        ("n/{v:int}", "/n/-12", {"v": "-12"}),
        ("n/{v:int}", "/n/1x", None),
        ("n/{v:int}", "/n/2147483648", None),
        ("n/{v:long}", "/n/2147483648", {"v": "2147483648"}),
        ("n/{v:int:min(3)}", "/n/2", None),
        ("n/{v:range(3,5)}", "/n/5", {"v": "5"}),
        ("n/{v:range(3,5)}", "/n/x", None),
        ("n/{v:alpha:length(2)}", "/n/ab", {"v": "ab"}),
        ("n/{v:alpha:length(2)}", "/n/abc", None),
        ("n/{v:guid}", f"/n/{GUID}", {"v": GUID}),
        ("n/{v:guid}", "/n/8d2e5d4c", None),
        ("n/{v:bool?}", "/n", {}),
    ],
)
def test_a_template_matches_what_asp_net_core_matches(
    template: str, path: str, values: dict[str, str] | None
) -> None:
    assert RouteTemplate.parse(template).match(split_path(path)) == values


@pytest.mark.parametrize(
    ("raw", "value"),
    [("a%25b", "a%b"), ("a%2525b", "a%25b"), ("a%20b", "a b"), ("a%2Fb", "a%2Fb"), ("%C3%A9", "é")],
)
def test_a_route_value_is_decoded_once_and_an_encoded_slash_stays(raw: str, value: str) -> None:
    found = table("devices/{id}").find("GET", f"/devices/{raw}")
    assert found is not None
    assert found[1] == {"id": value}


@pytest.mark.parametrize(
    ("path", "template"),
    [
        ("/d/mine", "d/mine"),
        ("/d/7", "d/{id:int}"),
        ("/d/a.b", "d/{name}.{ext}"),
        ("/d/x", "d/{id}"),
        ("/d/x/y", "d/{*rest}"),
    ],
)
def test_the_most_literal_template_wins_whatever_the_order(path: str, template: str) -> None:
    routes = table("d/{*rest}", "d/{id}", "d/{id:int}", "d/{name}.{ext}", "d/mine")
    found = routes.find("GET", path)
    assert found is not None
    assert found[0] == template


def test_a_route_for_other_methods_does_not_hide_a_less_literal_one() -> None:
    routes = RouteTable(
        [
            Route(RouteTemplate.parse("d/mine"), frozenset({"PUT"}), "literal"),
            Route(RouteTemplate.parse("d/{id}"), frozenset({"GET"}), "parameter"),
        ]
    )
    assert routes.find("get", "/d/mine") == ("parameter", {"id": "mine"})
    assert routes.find("DELETE", "/d/mine") is None


@pytest.mark.parametrize("template", ["a/{id?}/b", "a/{*r}/b", "a/{id:regex(x)}", "a/{", "a/x{*r}"])
def test_a_template_that_cannot_be_served_is_refused(template: str) -> None:
    with pytest.raises(InvalidRoute):
        RouteTemplate.parse(template)
