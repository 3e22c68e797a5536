"""The fleet page as HTML: who gets it, what is in it, and what never is."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from html.parser import HTMLParser

import pytest

from firstpull.config.settings import read_caller_settings
from firstpull.model.device_record import State
from firstpull.model.reasons import Reason
from functions.endpoints import SESSION_COOKIE

from . import fleets
from .served import KEY, Served, page_on, served

_MOST_BYTES = 200_000


@pytest.fixture(scope="module")
async def app() -> AsyncIterator[Served]:
    async with served(fleets.failing()) as found:
        yield found


class Tags(HTMLParser):
    """All tags of a page with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def cookie_of(set_cookie: str) -> dict[str, str]:
    """The header of a browser that has got a cookie."""
    return {"Cookie": set_cookie.partition(";")[0]}


async def test_a_key_in_the_form_opens_a_session_which_holds_no_key(app: Served) -> None:
    asked = await app.call(headers={})
    assert asked.status_code == 401
    assert "FIRSTPULL_NAMED_KEYS" in asked.get_body().decode()

    entered = await app.call("POST", body=f"key={KEY.replace(' ', '+')}".encode(), headers={})
    assert (entered.status_code, entered.headers["Location"]) == (303, "/api/fleet")
    cookie = entered.headers["Set-Cookie"]
    assert re.fullmatch(
        rf"{SESSION_COOKIE}=[0-9a-f-]+; Max-Age=43200; Path=/api/fleet; HttpOnly; "
        "SameSite=Strict; Secure",
        cookie,
    )
    assert (await app.call(headers=cookie_of(cookie))).status_code == 200

    left = await app.call("POST", headers=cookie_of(cookie))
    assert left.status_code == 303
    assert left.headers["Set-Cookie"].startswith(f"{SESSION_COOKIE}=; Max-Age=0; ")


async def test_a_session_ends_by_itself_with_its_key_and_when_it_is_changed(app: Served) -> None:
    entered = await app.call("POST", body=f"key={KEY}".encode(), headers={})
    mine = cookie_of(entered.headers["Set-Cookie"])
    name, _, session = mine["Cookie"].partition("=")
    until, _, seal = session.partition("-")
    for other in (f"{int(until) + 1}-{seal}", f"{until}-{seal[::-1]}", "", "x", f"{until}-"):
        assert (await app.call(headers={"Cookie": f"{name}={other}"})).status_code == 401
    with page_on(FIRSTPULL_NAMED_KEYS="[]"):
        assert (await app.call(headers=mine)).status_code == 401
    assert (await app.call(headers=mine)).status_code == 200
    clock = app.harness.clock
    clock.advance_to(clock.now() + timedelta(hours=12))
    assert (await app.call(headers=mine)).status_code == 401


@pytest.mark.parametrize(
    "body", [b"key=another", b"key=", b"key=+", b"key=%FF", b"key=x&" + 99 * b"a=b&", b"x=1&key=y"]
)
async def test_another_text_opens_nothing(app: Served, body: bytes) -> None:
    answer = await app.call("POST", body=body, headers={})
    assert answer.status_code == 401
    assert "Set-Cookie" not in answer.headers


