"""Small helpers around workflows, pictures and addresses."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from copy import deepcopy
from functools import wraps
from io import BytesIO
from pathlib import Path
from typing import Any, ParamSpec, TypeVar
from urllib.parse import ParseResult, urlparse

import requests
from PIL import Image

from comfyone.errors import InvalidArgumentError
from comfyone.transport.endpoint import Endpoint

__all__ = [
    "async_retry_fn",
    "check_connection",
    "full_url",
    "image_to_buffer",
    "parse_url",
    "randomize_noise_seeds",
    "read_json",
    "replace_dict_values",
    "replace_noise_seeds",
    "retry_fn",
]

P = ParamSpec("P")
T = TypeVar("T")
_SEEDS = ("seed", "noise_seed")
_LARGEST_SEED = 2**64 - 1


def read_json(path: str | Path) -> dict[str, Any]:
    """Read a JSON object from a file.

    Raises:
        FileNotFoundError: There is no such file.
        InvalidArgumentError: It holds no JSON, or something else than an object.
    """
    place = Path(path)
    try:
        value = json.loads(place.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise InvalidArgumentError(
            f"{place.name}: no JSON ({error})", hint="it may be only half written; export it again"
        ) from error
    if not isinstance(value, dict):
        raise InvalidArgumentError(f"{place.name}: holds a {type(value).__name__}, where an object is wanted")
    return value


def replace_dict_values(
    dictionary: dict[str, Any],
    key: str | Sequence[str],
    new_value: Any,
    start_at_root: bool = False,
    copy: bool = False,
) -> dict[str, Any]:
    """Give a key this value wherever it occurs.

    Args:
        dictionary: What to change: itself, unless ``copy``.
        key: A key, or keys below each other such as ``"inputs.seed"``.
        new_value: The value.
        start_at_root: Only where the first key is at the top.
        copy: Leave the dictionary as it is, and change a copy.
    """
    path = key.split(".") if isinstance(key, str) else list(key)
    changed = deepcopy(dictionary) if copy else dictionary
    _replace(changed, path, lambda _: new_value, start_at_root)
    return changed


def replace_noise_seeds(
    workflow: Mapping[str, Any], seed: int, noise_keys: Sequence[str] | None = None
) -> dict[str, Any]:
    """A copy of a graph in which every seed has this value; one that comes from another node stays so."""
    return _seeded(workflow, lambda: seed, noise_keys)


def randomize_noise_seeds(workflow: Mapping[str, Any], noise_keys: Sequence[str] | None = None) -> dict[str, Any]:
    """A copy of a graph in which every seed is random. The copy tells which it became."""
    return _seeded(workflow, lambda: random.randint(0, _LARGEST_SEED), noise_keys)  # noqa: S311  nothing secret


def _seeded(workflow: Mapping[str, Any], make: Callable[[], int], keys: Sequence[str] | None) -> dict[str, Any]:
    changed = deepcopy(dict(workflow))
    for key in _SEEDS if keys is None else keys:
        # a list is a link to the node that the seed comes from
        _replace(changed, ["inputs", key], lambda old: old if isinstance(old, list) else make(), False)
    return changed


def _replace(value: Any, path: Sequence[str], make: Callable[[Any], Any], here_only: bool) -> None:
    if not isinstance(value, dict):
        return
    for key, item in value.items():
        if key == path[0] and len(path) == 1:
            value[key] = make(item)
        elif key == path[0]:
            _replace(item, path[1:], make, True)
        elif not here_only:
            _replace(item, path, make, False)


def image_to_buffer(image: Image.Image, format: str = "jpeg") -> BytesIO:
    """A picture as a file in memory, open at its beginning."""
    buffer = BytesIO()
    opaque = format.lower() in ("jpeg", "jpg") and image.mode not in ("RGB", "L", "CMYK")
    (image.convert("RGB") if opaque else image).save(buffer, format=format)
    buffer.seek(0)
    return buffer


def retry_fn(fn: Callable[P, T], retries: int = 3, delay: float = 0.5, backoff: float = 2) -> Callable[P, T]:
    """The function, called until it succeeds, at most so often; its last error gets through.

    Args:
        delay: Seconds before the second call; each further wait is ``backoff`` times the one before.
    """

    @wraps(fn)
    def called(*args: P.args, **kwargs: P.kwargs) -> T:
        for attempt in range(retries - 1):
            try:
                return fn(*args, **kwargs)
            except Exception:  # noqa: BLE001  which errors pass, only the caller could know
                time.sleep(delay * backoff**attempt)
        return fn(*args, **kwargs)

    return called


def async_retry_fn(
    fn: Callable[P, Awaitable[T]], retries: int = 3, delay: float = 0.5, backoff: float = 2
) -> Callable[P, Awaitable[T]]:
    """`retry_fn` for coroutine functions."""

    @wraps(fn)
    async def called(*args: P.args, **kwargs: P.kwargs) -> T:
        for attempt in range(retries - 1):
            try:
                return await fn(*args, **kwargs)
            except Exception:  # noqa: BLE001  which errors pass, only the caller could know
                await asyncio.sleep(delay * backoff**attempt)
        return await fn(*args, **kwargs)

    return called


def check_connection(url: str, delay: float = 0.5, timeout: float = 10.0) -> bool:
    """Whether something answers at a URL with 200, asked again for so long as nothing answers."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            return requests.get(full_url(url), timeout=max(timeout, 0.1)).status_code == 200
        except requests.RequestException:
            if time.monotonic() + delay > deadline:
                return False
        time.sleep(delay)


def parse_url(url: str, default_scheme: str = "http") -> ParseResult:
    """The parts of a server's address, whose scheme may be left out."""
    return urlparse(url if "://" in url else f"{default_scheme}://{url}")


def full_url(url: str) -> str:
    """A server's address in full, without a slash at its end.

    Raises:
        InvalidArgumentError: The scheme is neither http nor https.
    """
    scheme = parse_url(url).scheme
    if scheme not in ("http", "https"):
        raise InvalidArgumentError(f"the scheme of the URL is {scheme!r}; only http and https are known")
    return Endpoint.parse(url, scheme="http").base_url
