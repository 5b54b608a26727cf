"""Documents can't lie: what is generated is compared, what is a command or a program is run, what is linked exists."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, fields
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import typer
from PIL import Image, ImageChops

from comfyone.cli.main import app
from comfyone.gateway.dialects.admin_v1.routes import ADMIN_ROUTES
from comfyone.gateway.dialects.comfyone_v1.routes import ROUTES
from comfyone.gateway.dialects.registry.routes import REGISTRY_ROUTES
from comfyone.gateway.dialects.routing import Route
from comfyone.gateway.dialects.tasks_v1.routes import TASK_ROUTES
from comfyone.gateway.domain.tenants import Scope, TenantPolicy
from comfyone.graph.files import load_graph
from comfyone.graph.validate import validate
from comfyone.settings.client import load_client_settings
from comfyone.settings.gateway import load_settings
from scripts import demo, reference

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
DONE_BEFORE = ("make ", "pip install", "comfyone gateway", "comfyone sandbox")

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@dataclass(frozen=True)
class Servers:
    """A gateway with its state in a home folder, and a sandbox."""

    gateway: str
    sandbox: str
    home: Path


@dataclass(frozen=True)
class Reader:
    """Somebody who follows a document in a folder of their own, as a tenant of their own."""

    servers: Servers
    folder: Path

    def run(self, *line: str, **variables: str) -> str:
        """Run a program where the examples are, and give what it printed."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "HOME": str(self.servers.home), "PATH": path, **variables}
        done = subprocess.run(line, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=90)
        assert done.returncode == 0, f"{shlex.join(line)}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def example(self, name: str, *arguments: str) -> str:
        """Run an example, with a key for it."""
        key = demo.create_key(self.servers.home / ".comfyone", tenant=self.folder.name)
        line = (sys.executable, f"examples/{name}", *arguments)
        return self.run(*line, COMFYONE_API_KEY=key, COMFYONE_DOMAIN=self.servers.gateway)

    def pictures(self, folder: str) -> list[Path]:
        return sorted((self.folder / folder).glob("*.png"))


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    home = tmp_path_factory.mktemp("home")
    state = home / ".comfyone"
    with ExitStack() as started:
        gateway = started.enter_context(demo.serving("gateway", "--port", "0", "--state-dir", str(state)))
        sandbox = started.enter_context(demo.serving("sandbox", "--port", "0"))
        yield Servers(gateway.url, sandbox.url, home)


@pytest.fixture
def reader(servers: Servers, tmp_path: Path) -> Reader:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    return Reader(servers, tmp_path)


def blocks(page: Path) -> list[tuple[str, str]]:
    """The code blocks of a page: language and text."""
    return BLOCK.findall(page.read_text())


def commands() -> Iterator[tuple[str, str]]:
    """Every line of every document that calls ``comfyone``."""
    for page in PAGES:
        for language, text in blocks(page):
            lines = text.splitlines() if language in ("sh", "console") else []
            for line in lines:
                if found := re.search(r"(?:^|\$ |\$\(|/)comfyone ([^)#]*)", line):
                    yield str(page.relative_to(ROOT)), found[1].strip()


@pytest.mark.parametrize("name", reference.PAGES)
def test_a_generated_page_says_what_holds_now(name: str) -> None:
    written = (reference.FOLDER / name).read_text()
    assert written == reference.NOTE + reference.PAGES[name](), "run python scripts/reference.py"


@each_page
def test_every_link_leads_somewhere(page: Path) -> None:
    text = BLOCK.sub("", page.read_text())
    local = [link for link in LINK.findall(text) if not link.startswith(("http://", "https://", "#"))]
    missing = [link for link in local if not (page.parent / link.partition("#")[0]).exists()]
    assert not missing


@each_page
def test_every_python_block_compiles(page: Path) -> None:
    for language, text in blocks(page):
        if language == "python":
            compile(textwrap.dedent(text), str(page), "exec")


@pytest.mark.parametrize(("page", "line"), list(commands()))
def test_every_command_in_the_documents_exists(page: str, line: str) -> None:
    words = shlex.split(line)
    command: Any = typer.main.get_command(app)
    while hasattr(command, "commands"):
        assert words, f"{page}: 'comfyone {line}' names a group, not a command"
        name = words.pop(0)
        assert name in command.commands, f"{page}: 'comfyone {line}': there is no '{name}'"
        command = command.commands[name]
    known = {option for parameter in command.params for option in getattr(parameter, "opts", ())} | {"--help"}
    given = {word.partition("=")[0] for word in words if word.startswith("--")}
    assert given <= known, f"{page}: 'comfyone {line}': no option {', '.join(sorted(given - known))}"
    needed = [
        parameter for parameter in command.params if parameter.param_type_name == "argument" and parameter.required
    ]
    assert len([word for word in words if not word.startswith("-")]) >= len(needed), f"{page}: 'comfyone {line}'"


def test_the_documents_are_found_and_hold_commands() -> None:
    assert len(PAGES) > 10
    assert len(list(commands())) > 20


def test_every_settings_file_in_the_documents_is_taken(tmp_path: Path) -> None:
    files = [text for page in PAGES for language, text in blocks(page) if language == "yaml"]
    assert len(files) >= 2
    for number, text in enumerate(files):
        file = tmp_path / f"{number}.yaml"
        file.write_text(text)
        load = load_client_settings if "comfyui:" in text else load_settings
        load(file, {}, environment={})


