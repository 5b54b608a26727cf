"""A prompt as a graph: links, signatures of nodes, and the order in which they run."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, TypeGuard

from comfyone.emulator.codec import encode

Prompt = dict[str, dict[str, Any]]


def is_link(value: Any) -> TypeGuard[list[Any]]:
    """Whether an input is ``[node id, output number]``."""
    return (
        isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], (int, float))
    )


def links(node: Mapping[str, Any]) -> list[str]:
    """Ids of the nodes whose outputs a node takes."""
    return [value[0] for value in node["inputs"].values() if is_link(value)]


def signatures(prompt: Prompt, fingerprint: Callable[[str], str]) -> dict[str, bytes]:
    """For each node a hash of all that decides its result: class, inputs, what it loads, and all that is before it.

    Args:
        prompt: The graph.
        fingerprint: Gives what a node depends on besides its inputs, by node id.
    """
    done: dict[str, bytes] = {}

    def sign(node_id: str) -> bytes:
        if node_id not in done:
            done[node_id] = node_id.encode()  # a node in a cycle is like no other; it never runs anyway
            node = prompt[node_id]
            inputs = [[name, told(value)] for name, value in sorted(node.get("inputs", {}).items())]
            parts = [node["class_type"], fingerprint(node_id), inputs]
            done[node_id] = hashlib.blake2b(encode(parts), digest_size=16).digest()
        return done[node_id]

    def told(value: Any) -> Any:
        if not is_link(value):
            return value
        return ["LINK", sign(value[0]).hex() if value[0] in prompt else "", value[1]]

    return {node_id: sign(node_id) for node_id in prompt}


class Order:
    """Which node is next: the same choice as the original's, outputs as soon as they can be had."""

    def __init__(
        self, prompt: Prompt, outputs: list[str], is_cached: Callable[[str], bool], is_output: Callable[[str], bool]
    ) -> None:
        self._prompt, self._is_cached, self._is_output = prompt, is_cached, is_output
        self._waits_for: dict[str, set[str]] = {}
        self._blocks: dict[str, list[str]] = {}
        for node_id in outputs:
            self._add(node_id)

    def _add(self, first: str) -> None:
        found = [first]
        while found:
            node_id = found.pop()
            if node_id in self._waits_for:
                continue
            needed = [source for source in links(self._prompt[node_id]) if not self._is_cached(source)]
            self._waits_for[node_id] = set(needed)
            self._blocks.setdefault(node_id, [])
            for source in dict.fromkeys(needed):
                self._blocks.setdefault(source, []).append(node_id)
            found.extend(needed)

    def __bool__(self) -> bool:
        return bool(self._waits_for)

    def next(self) -> str | None:
        """The node to run now, None when what is left is a cycle."""
        ready = [node_id for node_id, sources in self._waits_for.items() if not sources]
        for distance in range(3):
            for node_id in ready:
                if self._leads_to_output(node_id, distance):
                    return node_id
        return ready[0] if ready else None

    def _leads_to_output(self, node_id: str, distance: int) -> bool:
        if distance == 0:
            return self._is_output(node_id)
        return any(self._leads_to_output(blocked, distance - 1) for blocked in self._blocks[node_id])

    def done(self, node_id: str) -> None:
        """It ran: others need not wait for it any more."""
        del self._waits_for[node_id]
        for blocked in self._blocks.pop(node_id):
            self._waits_for[blocked].discard(node_id)
