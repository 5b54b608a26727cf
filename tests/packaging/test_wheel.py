"""The wheel that people install: all of the package is in it, and it works in an empty environment."""

from __future__ import annotations

import email
import os
import subprocess
import sys
import textwrap
import venv
import zipfile
from email.message import Message
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.seed("S1-1"), pytest.mark.timeout(600), pytest.mark.xdist_group("wheel")]

USE = """
import http.server, json, threading
from comfyone import ComfyOne, AuthenticationError, PromptPayload, __version__

class Gateway(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert self.headers["Authorization"] == "Bearer key" and body["workflow_id"] == "w", (self.headers, body)
        content = json.dumps({"code": 0, "msg": "success", "data": {"taskId": "t-1"}}).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(content)
    def log_message(self, *args):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Gateway)
threading.Thread(target=server.serve_forever, daemon=True).start()
with ComfyOne("key", f"http://127.0.0.1:{server.server_port}") as client:
    print(__version__, client.submit("w", seed=7).id, client.ws.is_connected())
server.shutdown()
server.server_close()
"""


def _run(*command: str | Path, cwd: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    _run(sys.executable, "-m", "build", "--wheel", "--outdir", folder, ROOT, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that holds the wheel, what it requires, and nothing else."""
    folder = tmp_path_factory.mktemp("empty")
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
    _run(python, "-m", "pip", "install", "--quiet", wheel, cwd=folder)
    return python


def _metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return email.message_from_bytes(archive.read(name))


def test_the_wheel_holds_every_module_and_the_type_marker(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if name.startswith("comfyone/")}
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "comfyone").rglob("*.py")}
    assert modules - packed == set()
    assert "comfyone/py.typed" in packed
    assert not [name for name in packed if "__pycache__" in name or "/tests/" in name]


def test_every_folder_with_modules_is_a_package() -> None:
    folders = {path.parent for path in (ROOT / "comfyone").rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []


@pytest.mark.seed("S2-11", "S2-12", "S4-6", "S4-38")
def test_the_metadata_says_what_it_is_and_what_it_needs(wheel: Path) -> None:
    metadata = _metadata(wheel)
    assert metadata["Name"] == "comfyone"
    assert metadata["License-Expression"] == "MIT"
    assert metadata["Requires-Python"] == ">=3.11"
    assert set(metadata.get_all("Provides-Extra", [])) >= {"gateway", "sandbox"}
    needed = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    names = {line.split(">")[0].strip() for line in needed}
    assert names >= {"requests", "pydantic", "websocket-client", "tenacity", "loguru"}
    assert not names & {"fastapi", "sqlalchemy", "uvicorn", "msgspec"}
    assert metadata.get_payload()


def test_the_client_works_in_an_empty_environment(python: Path, tmp_path: Path) -> None:
    out = _run(python, "-I", "-W", "error", "-c", textwrap.dedent(USE), cwd=tmp_path)
    assert out.split()[1:] == ["t-1", "False"]


def test_each_client_module_can_be_imported_alone_there(python: Path, tmp_path: Path) -> None:
    """The server's rooms need extras; the client's rooms must not."""
    rooms = ("wire", "settings", "transport", "graph", "api", "comfyui", "batch", "utils")
    files = [path for room in rooms for path in (ROOT / "comfyone" / room).rglob("*.py")]
    modules = sorted(".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in files)
    code = """
        import importlib, sys
        for name in sys.argv[1:]:
            for loaded in [module for module in sys.modules if module.startswith("comfyone")]:
                del sys.modules[loaded]
            importlib.import_module(name)
        print(len(sys.argv) - 1)
    """
    assert int(_run(python, "-I", "-c", textwrap.dedent(code), *modules, cwd=tmp_path)) == len(modules) > 10
