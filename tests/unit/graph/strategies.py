"""Graphs at random: sound ones, with links, values and titles of every sort."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

CLASSES = st.sampled_from(["EmptyImage", "ImageInvert", "KSampler", "SaveImage", "Größe ✓"])
NAMES = st.sampled_from(["seed", "noise_seed", "image", "text", "steps", "model", "a.b", "größe"])
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-1, 2**64),
    st.floats(allow_nan=False),
    st.text(max_size=8),
    st.just({"a": []}),
)


@st.composite
def graphs(draw: st.DrawFn, max_size: int = 6) -> dict[str, dict[str, Any]]:
    """A graph without cycles: every link goes back."""
    graph: dict[str, dict[str, Any]] = {}
    ids = draw(st.lists(st.text(min_size=1, max_size=4), min_size=1, max_size=max_size, unique=True))
    for node_id in ids:
        links = st.tuples(st.sampled_from(list(graph)), st.integers(0, 3)).map(list) if graph else st.nothing()
        inputs = draw(st.dictionaries(NAMES, VALUES | links, max_size=4))
        graph[node_id] = {"class_type": draw(CLASSES), "inputs": inputs}
        if draw(st.booleans()):
            graph[node_id]["_meta"] = {"title": draw(st.text(max_size=5))}
    return graph
