"""The fleet page: what an operator sees in a browser, and how he signs in.

The host takes a function key from a header or the address only. A browser sends no header of its
own, and an address stays in histories and logs. So the host lets all in, and the page asks by
itself: behind Entra for the principal that the platform has signed in, else for a function key
that has a name, by a form.
"""

from __future__ import annotations

import ipaddress
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

import azure.functions as func

from firstpull.config.roles import Role, allows, named_key
from firstpull.config.settings import read_caller_settings
from firstpull.fleet.listing import Order
from firstpull.intake.page_sessions import LASTS
from firstpull.model.device_record import State
from firstpull.model.errors import FirstpullError, NotAllowed
from firstpull.model.ports import Query
from firstpull.model.reasons import Reason
from functions.answers.devices import Device, DeviceList
from functions.callers import Caller, RoleMissing, is_behind_entra, known_caller
from functions.endpoints import ROUTE_PREFIX, SESSION_COOKIE
from functions.http_answers import problem_of
from functions.http_endpoint import http_endpoint
from functions.http_requests import parameters
from functions.pages import render
from functions.runtime import runtime

blueprint = func.Blueprint()

_ADDRESS = f"{ROUTE_PREFIX}/fleet"
_ENTRA = f"/.auth/login/aad?post_login_redirect_uri={_ADDRESS}"
_PAGE = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_ASSET = {
    "Cache-Control": "public, max-age=31536000, immutable",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
_DEVICES_OF_A_PAGE = 100


@blueprint.function_name("fleet_page")
@blueprint.route("fleet", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
@http_endpoint
async def fleet_page(req: func.HttpRequest) -> func.HttpResponse:
    """GET /api/fleet: the fleet, some of its devices, or one device, for a person."""
    _check_served()
    viewer, by_session = await _viewer(req)
    if viewer is None:
        return _sign_in(is_wrong=False)
    frame = render.Frame(
        deployment=runtime.deployment,
        viewer=viewer.name,
        can_sign_out=by_session,
        now=(await runtime.application()).ports.clock.now(),
        refresh=parameters(req).get("refresh"),
    )
    try:
        if not allows(viewer.roles, Role.READER):
            raise RoleMissing(viewer, Role.READER)
        return _html(200, await _content(req, frame))
    except FirstpullError as error:
        problem = problem_of(error)
        return _html(problem.status, render.problem_page(problem, frame))


@blueprint.function_name("fleet_sign_in")
@blueprint.route("fleet", methods=["POST"], auth_level=func.AuthLevel.ANONYMOUS)
@http_endpoint
async def fleet_sign_in(req: func.HttpRequest) -> func.HttpResponse:
    """POST /api/fleet: sign in with the key in the form, or out without one."""
    _check_served()
    form = parse_qs(req.get_body().decode(errors="replace"), keep_blank_values=True)
    if "key" not in form:
        return _to_the_page(_cookie(req, "", seconds=0))
    key = named_key(form["key"][0].strip(), read_caller_settings().named_keys)
    if key is None or is_behind_entra():
        return _sign_in(is_wrong=True)
    session = await (await runtime.application()).page_sessions.begin(key)
    return _to_the_page(_cookie(req, session, seconds=int(LASTS.total_seconds())))


@blueprint.function_name("fleet_style")
@blueprint.route("fleet/page.css", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
@http_endpoint
async def fleet_style(req: func.HttpRequest) -> func.HttpResponse:  # noqa: ARG001 - the binding's name
    """GET /api/fleet/page.css: the page's style sheet, for everybody."""
    return _asset("page.css", "text/css")


@blueprint.function_name("fleet_script")
@blueprint.route("fleet/page.js", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
@http_endpoint
async def fleet_script(req: func.HttpRequest) -> func.HttpResponse:  # noqa: ARG001 - the binding's name
    """GET /api/fleet/page.js: the page's script, for everybody."""
    return _asset("page.js", "text/javascript")


async def _content(req: func.HttpRequest, frame: render.Frame) -> str:
    application, given = await runtime.application(), parameters(req)
    if "deviceId" in given:
        device = application.onboarding.device(given["deviceId"], hub=given.get("hub"))
        record = await application.onboarding.find(device)
        return render.device_page(Device.of(record), frame)
    filters = {name: text for name, text in given.items() if name in ("state", "reason")}
    if not filters:
        return render.overview_page(await application.overviews.overview(), frame)
    query = Query(
        states=frozenset({State(filters["state"])} if "state" in filters else ()),
        reason=Reason(filters["reason"]) if "reason" in filters else None,
        tombstones=filters.get("state") == State.REVOKED,
        after=given.get("after"),
        size=_DEVICES_OF_A_PAGE,
    )
    page = await application.listing.page(query, Order.SINCE)
    return render.devices_page(DeviceList.of(page), filters, frame)


def _check_served() -> None:
    if not read_caller_settings().fleet_page:
        raise NotAllowed("The fleet page is off. FIRSTPULL_FLEET_PAGE turns it on.")


async def _viewer(req: func.HttpRequest) -> tuple[Caller | None, bool]:
    """Who looks, None before he has signed in; and whether by a session of the page's own."""
    settings = read_caller_settings()
    session = _session(req)
    if session is not None and not is_behind_entra():
        sessions = (await runtime.application()).page_sessions
        key = await sessions.key_of(session, settings.named_keys)
        if key is not None:
            return Caller.of_key(key), True
    return known_caller(req, settings), False  # a program can send its key in a header


def _session(req: func.HttpRequest) -> str | None:
    try:
        found = SimpleCookie(req.headers.get("cookie", "")).get(SESSION_COOKIE)
    except CookieError:
        return None
    return found.value if found is not None else None


def _cookie(req: func.HttpRequest, value: str, *, seconds: int) -> str:
    """The cookie goes to the page alone, from the page alone, and is out of a script's reach."""
    secure = "" if _is_on_this_machine(req.url) else "; Secure"
    kept = f"Max-Age={seconds}; Path={_ADDRESS}; HttpOnly; SameSite=Strict{secure}"
    return f"{SESSION_COOKIE}={value}; {kept}"


def _is_on_this_machine(url: str) -> bool:
    """Whether the address is plain HTTP of a loopback address, as `make up` has it."""
    parts = urlsplit(url)
    try:
        return parts.scheme == "http" and ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return False


def _sign_in(*, is_wrong: bool) -> func.HttpResponse:
    page = render.sign_in_page(
        is_wrong=is_wrong,
        has_keys=bool(read_caller_settings().named_keys),
        entra=_ENTRA if is_behind_entra() else None,
    )
    return _html(401, page)


def _to_the_page(cookie: str) -> func.HttpResponse:
    headers = {**_PAGE, "Location": _ADDRESS, "Set-Cookie": cookie}
    return func.HttpResponse(status_code=303, headers=headers, mimetype="text/html")


def _asset(name: str, media_type: str) -> func.HttpResponse:
    _check_served()
    return func.HttpResponse(render.asset(name), headers=_ASSET, mimetype=media_type)


def _html(status: int, text: str) -> func.HttpResponse:
    return func.HttpResponse(text, status_code=status, headers=_PAGE, mimetype="text/html")
