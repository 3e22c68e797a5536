"""`make verify-azure`: plan, ask, make, verify, report, remove."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from azure.core.credentials import TokenCredential
from azure.core.exceptions import AzureError
from azure.identity import DefaultAzureCredential

from tools.verify_azure.create import await_access, create
from tools.verify_azure.journal import FOLDER, Journal
from tools.verify_azure.plan import Run, describe
from tools.verify_azure.principal import Principal, principal_of
from tools.verify_azure.remove import remove, remove_leftovers
from tools.verify_azure.report import Report, Step
from tools.verify_azure.rest import ARM_AUDIENCE, Arm, Refused
from tools.verify_azure.watcher import watched

_VERIFIED = Path(__file__).parents[2] / "contract" / "verified"
_SUBSCRIPTIONS_VERSION = "2022-12-01"


def main() -> int:
    """0 if Azure is as this project says, 1 if it differs or a step failed, 2 if nothing ran."""
    arguments = _arguments()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    credential = DefaultAzureCredential()
    arm = Arm(credential, endpoint=arguments.arm_endpoint)
    try:
        principal = principal_of(credential)
        subscription = arguments.subscription or _only_subscription(arm)
        run = Run.new(endpoint=arm.endpoint, subscription=subscription, region=arguments.region)
        _say(describe(run, tenant=principal.tenant))
        remove_leftovers(arm, arguments.journals, subscription=subscription, say=_say)
    except (AzureError, Refused, LookupError) as error:
        _say(_explained(error))
        return 2
    if not (arguments.yes or _is_wanted()):
        _say("Nothing is made.")
        return 2
    try:
        report = _verify(arm, credential, principal, Journal.start(arguments.journals, run))
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    folder = arguments.output or (
        _VERIFIED if arm.endpoint == ARM_AUDIENCE else arguments.journals / "verified"
    )
    _, page = report.write(folder)
    _say(f"The results: {page}")
    return 0 if report.is_clean else 1


def _verify(
    arm: Arm, credential: TokenCredential, principal: Principal, journal: Journal
) -> Report:
    """The results. Whatever happens, everything of the run is removed, by a watcher if need be."""
    report = Report(run=journal.run)
    with journal.locked(wait=True), watched(journal):
        try:
            _run(arm, credential, principal, journal, report)
        except Exception as error:  # whatever it is, what was found so far is reported
            report.failure = _explained(error)
            _say(report.failure)
        finally:
            report.removal = _remove(arm, journal)
    return report


def _run(
    arm: Arm,
    credential: TokenCredential,
    principal: Principal,
    journal: Journal,
    report: Report,
) -> None:
    # firstpull and its SDKs take seconds to import: the plan is shown first.
    from tools.verify_azure.ask_contract import ask_contract  # noqa: PLC0415
    from tools.verify_azure.lifetime import run_lifetime  # noqa: PLC0415

    made = _timed(report, "making everything", lambda: create(arm, journal, principal, say=_say))
    _timed(
        report,
        "until the roles take effect",
        lambda: await_access(made, credential, arm, say=_say),
    )
    _say("Asking for every answer of the contract")
    try:
        report.contract = _timed(
            report,
            "the contract",
            lambda: asyncio.run(ask_contract(journal.run, made, arm, credential)),
        )
    except Exception as error:  # the device's life is verified all the same
        _say(_explained(error))
    report.lifetime = asyncio.run(run_lifetime(journal.run, made, arm, credential, say=_say))


def _timed[T](report: Report, title: str, work: Callable[[], T]) -> T:
    start, problems = time.monotonic(), list[str]()
    try:
        return work()
    except Exception as error:
        problems.append(_explained(error))
        raise
    finally:
        seconds = time.monotonic() - start
        report.preparation.append(Step(title=title, seconds=seconds, problems=tuple(problems)))


def _remove(arm: Arm, journal: Journal) -> Step:
    start = time.monotonic()
    problems = []
    try:
        remove(arm, journal, say=_say)
    except (AzureError, Refused) as error:
        problems.append(_explained(error))
        _say(f"{problems[0]}\nA process in the background tries again: {journal.path}")
    return Step(title="removal", seconds=time.monotonic() - start, problems=tuple(problems))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make verify-azure ARGS=…", description=__doc__)
    region = os.environ.get("AZURE_LOCATION")
    parser.add_argument(
        "--region",
        type=lambda text: text.replace(" ", "").lower(),
        default=region,
        required=region is None,
        help="where to make everything, westeurope for example; $AZURE_LOCATION by default",
    )
    parser.add_argument(
        "--subscription",
        default=os.environ.get("AZURE_SUBSCRIPTION_ID"),
        help="its id; $AZURE_SUBSCRIPTION_ID or the only one by default",
    )
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument(
        "--output",
        type=_folder,
        help="the folder of the results; contract/verified by default, on Azure",
    )
    parser.add_argument(
        "--journals", type=_folder, default=FOLDER, help="the folder of the notes on what to remove"
    )
    parser.set_defaults(arm_endpoint=os.environ.get("ARM_ENDPOINT", ARM_AUDIENCE))
    return parser.parse_args()


def _folder(text: str) -> Path:
    return Path(text).resolve()


def _only_subscription(arm: Arm) -> str:
    """The caller's subscription. Raises LookupError unless there is exactly one."""
    found = arm.list("/subscriptions", api_version=_SUBSCRIPTIONS_VERSION)
    if len(found) != 1:
        listed = "".join(f"\n  {one['subscriptionId']} {one['displayName']}" for one in found)
        raise LookupError(f"Name one of your {len(found)} subscriptions: --subscription ID{listed}")
    return str(found[0]["subscriptionId"])


def _is_wanted() -> bool:
    try:
        return input("Go on? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


def _explained(error: Exception) -> str:
    remedy = error.remedy if isinstance(error, Refused) else None
    if remedy:
        return f"{error}\n{remedy}"
    return str(error) or type(error).__name__


def _end(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - this is a command
