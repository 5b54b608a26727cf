"""The node classes that the sandbox knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from comfyone.emulator.nodes import image, mask, output, primitive, sampling, trial
from comfyone.emulator.registry import Node, Registry
from comfyone.emulator.scenario import Scenario

__all__ = ["NODES", "nodes_of"]

NODES = Registry()
for _module in (image, mask, output, primitive, sampling, trial):
    NODES.update(_module.REGISTRY)


def nodes_of(scenario: Scenario) -> Mapping[str, Node]:
    """The node classes that the server has in this scenario."""
    if not scenario.lacking and scenario.checkpoints is None:
        return NODES
    nodes = {name: node for name, node in NODES.items() if name not in scenario.lacking}
    if scenario.checkpoints is not None and "CheckpointLoaderSimple" in nodes:
        loader = nodes["CheckpointLoaderSimple"]
        nodes[loader.name] = replace(loader, required={"ckpt_name": (scenario.checkpoints, {})})
    return nodes
