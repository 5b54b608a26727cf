"""What a request for a file asks for beyond the file."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyone.gateway.dialects.conditions import MAX_PARTS, Version, parts_of

VERSION = Version("abc", 784111777.5)
DATE = "Sun, 06 Nov 1994 08:49:37 GMT"


@pytest.mark.parametrize(
    ("header", "parts"),
    [
        (None, None),
        ("", None),
        ("bytes=0-0", [(0, 1)]),
        ("bytes=0-99", [(0, 100)]),
        ("bytes=10-", [(10, 100)]),
        ("bytes=-7", [(93, 100)]),
        ("bytes=-700", [(0, 100)]),
        ("bytes=90-1000", [(90, 100)]),
        ("BYTES = 1-2", [(1, 3)]),
        ("bytes=0-1, 10-11", [(0, 2), (10, 12)]),
        ("bytes=10-11,0-1", [(0, 2), (10, 12)]),
        ("bytes=0-10,5-20", [(0, 21)]),
        ("bytes=0-10,11-20", [(0, 21)]),
        ("bytes=0-1,,5-6,", [(0, 2), (5, 7)]),
        ("bytes=0-1,500-", [(0, 2)]),
        ("bytes=100-", []),
        ("bytes=-0", []),
        ("bytes=500-600,900-", []),
        ("bytes=", None),
        ("bytes=-", None),
        ("bytes=5-1", None),
        ("bytes=a-b", None),
        ("bytes=+1-2", None),
        ("bytes=1_0-20", None),
        ("bytes=٣-٤", None),
        ("bytes=0x1-2", None),
        ("bytes 0-1", None),
        ("items=0-1", None),
        (f"bytes=0-{'9' * 5000}", None),
        ("bytes=" + ",".join(f"{n}-{n}" for n in range(0, 2 * MAX_PARTS + 2, 2)), None),
    ],
)
def test_a_range_header_asks_for_these_parts_of_a_hundred_bytes(
    header: str | None, parts: list[tuple[int, int]] | None
) -> None:
    assert parts_of(header, 100) == parts


@given(st.lists(st.tuples(st.integers(0, 120), st.integers(0, 120)), min_size=1, max_size=MAX_PARTS))
def test_parts_hold_exactly_the_bytes_that_were_asked_for(ranges: list[tuple[int, int]]) -> None:
    ordered = [(min(pair), max(pair)) for pair in ranges]
    parts = parts_of("bytes=" + ",".join(f"{first}-{last}" for first, last in ordered), 100)
    assert parts is not None
    wanted = {byte for first, last in ordered for byte in range(first, last + 1) if byte < 100}
    assert {byte for start, end in parts for byte in range(start, end)} == wanted
    assert all(one[1] < other[0] for one, other in pairwise(parts))


@given(st.text(max_size=40), st.integers(0, 50))
def test_no_range_header_makes_it_fail(text: str, size: int) -> None:
    for start, end in parts_of(f"bytes={text}", size) or ():
        assert 0 <= start < end <= size


@pytest.mark.parametrize(
    ("header", "known"),
    [
        ('"abc"', True),
        ('W/"abc"', True),
        ("*", True),
        (" * ", True),
        ('"x", "abc"', True),
        ('"x",W/"abc" , "y"', True),
        ('"a,b", "abc"', True),
        ('"abcd"', False),
        ('"xabc"', False),
        ('"x\\"abc"', False),
        ("abc", False),
        ('""abc""', False),
        ('"*"', False),
        ("", False),
        ('"x" "abc"', False),
    ],
)
def test_a_client_has_a_file_when_it_names_its_very_tag(header: str, known: bool) -> None:
    assert VERSION.is_known({"if-none-match": header}) is known


@pytest.mark.parametrize(
    ("date", "known"),
    [
        (DATE, True),
        ("Sun, 06 Nov 1994 08:49:38 GMT", True),
        ("Sun, 06 Nov 1994 08:49:36 GMT", False),
        ("yesterday", False),
        ("Sun, 06 Nov 99999 08:49:36 GMT", False),
        ("", False),
    ],
)
def test_a_date_counts_where_no_tag_came(date: str, known: bool) -> None:
    assert VERSION.is_known({"if-modified-since": date}) is known
    assert not VERSION.is_known({"if-modified-since": date, "if-none-match": '"other"'})


@pytest.mark.parametrize(
    ("condition", "continued"),
    [
        (None, True),
        ('"abc"', True),
        (DATE, True),
        ('W/"abc"', False),
        ('"other"', False),
        ("Sun, 06 Nov 1994 08:49:38 GMT", False),
    ],
)
def test_parts_are_given_only_to_who_has_the_rest_of_the_same_file(condition: str | None, continued: bool) -> None:
    assert VERSION.is_continued({} if condition is None else {"if-range": condition}) is continued