async def test_behind_entra_the_principal_is_enough_and_its_role_counts(
    app: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEBSITE_AUTH_ENABLED", "True")
    asked = await app.call(headers={})
    assert asked.status_code == 401
    assert "/.auth/login/aad?post_login_redirect_uri=/api/fleet" in asked.get_body().decode()
    claims = base64.b64encode(json.dumps({"claims": [{"typ": "roles", "val": "Reader"}]}).encode())
    ann = {"x-ms-client-principal-name": "ann@example.com"}
    reader = {**ann, "x-ms-client-principal": claims.decode()}
    page = await app.call(headers=reader)
    assert page.status_code == 200
    assert "ann@example.com" in page.get_body().decode()
    assert "Sign out" not in page.get_body().decode()
    monkeypatch.setenv("FIRSTPULL_ROLES_REQUIRED", "true")
    read_caller_settings.cache_clear()
    assert (await app.call(headers=reader)).status_code == 200
    assert (await app.call(headers=ann)).status_code == 403
    assert (await app.call("POST", body=f"key={KEY}".encode(), headers={})).status_code == 401
    monkeypatch.undo()
    read_caller_settings.cache_clear()


async def test_headers_of_a_principal_open_nothing_where_the_platform_does_not_set_them(
    app: Served,
) -> None:
    asked = await app.call(headers={"x-ms-client-principal-name": "ann@example.com"})
    assert asked.status_code == 401


async def test_without_its_setting_there_is_no_page(app: Served) -> None:
    with page_on(FIRSTPULL_FLEET_PAGE="false"):
        for method, name in (
            *(("GET", "fleet_page"), ("POST", "fleet_sign_in")),
            *(("GET", "fleet_style"), ("GET", "fleet_script")),
        ):
            answer = await app.call(method, name=name)
            assert (answer.status_code, answer.mimetype) == (403, "application/problem+json")


async def test_nothing_is_inline_and_nothing_comes_from_elsewhere(app: Served) -> None:
    answer = await app.call()
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["Cache-Control"] == "no-store"
    for query in ("", "deviceId=furnace-7", "state=Blocked"):
        for tag, attributes in Tags(await app.html(query)).tags:
            assert tag != "style"
            assert not {"style", "onclick", "onload"} & attributes.keys()
            if tag == "script":
                assert (attributes["src"] or "").startswith("/api/fleet/page.js?v=")
            for name in ("href", "src", "action"):
                assert (attributes.get(name) or "/").startswith(("/api/fleet", "#", "/"))
    for name in ("fleet_style", "fleet_script"):
        found = await app.call(name=name, headers={})
        assert "immutable" in found.headers["Cache-Control"]


async def test_what_callers_and_devices_wrote_is_text_on_the_page(app: Served) -> None:
    nasty = "<script>alert(1)</script>"
    fleet = fleets.Fleet(sites=1, registries_of_a_site=1)
    fleet.in_state(
        ["a'(1)"],
        State.BLOCKED,
        Reason.NOT_ALLOWED,
        at=fleet.refs[0],
        minutes=5,
        message=nasty,
        remedy=f'"{nasty}',
    )
    before, harness = app.harness, fleet.store()
    app.show(harness)
    try:
        for query in ("", "deviceId=a%27(1)", "state=Blocked"):
            page = await app.html(query)
            assert "<script>alert" not in page
            assert "a&#39;(1)" in page
        assert "deviceId=a%27%281%29" in await app.html("state=Blocked")
    finally:
        app.show(before)


async def test_one_devices_timeline_has_its_latest_event_first_and_its_remedy(app: Served) -> None:
    page = await app.html("deviceId=furnace-7")
    assert page.index("blocked</strong>") < page.index("intent recorded</strong>")
    assert "Give firstpull&#39;s identity its role" in page
    missing = await app.call("GET", "deviceId=nobody")
    assert (missing.status_code, missing.mimetype) == (404, "text/html")
    wrong = await app.call("GET", "state=Ready&after=x")
    assert wrong.status_code == 400


async def test_the_devices_of_a_state_are_in_pages(app: Served) -> None:
    page = await app.html("state=Ready")
    assert page.count("deviceId=") == 100
    (after,) = re.findall(r'after=([^&"]+)', page)
    following = await app.html(f"state=Ready&after={after}")
    devices = [set(re.findall(r"deviceId=([\w-]+)&", text)) for text in (page, following)]
    assert not devices[0] & devices[1]


@pytest.mark.slow
async def test_the_page_of_2500_devices_is_small(app: Served) -> None:
    before = app.harness
    app.show(fleets.large())
    try:
        page = await app.html()
        assert "<strong>2,500</strong>" in page
        assert len(page.encode()) < _MOST_BYTES
    finally:
        app.show(before)


async def test_the_page_does_not_grow_with_the_fleet_but_by_its_connected_registries(
    app: Served,
) -> None:
    sizes = []
    before = app.harness
    for count in (100, 400):
        fleet = fleets.Fleet(sites=4, registries_of_a_site=4)
        fleet.ready(count)
        app.show(fleet.store())
        sizes.append(len(await app.html()))
    app.show(before)
    assert abs(sizes[1] - sizes[0]) < 1000
    assert max(sizes) + 34 * 600 < _MOST_BYTES  # with 50 connected registries
