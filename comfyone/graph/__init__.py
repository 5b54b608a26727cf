"""Workflow graphs in API format, as plain data."""
