"""Bytes by their content hash."""
