"""Bugs for real hosts: each is planted in its own process by an app that then is firstpull."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from firstpull.intake.onboard import Onboarding
from firstpull.intake.requests import OnboardingRequest
from firstpull.model.device_record import DeviceRecord
from firstpull.model.errors import Transient
from firstpull.model.transitions import new_record
from firstpull.reconcile import status
from local_azure.commands.function_hosts import APP_FOLDER

_KEPT = 2 * 1024 * 1024
_APP = """\
import runpy

from tests.chaos.planted_in_hosts import BUGS

BUGS[{bug!r}]()
app = runpy.run_path({app!r})["app"]
"""


def app_with(bug: str, folder: Path) -> Path:
    """A folder with the app that has this bug."""
    shutil.copy(APP_FOLDER / "host.json", folder)
    app = str(APP_FOLDER / "function_app.py")
    (folder / "function_app.py").write_text(_APP.format(bug=bug, app=app))
    return folder


def _replace(owner: Any, name: str, by: object) -> None:  # noqa: ANN401 - a class or a module
    if not hasattr(owner, name):
        raise AttributeError(name)
    setattr(owner, name, by)  # for good: the process ends with its bug


def _retry_at_once() -> None:
    def now(*_: object, now: datetime, **__: object) -> datetime:
        return now

    _replace(status, "retry_at", now)


def _keep_what_requests_need() -> None:
    ask, kept = Onboarding.ask, []

    async def keeping(onboarding: Onboarding, *args: Any, **more: Any) -> DeviceRecord:  # noqa: ANN401 - passed on
        kept.append(bytearray(_KEPT))
        return await ask(onboarding, *args, **more)

    _replace(Onboarding, "ask", keeping)


def _take_what_is_not_recorded() -> None:
    ask = Onboarding.ask

    async def taking(
        onboarding: Onboarding,
        request: OnboardingRequest,
        **more: Any,  # noqa: ANN401 - passed on
    ) -> DeviceRecord:
        try:
            return await ask(onboarding, request, **more)
        except Transient:
            intent = onboarding._intent(
                request, requested_by=more["requested_by"], at=onboarding.clock.now()
            )
            return new_record(onboarding._device_of(request), intent)

    _replace(Onboarding, "ask", taking)


BUGS: Mapping[str, Callable[[], None]] = {
    "what fails is tried again at once": _retry_at_once,
    "what a request needed stays in memory": _keep_what_requests_need,
    "a request is taken though no storage recorded it": _take_what_is_not_recorded,
}
