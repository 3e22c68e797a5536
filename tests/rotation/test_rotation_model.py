"""The model check finds a lock-out by each wrong rule; by ours, it finds none.

All states by our rule are explored in the slow tier; in the fast one all in which no time passes.
"""

from __future__ import annotations

import pytest

from tests.rotation.check import LOCKED_OUT, explore
from tests.rotation.model import Kind, Model
from tests.rotation.page import PAGE, part_in, parts_of_result
from tests.rotation.rules import OURS, WRONG, Rule

WITHOUT_TIME = frozenset({Kind.TIME})


def test_no_device_is_locked_out_and_each_is_in_order_in_the_end() -> None:
    result = explore(Model.make(steps=2, without=WITHOUT_TIME))
    assert result.fault is None, result.trace
    assert result.states > 1_000


@pytest.mark.parametrize("rule", WRONG, ids=lambda rule: rule.says)
def test_a_wrong_rule_locks_a_device_out_as_the_page_shows(rule: Rule) -> None:
    model, result = rule.explore()
    assert result.fault == LOCKED_OUT
    ((name, text),) = parts_of_result(rule, model, result)
    assert part_in(PAGE.read_text(), name) == text, "run: make model"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_page_has_what_the_model_check_finds_by_our_rule() -> None:
    model, result = OURS.explore()
    assert result.fault is None, result.trace
    ((name, text),) = parts_of_result(OURS, model, result)
    assert part_in(PAGE.read_text(), name) == text, "run: make model"
