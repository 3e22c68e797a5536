"""The fleet page through the host and Microsoft's worker: a browser signs in with a named key."""

from __future__ import annotations

import aiohttp

from .endpoints import Endpoints


async def test_a_browser_signs_in_by_the_form_and_sees_the_fleet(endpoints: Endpoints) -> None:
    jar = aiohttp.CookieJar(unsafe=True)  # the host has an address and no name
    async with aiohttp.ClientSession(cookie_jar=jar) as browser:
        async with browser.get(endpoints.app.page) as answer:
            assert answer.status == 401
            assert "form" in await answer.text()
        form = {"key": endpoints.app.page_key}
        async with browser.post(endpoints.app.page, data=form) as answer:
            assert (answer.status, str(answer.url)) == (200, endpoints.app.page)
            assert "Devices by state" in await answer.text()
            assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        async with browser.get(f"{endpoints.app.page}/page.css") as answer:
            assert answer.headers["Content-Type"] == "text/css; charset=utf-8"
        (cookie,) = jar
        assert endpoints.app.page_key not in cookie.value


async def test_the_key_of_the_page_is_no_function_key(endpoints: Endpoints) -> None:
    headers = {"x-functions-key": endpoints.app.page_key}
    assert (await endpoints.call("GET", "fleet.json", headers=headers)).status == 401
    assert (await endpoints.call("GET", "fleet", headers=headers)).status == 200
    by_function_key = {"x-functions-key": endpoints.app.key}
    assert (await endpoints.call("GET", "fleet", headers=by_function_key)).status == 401
