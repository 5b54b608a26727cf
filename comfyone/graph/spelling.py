"""Names and values in messages: what somebody probably meant, and what they gave."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from difflib import get_close_matches
from heapq import nlargest
from typing import Any

__all__ = ["Nearest", "Speller", "nearest", "or_nearest", "plain_path", "shown"]

_MOST = 3
_FARTHEST = 0.6
_CLOSELY = 300
_LONGEST = 500
"""Characters of a name; what is longer is a text, and comparing texts takes minutes."""


Nearest = Callable[[str, Iterable[Any]], tuple[str, ...]]
"""See `nearest`."""


def plain_path(name: str) -> str:
    """A path as it is written on every system: ComfyUI on Windows lists models with ``\\``."""
    return name.replace("\\", "/")


def nearest(name: str, known: Iterable[Any]) -> tuple[str, ...]:
    """The known names that are most like a name, the most likely first; nothing when none is near.

    The same path with other separators or in other letters comes first, then the same file in another folder.
    """
    names = [each for each in known if isinstance(each, str)]
    folded: dict[str, list[str]] = {}
    for each in names:
        folded.setdefault(_folded(each), []).append(each)
    wanted = _folded(name)
    last = wanted.rpartition("/")[2]
    found = folded.get(wanted, []) + [each for each in names if last and _folded(each).rpartition("/")[2] == last]
    names_alone = [each for each in folded if len(each) <= _LONGEST] if len(wanted) <= _LONGEST else []
    for near in get_close_matches(wanted, _alike(wanted, names_alone), n=_MOST, cutoff=_FARTHEST):
        found += folded[near]
    return tuple(dict.fromkeys(found))[:_MOST]


class Speller:
    """`nearest` for the first names of many, and nothing for the others: to look for thousands would take minutes."""

    def __init__(self, most: int = 20) -> None:
        self._left = most
        self._before: dict[str, tuple[str, ...]] = {}

    def once(self, name: str, known: Iterable[Any]) -> tuple[str, ...]:
        """The same for a name that came before, which counts as one; for one set of known names."""
        if name not in self._before:
            self._before[name] = self(name, known)
        return self._before[name]

    def __call__(self, name: str, known: Iterable[Any]) -> tuple[str, ...]:
        if self._left == 0:
            return ()
        self._left -= 1
        return nearest(name, known)


def or_nearest(suggestions: Iterable[Any]) -> str:
    """Suggestions as the end of a message; nothing when there are none."""
    texts = [repr(each) for each in suggestions]
    return f"; near it: {', '.join(texts)}" if texts else ""


def shown(value: Any, most: int = 80) -> str:
    """A value as messages show it, in so many characters at most."""
    try:
        text = repr(value)
    except RecursionError:
        return "a value that is nested too deeply to be shown"
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _alike(wanted: str, names: list[str]) -> list[str]:
    """The names that are worth a closer look: thousands of models would take seconds."""
    if len(names) <= _CLOSELY:
        return names
    pieces = {wanted[place : place + 3] for place in range(len(wanted) - 2)}
    return nlargest(_CLOSELY, names, key=lambda name: sum(piece in name for piece in pieces))


def _folded(name: str) -> str:
    return plain_path(name).casefold()