@pytest.mark.parametrize(
    ("page", "routes", "more"),
    [
        ("v1", ROUTES, {"/v1/ws"}),  # a socket is no operation of HTTP
        ("admin", ADMIN_ROUTES, set()),
        ("registry", REGISTRY_ROUTES, {"/v1/backends/{}"}),  # of v1, whose backends they are
        ("tasks", TASK_ROUTES, {"/api/v1/openapi.json", "/api/v1/openapi.yaml"}),
    ],
    ids=["v1", "admin", "registry", "tasks"],
)
def test_the_reference_of_the_wire_names_every_route_and_no_other(
    page: str, routes: tuple[Route, ...], more: set[str]
) -> None:
    text = (ROOT / "docs" / "reference" / f"{page}.md").read_text()
    named = {
        parameters(path) for path in re.findall(r"[` ]((?:/admin|/api)?/v1/[\w/{}.]*[\w}]|/health|/ready)[`?]", text)
    }
    served = {parameters(re.sub(r":\w+}", "}", path)) for route in routes for _, path in route.places}
    assert served - named == set()
    assert named - served <= more


def test_every_field_of_a_policy_is_explained() -> None:
    text = (ROOT / "docs" / "reference" / "admin.md").read_text()
    assert [field.name for field in fields(TenantPolicy) if f"`{field.name}`" not in text] == []


def parameters(path: str) -> str:
    return re.sub(r"{\w+}", "{}", path)


def test_every_scope_is_explained() -> None:
    text = (ROOT / "docs" / "how-to" / "keys.md").read_text()
    assert [scope for scope in Scope if f"| `{scope}` |" not in text] == []


def test_the_changelog_begins_with_this_version() -> None:
    found = re.search(r"^## \[([\d.]+)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert found is not None
    assert found[1] == version("comfyone")


@pytest.mark.parametrize("page", ["README.md", "docs/tutorial/first-job.md"])
def test_a_guide_does_what_it_says(page: str, reader: Reader) -> None:
    """All its commands and programs, in order; the servers alone are already there."""
    script = []
    for language, text in blocks(ROOT / page):
        if language == "sh":
            script += [line for line in text.splitlines() if not line.startswith(DONE_BEFORE)]
        elif language == "python":
            script += ["python - <<'PROGRAM'", *text.splitlines(), "PROGRAM"]
    placed = "\n".join(script)
    for address, here in (
        ("http://127.0.0.1:8080", reader.servers.gateway),
        ("http://127.0.0.1:8188", reader.servers.sandbox),
    ):
        assert address in placed
        placed = placed.replace(address, here)
    reader.run("bash", "-euo", "pipefail", "-c", placed)
    pictures = reader.pictures("out")
    assert len(pictures) >= 2
    for first, second in pairwise(pictures):
        assert differ(first, second), f"{first.name} and {second.name} show the same"


@pytest.mark.seed("S2-104")
def test_the_workflows_say_how_to_export_one_and_are_valid() -> None:
    folder = ROOT / "examples" / "workflows"
    text = (folder / "README.md").read_text()
    assert "Export (API)" in text
    for file in folder.glob("*.json"):
        assert f"]({file.name})" in text
        assert validate(load_graph(file)) == []


@pytest.mark.seed("S1-53", "S1-55", "S1-57")
def test_the_example_of_single_calls_runs(reader: Reader) -> None:
    printed = reader.example("step_by_step.py", reader.servers.sandbox, "--out", "prints")
    assert "finished, success: True" in printed
    [picture] = reader.pictures("prints")
    with Image.open(picture) as image:
        assert image.size == (320, 384)


def test_the_example_of_text_to_image_paints_what_it_is_told(reader: Reader) -> None:
    reader.example("text_to_image.py", "--backend", reader.servers.sandbox, "--steps", "2", "an owl", "a fox")
    owl, fox = reader.pictures("painted")
    assert differ(owl, fox)


def test_the_quick_start_can_be_run_twice(reader: Reader) -> None:
    arguments = ("--backend", reader.servers.sandbox, "--out", "prints")
    assert "version 1" in reader.example("quickstart.py", *arguments)
    assert "version 2" in reader.example("quickstart.py", *arguments)
    pictures = reader.pictures("prints")
    assert len(pictures) == 5
    assert all(differ(one, other) for one, other in pairwise(pictures))


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_a_demo_that_is_stopped_leaves_nothing_running(sign: signal.Signals, tmp_path: Path) -> None:
    line = [sys.executable, str(ROOT / "scripts" / "demo.py"), "--output", str(tmp_path / "pictures")]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        gateway = demo.ADDRESS.search(process.stdout.readline())
        assert gateway is not None
        process.send_signal(sign)
        assert "everything is stopped" in process.stdout.read()
    assert process.returncode == 130
    host, _, port = gateway[0].removeprefix("http://").partition(":")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)), timeout=5)


def differ(one: Path, other: Path) -> bool:
    with Image.open(one) as first, Image.open(other) as second:
        return first.size != second.size or ImageChops.difference(first, second).getbbox() is not None
