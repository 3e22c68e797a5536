"""The model check finds a lock-out by each wrong rule; by ours, it finds none.

All states by our rule are explored in the slow tier; in the fast one all in which no time passes.
"""

from __future__ import annotations

import pytest

from tests.rotation.check import ENDED, LOCKED_OUT, explore
from tests.rotation.consumers import (
    ALL,
    EDGE_AGENT,
    EDGE_AGENT_PRIVATE,
    KUBERNETES,
    TWIN,
    Consumer,
)
from tests.rotation.model import Kind, Model
from tests.rotation.page import BY_KIND, PAGE, in_a_row, part_in, parts_of_result
from tests.rotation.rules import OURS, WRONG, Rule
from tests.rotation.state import Azure, Record, State, Synced, WriteKind

WITHOUT_TIME = frozenset({Kind.TIME})
EACH_KIND = pytest.mark.parametrize("to", ALL, ids=lambda to: to.says)


@EACH_KIND
def test_no_device_is_locked_out_and_each_is_in_order_in_the_end(to: Consumer) -> None:
    result = explore(Model.make(to=to, without=WITHOUT_TIME))
    assert result.fault is None, result.trace
    assert result.states > 800


def test_a_cluster_with_the_agent_has_the_states_of_a_twin() -> None:
    cluster = explore(Model.make(to=KUBERNETES, without=WITHOUT_TIME))
    assert cluster == explore(Model.make(to=TWIN, without=WITHOUT_TIME))


@pytest.mark.parametrize("to", [EDGE_AGENT, EDGE_AGENT_PRIVATE], ids=lambda to: to.says)
@pytest.mark.parametrize("rule", WRONG[:2], ids=lambda rule: rule.says)
def test_a_wrong_rule_has_the_same_fault_with_edge_agent(rule: Rule, to: Consumer) -> None:
    _, result = rule.explore(to=to)
    assert result.fault in (LOCKED_OUT, ENDED)
    assert in_a_row(result) in part_in(PAGE.read_text(), BY_KIND), "run: make model"


@pytest.mark.parametrize("rule", WRONG, ids=lambda rule: rule.says)
def test_a_wrong_rule_locks_a_device_out_as_the_page_shows(rule: Rule) -> None:
    model, result = rule.explore()
    assert result.fault == LOCKED_OUT
    ((name, text),) = parts_of_result(rule, model, result)
    assert part_in(PAGE.read_text(), name) == text, "run: make model"


@pytest.mark.parametrize(("to", "ends"), [(EDGE_AGENT, True), (EDGE_AGENT_PRIVATE, False)])
def test_a_password_of_a_pass_that_died_at_its_delivery_stays_where_an_old_one_does(
    to: Consumer, *, ends: bool
) -> None:
    before, after = 0, 1
    state = State(
        ages=(1, 0),
        azure=Azure(
            slots=(after, before),
            stored=frozenset({(before, True), (after, True)}),
            entry=after,
            answer=after,
            confirmed=True,
        ),
        known=frozenset({before, after}),
        synced=Synced(2),
        record=Record(delivered=after, requested=(False, True)),
    )
    begun = Model.make(to=to).worker.begin(state)
    writes = begun[0].writes if isinstance(begun, tuple) and not isinstance(begun, Record) else ()
    assert (WriteKind.KEEP in {write.kind for write in writes}) == ends


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_page_has_what_the_model_check_finds_by_our_rule() -> None:
    model, result = OURS.explore()
    assert result.fault is None, result.trace
    ((name, text),) = parts_of_result(OURS, model, result)
    assert part_in(PAGE.read_text(), name) == text, "run: make model"
