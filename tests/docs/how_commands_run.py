"""How each command of the documents is tried.

A command that no rule here knows fails a test. So does a rule that knows no command any more.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from tests.docs.shell_blocks import Command


class How(StrEnum):
    """Where a command is run."""

    LOCALLY = "on the local Azure of `make up`, in a shell for the whole page"
    BESIDE = "like LOCALLY, in the background until the page ends"
    UNTIL = "like LOCALLY, until it succeeds"
    REHEARSED = "with stand-ins for az and azd; azd's variables are checked against infra/"
    ELSEWHERE = "by another test, and `reason` is why"


@dataclass(frozen=True)
class Rule:
    """Commands of a page, by the beginning of their first line.

    `test` is the file that runs them elsewhere, and has the text `needle`. `statuses` are exit
    statuses that are right.
    """

    pages: str
    begins: str
    how: How
    reason: str = ""
    test: str = ""
    needle: str = ""
    statuses: tuple[int, ...] = (0,)

    def knows(self, command: Command) -> bool:
        """Whether this rule is for a command."""
        return bool(re.fullmatch(self.pages, command.document)) and bool(
            re.match(self.begins, command.text)
        )


def _elsewhere(pages: str, begins: str, *, reason: str, test: str, needle: str) -> Rule:
    return Rule(pages, begins, How.ELSEWHERE, reason, test, needle)


RULES = (
    _elsewhere(
        "docs/quickstart-by-hand.md",
        "",
        reason="it needs azure-cli",
        test="tests/az/test_by_hand_and_by_firstpull.py",
        needle='"quickstart-by-hand.md"',
    ),
    Rule("README.md", "make demo", How.LOCALLY),
    Rule("README.md", "make up", How.BESIDE),
    Rule("README.md", r"\./\.local/try", How.UNTIL),
    Rule("README.md", r"\. \.local/azure\.env", How.LOCALLY),
    Rule("README.md|docs/.*", r'curl -X POST "\$FIRSTPULL_URL', How.LOCALLY),
    Rule("docs/deploying.md", r'curl "\$FIRSTPULL_URL', How.LOCALLY),
    Rule("docs/deploying.md", r"export FIRSTPULL_DEVICE_CONNECTION", How.REHEARSED),
    Rule("docs/deploying.md", "firstpull-agent run", How.BESIDE),
    Rule("docs/deploying.md", "firstpull-agent pull", How.UNTIL),
    Rule("docs/deploying.md", r"azd? |HUB=|CLIENT_ID=|SCOPE=|role\(\)", How.REHEARSED),
    Rule("docs/(fleet-page|releasing|settings|verifying|triggers).md", "azd? ", How.REHEARSED),
    Rule("docs/fleet-page.md", "KEY=", How.REHEARSED),
    Rule("docs/doctor.md", "firstpull doctor", How.LOCALLY, statuses=(0, 1)),
    Rule("docs/iot-edge.md", "REMEDY=|printf|SECRET=|PASSWORD=|jq|az ", How.REHEARSED),
    _elsewhere(
        "docs/kubernetes.md",
        "docker build",
        reason="it needs a base image, and a registry to push to",
        test="tests/device_agent/test_agent_chart.py",
        needle="test_the_image_is_built_of_files_that_are_there",
    ),
    _elsewhere(
        "docs/kubernetes.md",
        "kubectl",
        reason="kubectl creates in protobuf, which the local cluster does not speak",
        test="tests/device_agent/test_agent_cluster_kubectl.py",
        needle="test_kubectl_installs_the_chart_and_sees_what_the_agent_keeps",
    ),
    _elsewhere(
        "docs/kubernetes.md",
        "helm install",
        reason="Helm is here as a library, which renders the chart",
        test="tests/device_agent/test_agent_chart.py",
        needle="test_helm_renders_what_the_tests_hold",
    ),
    Rule("docs/local-azure.md", r"export SSL_CERT_FILE|curl -X (POST|PUT) \$LOCAL", How.LOCALLY),
    _elsewhere(
        "docs/reliability.md",
        "make chaos",
        reason="it takes an hour",
        test="tests/chaos/test_chaos.py",
        needle='"two-workers"',
    ),
    Rule("docs/runbook.md", "export ", How.REHEARSED),
    Rule("docs/runbook.md", r"ask( -X POST.*approve|\(\)| )", How.LOCALLY, statuses=(0, 22)),
    Rule("docs/triggers.md", "BODY=|ID=|AT=|KEY=|SIGNATURE=", How.LOCALLY),
    _elsewhere(
        "docs/verifying.md",
        "make verify-azure",
        reason="it is for a subscription",
        test="tests/verify_azure/test_verify_azure.py",
        needle="test_a_whole_run_leaves_results_and_nothing_else",
    ),
    _elsewhere(
        "device_agent/README.md",
        r"python3 -m venv|/opt/firstpull-agent/bin/pip|install -m|systemctl|ln -s",
        reason="it changes the machine",
        test="tests/package/test_agent_wheel.py",
        needle="firstpull-agent.service",
    ),
    Rule("device_agent/README.md", "firstpull-agent (key|pull)", How.LOCALLY),
    _elsewhere(
        "cli/README.md",
        "pipx install",
        reason="it installs from a package index",
        test="tests/package/test_cli_wheel.py",
        needle="firstpull",
    ),
    Rule("cli/README.md", "firstpull doctor", How.LOCALLY, statuses=(0, 1)),
    Rule("cli/README.md", "firstpull devices .*--watch", How.BESIDE),
    Rule("cli/README.md", "firstpull ", How.LOCALLY),
)

ORDER = (
    *("README.md", "docs/deploying.md", "device_agent/README.md", "docs/http-api.md"),
    *("docs/runbook.md", "docs/triggers.md", "docs/doctor.md", "cli/README.md"),
    *("docs/iot-edge.md", "docs/local-azure.md"),
)
"""Pages with commands that are run. The agent's page goes on with the login of the second one; the
last page breaks the stack."""


def rule_of(command: Command) -> Rule:
    """The first rule that knows a command. Raises LookupError without one."""
    for rule in RULES:
        if rule.knows(command):
            return rule
    raise LookupError(f"no rule of tests/docs/how_commands_run.py knows {command}")
