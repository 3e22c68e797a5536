"""The policy: what the template makes of its parameters is one that firstpull takes.

Where it is none, because nothing was named that devices could use, the template refuses it, and
does not leave that to an app which would not start.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace

from pydantic import ValidationError

from firstpull.config.policy import Policy
from tools.check_infra.bicep import BicepFile, Declaration, arguments, is_call, text
from tools.check_infra.findings import Finding
from tools.check_infra.values import NotKnown, Scope, Value

_VARIABLE = "wholePolicy"
_NEEDED = ("iotHubIds", "containerRegistryIds", "connectedRegistries")
_NOTHING: Mapping[str, Value] = {
    "iotHubIds": [],
    "containerRegistryIds": [],
    "connectedRegistries": [],
    "sites": [],
    "createDemo": False,
}


def check_policy(files: Mapping[str, BicepFile], main: Scope) -> Iterator[Finding]:
    """The policy that main.bicep puts together, read as the app reads it."""
    for problem in _problems(main):
        yield Finding("main.bicep", 1, f"the policy: {problem}")
    demo = replace(main, given={**main.given, **_NOTHING, "createDemo": True})
    for problem in _problems(demo):
        yield Finding("main.bicep", 1, f"the policy of a demo set: {problem}")
    if _refuses(files, demo):
        yield Finding("main.bicep", 1, "a demo set is refused")
    for name in _NEEDED:
        without = {**main.given, "sites": [], "createDemo": False, name: []}
        scope = replace(main, given=without)
        if list(_problems(scope)) and not _refuses(files, scope):
            message = f"without {name} an app is made that does not start"
            yield Finding("main.bicep", 1, message)


def _problems(main: Scope) -> Iterator[str]:
    try:
        Policy.model_validate_json(json.dumps(main.named(_VARIABLE)))
    except NotKnown as reason:
        yield f"{_VARIABLE} cannot be computed, for {reason}"
    except ValidationError as error:
        for problem in error.errors():
            place = ".".join(str(part) for part in problem["loc"])
            yield f"{place}: {problem['msg']}"


def _refuses(files: Mapping[str, BicepFile], main: Scope) -> bool:
    """Whether a module that is always made would be given less than it takes."""
    for module in main.file.of_kind("module"):
        if module.node.named_children[-1].type != "object":
            continue  # a loop, or a condition
        callee = main.callee(module, files)
        if callee is not None and any(
            _is_short(callee.given.get(parameter.name), parameter)
            for parameter in callee.file.of_kind("param")
        ):
            return True
    return False


def _is_short(value: Value, parameter: Declaration) -> bool:
    least = 0
    for decorator in parameter.decorators:
        call = decorator.named_children[0]
        if is_call(call, "minLength"):
            least = int(text(arguments(call)[0]))
    return isinstance(value, list | str) and len(value) < least
