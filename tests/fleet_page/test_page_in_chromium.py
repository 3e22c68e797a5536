"""The fleet page in a browser: by mouse, keyboard and screen reader, live, and without a script."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Literal

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, FloatRect, Page, ViewportSize, async_playwright, expect

from firstpull.model.device_record import State
from firstpull.model.reasons import Reason
from local_azure.kernel.addresses import free_loopback_address
from tests.firstpull.harness import Harness
from tests.firstpull.records import changed

from . import fleets
from .served import KEY, Served, served

_CHROMIUM = shutil.which("chromium") or shutil.which("chromium-headless-shell")
_PICTURES = os.environ.get("FLEET_PICTURES")
"""A folder for pictures of what the tests see; `fleet-page.png` is that of the documents."""
_SIZE = ViewportSize(width=1280, height=900)

pytestmark = pytest.mark.skipif(_CHROMIUM is None, reason="chromium is not installed")


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        opened = await playwright.chromium.launch(
            executable_path=_CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        yield opened
        await opened.close()


@pytest.fixture(scope="module")
async def app() -> AsyncIterator[Served]:
    async with served(fleets.empty(), address=free_loopback_address()) as found:
        yield found


@pytest.fixture
async def page(browser: Browser) -> AsyncIterator[Page]:
    """A browser. What its console says fails the test, but for the 401 with the sign-in page."""
    context = await browser.new_context(viewport=_SIZE, reduced_motion="reduce")
    opened = await context.new_page()
    said: list[str] = []
    opened.on("console", lambda message: said.append(message.text))  # CSP, too
    opened.on("pageerror", lambda error: said.append(str(error)))
    yield opened
    await context.close()
    assert [text for text in said if "401" not in text] == []


async def open_fleet(page: Page, app: Served, fleet: Harness) -> None:
    """Serve a fleet, and sign in: with another storage, no session is left."""
    app.show(fleet)
    await page.goto(app.url)
    await page.get_by_label("Function key").fill(KEY)
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("button", name="Sign out")).to_be_visible()


async def look_at(page: Page, name: str) -> None:
    """Nothing is wrong for a screen reader, in light and in dark; a picture of each."""
    schemes: tuple[Literal["light", "dark"], ...] = ("light", "dark")
    for scheme in schemes:
        await page.emulate_media(color_scheme=scheme)
        found = await Axe().run(page)
        assert found.violations_count == 0, (name, scheme, found.generate_report())
        if _PICTURES:
            path = Path(_PICTURES, f"{name}-{scheme}.png")
            await page.screenshot(path=path, full_page=True)
    if _PICTURES and name == "busy":  # the one in the documents
        await page.emulate_media(color_scheme="light")
        clip = FloatRect(x=0, y=0, width=_SIZE["width"], height=1000)
        await page.screenshot(path=Path(_PICTURES, "fleet-page.png"), clip=clip, full_page=True)


@pytest.mark.parametrize(
    "fleet",
    [
        fleets.busy,
        *(pytest.param(f, marks=pytest.mark.slow) for f in (fleets.empty, fleets.failing)),
        pytest.param(fleets.large, marks=pytest.mark.slow),
    ],
)
async def test_nothing_hinders_a_screen_reader(
    page: Page, app: Served, fleet: Callable[[], Harness]
) -> None:
    await open_fleet(page, app, fleet())
    await expect(page.get_by_role("heading", level=1)).to_be_visible()
    await look_at(page, fleet.__name__)


@pytest.mark.slow
async def test_an_operator_finds_a_device_by_keyboard_and_reads_its_timeline(
    page: Page, app: Served
) -> None:
    await open_fleet(page, app, fleets.failing())
    await page.keyboard.press("Tab")
    await expect(page.get_by_text("Skip to the content")).to_be_focused()
    await page.get_by_label("Device id").focus()
    await page.keyboard.type("furnace-7")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", level=1)).to_contain_text("furnace-7")
    await expect(page.get_by_text("Give firstpull's identity its role")).to_be_visible()
    latest = page.get_by_role("region", name="Timeline").get_by_role("listitem").first
    await expect(latest).to_contain_text("blocked")
    await look_at(page, "device")
    await page.get_by_role("link", name="Overview").click()
    await page.get_by_role("link", name="Show 12 devices blocked: SiteFull").click()
    await expect(page.get_by_role("row")).to_have_count(1 + 12)
    await look_at(page, "devices")


async def test_the_page_follows_a_bulk_until_it_is_paused_and_nobody_loses_his_place(
    page: Page, app: Served
) -> None:
    fleet = fleets.busy()
    await open_fleet(page, app, fleet)
    ready = page.get_by_role("listitem").filter(has_text=re.compile("Ready"))
    await expect(ready).to_contain_text("260")
    await page.get_by_text("Figures of the last").click()
    link = page.get_by_role("region", name="Longest without").get_by_role("link").first
    await link.focus()

    make_ready(fleet, "gateway-")
    await look_again(page)
    await expect(ready).to_contain_text("460")
    await expect(page.get_by_role("table").filter(has_text="UTC")).to_be_visible()
    await expect(link).to_be_focused()

    await page.get_by_role("button", name="Pause updates").click()
    make_ready(fleet, "scanner-")
    asked = len(app.asked)
    await look_again(page)
    await page.get_by_role("button", name="Pause updates").click()  # which looks at once
    await expect(ready).to_contain_text("466")
    assert len(app.asked) == asked + 1


async def test_a_person_who_is_signed_out_is_asked_to_sign_in_again(
    page: Page, app: Served
) -> None:
    await open_fleet(page, app, fleets.empty())
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_label("Function key")).to_be_focused()
    await look_at(page, "sign-in")
    await page.get_by_label("Function key").fill("another")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("alert")).to_contain_text("not the value of a key")
    assert (await Axe().run(page)).violations_count == 0


async def test_without_a_script_the_page_is_the_same_and_is_updated_on_request(
    browser: Browser, app: Served
) -> None:
    context = await browser.new_context(viewport=_SIZE, java_script_enabled=False)
    page = await context.new_page()
    await open_fleet(page, app, fleets.busy())
    await expect(page.get_by_text("116 under way")).to_be_visible()
    await expect(page.get_by_role("button", name="Pause updates")).to_be_hidden()
    await page.get_by_role("link", name="Update every 10 seconds").click()
    assert page.url.endswith("?refresh=10")
    found = page.locator("meta[http-equiv=refresh]")
    assert await found.get_attribute("content") == "10"
    await page.get_by_role("link", name="Stop").click()
    await expect(page.get_by_role("link", name="Update every 10 seconds")).to_be_visible()
    await context.close()


async def look_again(page: Page) -> None:
    """What the script does when somebody comes back to the page."""
    await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


def make_ready(fleet: Harness, names: str) -> None:
    """Let the devices with such names have logged in, a while later."""
    cloud = fleet.cloud
    fleet.clock.advance_to(fleet.clock.now() + timedelta(minutes=1))
    for found in cloud.all_records():
        if found.device.device_id.startswith(names):
            ready = fleets.condition(State.READY, Reason.ACKNOWLEDGED, since=fleet.clock.now())
            fleets.store(cloud, changed(found, condition=ready))
