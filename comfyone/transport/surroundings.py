"""What the environment says about connections: proxies and certificates, read in one way for both colours."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache

import requests

__all__ = ["Surroundings", "surroundings"]

_VARIABLES = [
    *(name for kind in ("http", "https", "all", "no") for name in (f"{kind}_proxy", f"{kind}_proxy".upper())),
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """How an address is reached.

    Args:
        proxies: The proxy for each scheme.
        verify: A file or folder of certificates to trust, in place of the usual ones.
    """

    proxies: dict[str, str]
    verify: bool | str

    def proxy(self, url: str) -> str | None:
        """The proxy for a URL; None means that it is called directly."""
        if not self.proxies:
            return None
        proxy = requests.utils.select_proxy(url, self.proxies)
        return f"http://{proxy}" if proxy and "://" not in proxy else proxy


def surroundings(url: str) -> Surroundings:
    """How a URL is reached, as requests reads it from the environment."""
    origin = "/".join(url.split("/", 3)[:3])
    return _read(origin, tuple(map(os.environ.get, _VARIABLES)))


@lru_cache(maxsize=64)
def _read(origin: str, variables: tuple[str | None, ...]) -> Surroundings:
    """Reading takes as long as all the rest of a call: it is done once, and again when a variable has changed."""
    with requests.Session() as session:
        settings = session.merge_environment_settings(origin, {}, None, None, None)
    return Surroundings(dict(settings["proxies"]), settings["verify"] or True)
