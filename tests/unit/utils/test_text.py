"""Times and sizes as people read them."""

from __future__ import annotations

import pytest

from comfyone.utils.text import format_bytes, format_duration


@pytest.mark.seed("S2-83")
@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0s"),
        (12.34, "12.3s"),
        (59.94, "59.9s"),
        (59.97, "1m 0s"),
        (60, "1m 0s"),
        (150, "2m 30s"),
        (3599.9, "59m 59s"),
        (3900, "1h 5m"),
        (90_000, "25h 0m"),
        (-150, "-2m 30s"),
    ],
)
def test_a_time_is_told_in_its_two_largest_units(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.seed("S2-83")
@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0.00 B"),
        (1023, "1023.00 B"),
        (1024, "1.00 KB"),
        (1_572_864, "1.50 MB"),
        (1_048_575, "1.00 MB"),
        (5 * 1024**3, "5.00 GB"),
        (1024**4, "1.00 TB"),
        (1024**6, "1024.00 PB"),
    ],
)
def test_a_size_is_told_in_the_largest_unit_that_it_fills(size: int, text: str) -> None:
    assert format_bytes(size) == text
