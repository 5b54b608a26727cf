"""Workflows that ComfyUI's editor saved, as graphs that a server runs, and what differs between two graphs."""

from comfyone.graph.convert.conversion import convert
from comfyone.graph.convert.difference import Change, Difference, diff
from comfyone.graph.convert.findings import Conversion, ConversionError, Note, Reason, Seed

__all__ = ["Change", "Conversion", "ConversionError", "Difference", "Note", "Reason", "Seed", "convert", "diff"]
