"""Benchmarks: ``python -m bench``. Whatever is compared runs in one go, in turns, and is told as medians."""
