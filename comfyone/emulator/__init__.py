"""A ComfyUI look-alike for people without a GPU, and for tests. It shares no code with what it tests."""

from __future__ import annotations

from comfyone.emulator.records import Record, Records
from comfyone.emulator.scenario import Scenario, ScenarioError
from comfyone.emulator.server import PortTakenError, Sandbox, Server, serve

__all__ = ["PortTakenError", "Record", "Records", "Sandbox", "Scenario", "ScenarioError", "Server", "serve"]
