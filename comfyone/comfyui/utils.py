"""Small helpers around workflows, pictures and addresses."""

from __future__ import annotations

import asyncio
import copy
import json
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests
from PIL import Image

from comfyone.errors import InvalidArgumentError
from comfyone.transport.endpoint import Endpoint

__all__ = [
    "async_retry_fn",
    "check_connection",
    "image_to_buffer",
    "parse_url",
    "randomize_noise_seeds",
    "read_json",
    "replace_dict_values",
    "replace_noise_seeds",
    "retry_fn",
]

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


def replace_dict_values(data: Mapping[str, Any], key: str, value: Any) -> dict[str, Any]:
    """A deep copy in which ``key`` has this value wherever it occurs, but where it is linked to another node."""
    copied = copy.deepcopy(dict(data))
    _replace(copied, {key}, lambda: value)
    return copied


def replace_noise_seeds(workflow: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """A deep copy of a graph in which every seed has this value."""
    copied = copy.deepcopy(dict(workflow))
    _replace(copied, set(_SEEDS), lambda: seed)
    return copied


def randomize_noise_seeds(workflow: Mapping[str, Any]) -> dict[str, Any]:
    """A deep copy of a graph in which every seed is random; the copy tells which it became."""
    copied = copy.deepcopy(dict(workflow))
    _replace(copied, set(_SEEDS), lambda: random.randint(0, _LARGEST_SEED))  # noqa: S311  nothing secret hangs on it
    return copied


def _replace(value: Any, keys: set[str], make: Callable[[], Any]) -> None:
    if isinstance(value, list):
        for item in value:
            _replace(item, keys, make)
    if not isinstance(value, dict):
        return
    for key, item in value.items():
        if key in keys and not isinstance(item, list | dict):  # a list is a link to where the seed comes from
            value[key] = make()
        else:
            _replace(item, keys, make)


def image_to_buffer(image: Image.Image, format: str = "PNG") -> BytesIO:
    """A picture as a file in memory, open at its beginning."""
    buffer = BytesIO()
    image.save(buffer, format=format)
    buffer.seek(0)
    return buffer


def retry_fn(
    fn: Callable[[], T],
    attempts: int = 3,
    delay: float = 0.5,
    exceptions: type[Exception] | tuple[type[Exception], ...] = Exception,
) -> T:
    """Call until it succeeds, at most so often; the last error gets through. Each wait is twice the one before."""
    for attempt in range(1, attempts):
        try:
            return fn()
        except exceptions:
            time.sleep(delay * 2.0 ** (attempt - 1))
    return fn()


async def async_retry_fn(
    fn: Callable[[], Awaitable[T]],
    attempts: int = 3,
    delay: float = 0.5,
    exceptions: type[Exception] | tuple[type[Exception], ...] = Exception,
) -> T:
    """`retry_fn` for coroutines."""
    for attempt in range(1, attempts):
        try:
            return await fn()
        except exceptions:
            await asyncio.sleep(delay * 2.0 ** (attempt - 1))
    return await fn()


def check_connection(url: str, delay: float = 0.5, timeout: float = 10.0) -> bool:
    """Whether something answers at a URL with 200, asked again for so long as nothing answers."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            return requests.get(parse_url(url), timeout=max(timeout, 0.1)).status_code == 200
        except requests.RequestException:
            if time.monotonic() + delay > deadline:
                return False
        time.sleep(delay)


def parse_url(url: str) -> str:
    """A server's address in full, without a slash at its end; no scheme means http.

    Raises:
        InvalidArgumentError: The scheme is neither http nor https.
    """
    scheme = urlsplit(url).scheme if "://" in url else "http"
    if scheme not in ("http", "https"):
        raise InvalidArgumentError(f"the scheme of the URL is {scheme!r}; only http and https are known")
    return Endpoint.parse(url, scheme="http").base_url
