"""Proof that the engine tells the truth under faults: ``python -m faults``."""
