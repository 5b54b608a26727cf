"""Progress, by property: one percentage that never goes back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from comfyone.gateway.domain.progress import Progress

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
    progress.update((), {"1": 0.9})
    assert not progress.update((), {"1": 0.1})
    assert progress.percent == 22.5


def test_a_graph_of_unknown_nodes_has_no_progress() -> None:
    assert not Progress(()).update({"1"}, {"2": 1.0})
