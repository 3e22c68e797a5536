from __future__ import annotations

import pytest

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
        ("devices/{id}", "/devices/a%25b", {"id": "a%b"}),
        ("devices/{id}", "/devices/a%2525b", {"id": "a%25b"}),
        ("devices/{id}", "/devices/a%2fb", {"id": "a%2Fb"}),
        ("devices/{id}", "/devices/%C3%A9", {"id": "é"}),
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


@pytest.mark.parametrize("template", ["a/{id?}", "a/{*r}", "a/{id:int}", "a/{", "a/x{r}"])
def test_a_template_that_is_not_served_is_refused(template: str) -> None:
    with pytest.raises(InvalidRoute):
        table(template)
