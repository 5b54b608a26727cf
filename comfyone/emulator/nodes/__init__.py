"""The node classes that the sandbox knows."""

from __future__ import annotations

from comfyone.emulator.nodes import image, mask, output, primitive, sampling, trial
from comfyone.emulator.registry import Registry

__all__ = ["NODES"]

NODES = Registry()
for _module in (image, mask, output, primitive, sampling, trial):
    NODES.update(_module.REGISTRY)
