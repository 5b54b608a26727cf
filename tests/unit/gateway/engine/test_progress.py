"""Progress, by property: one percentage that never goes back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyone.gateway.domain.evidence import HintKind
from comfyone.gateway.domain.progress import Progress, Snapshot
from comfyone.gateway.drivers.messages import hint_of
from tests.unit.gateway.engine.test_messages import RECORDED

NODES = ["1", "2", "3", "4"]
some_nodes = st.frozensets(st.sampled_from([*NODES, "unknown"]))
fractions = st.dictionaries(st.sampled_from([*NODES, "unknown"]), st.floats(0, 3))
updates = st.lists(st.tuples(some_nodes, fractions), max_size=15)


@given(updates)
def test_the_percentage_never_goes_back_and_stays_below_a_hundred(
    told: list[tuple[frozenset[str], dict[str, float]]],
) -> None:
    progress, seen = Progress(NODES), [0.0]
    for done, shares in told:
        grown = progress.update(done, shares)
        assert grown == (progress.percent > seen[-1])
        seen.append(progress.percent)
    assert seen == sorted(seen)
    assert seen[-1] <= 99.0


def test_a_node_counts_for_its_share_of_the_graph() -> None:
    progress = Progress(NODES)
    progress.update({"1"}, {"2": 0.5})
    assert progress.percent == 37.5
    progress.update({"1", "2"}, {})
    assert progress.percent == 50.0


def test_a_node_that_restarts_its_count_takes_nothing_back() -> None:
    progress = Progress(NODES)
    progress.update(set(), {"1": 0.9})
    assert not progress.update(set(), {"1": 0.1})
    assert progress.percent == 22.5


def test_nodes_under_way_at_the_same_time_all_count() -> None:
    progress = Progress(NODES)
    progress.update(set(), {"1": 0.5})
    progress.update(set(), {"2": 0.5})
    assert progress.percent == 25.0
    progress.update({"1"}, {"2": 1.0})
    assert progress.percent == 50.0


def test_nodes_of_a_subgraph_count_and_those_that_the_server_makes_up_do_not() -> None:
    progress = Progress(["12", "12:5", "12:6", "9"])
    progress.update({"12:5", "9.0.0.1"}, {"12:6": 0.5, "9.0.0.2": 0.5})
    assert progress.percent == 37.5


def told(name: str, nodes: list[str]) -> list[float]:
    """How a percentage grew over a run that was recorded from a real server."""
    progress, percents = Progress(nodes), list[float]()
    for message in RECORDED[name]["messages"]:
        if hint := hint_of(message):
            progress.update(hint.done, hint.fractions)
            percents.append(round(progress.percent, 1))
    return percents


@pytest.mark.parametrize("name", ["run", "steps", "animated"])
def test_a_real_run_comes_to_99_in_the_end(name: str) -> None:
    nodes = set(RECORDED[name]["history"][name]["prompt"][2])
    percents = told(name, sorted(nodes))
    assert percents == sorted(percents)
    assert (percents[0], percents[-1]) == (0.0, 99.0)


def test_a_real_run_of_steps_grows_by_each_of_them() -> None:
    percents = told("steps", ["1", "2", "3"])
    assert sorted(set(percents)) == [0.0, 33.3, 44.4, 55.6, 66.7, 99.0]


def test_nodes_that_a_real_server_has_kept_count_from_the_start() -> None:
    _, cached, *_ = told("cached", ["1", "2", "3"])
    assert cached == 99.0


def test_a_node_that_is_shown_at_another_does_not_end_that_one() -> None:
    data = {"prompt_id": "p", "node": "2.0.0.1", "display_node": "2", "output": {}}
    hint = hint_of({"type": "executed", "data": data})
    assert hint is not None
    assert not Progress(["1", "2"]).update(hint.done, hint.fractions)


def test_a_graph_of_unknown_nodes_has_no_progress() -> None:
    assert not Progress(()).update({"1"}, {"2": 1.0})


def test_a_snapshot_of_a_real_run_tells_the_node_under_way_its_steps_and_how_many_nodes_are_done() -> None:
    progress, seen = Progress(["1", "2", "3"]), list[tuple[int, str | None, float | None, float | None]]()
    for message in RECORDED["steps"]["messages"]:
        if (hint := hint_of(message)) and hint.kind is HintKind.PROGRESS:
            progress.turn_to(hint.node_id, hint.step)
            progress.update(hint.done, hint.fractions)
            now = progress.snapshot()
            seen.append((now.nodes_done, now.node_id, now.step, now.steps))
    assert [entry for number, entry in enumerate(seen) if entry not in seen[:number]] == [
        (0, None, None, None),
        (0, "1", None, None),
        (1, "1", None, None),
        (1, "2", None, None),
        (1, "2", 1, 3),
        (1, "2", 2, 3),
        (1, "2", 3, 3),
        (2, "2", 3, 3),
        (2, "3", None, None),
        (3, "3", None, None),
    ]


def test_a_snapshot_counts_the_nodes_of_the_graph_alone() -> None:
    progress = Progress(["1", "2"])
    progress.update({"1", "1.0.0.2"}, {"2": 1.0})
    assert progress.snapshot() == Snapshot(99.0, 1, 2, None, None, None)
