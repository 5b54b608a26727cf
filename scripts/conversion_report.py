"""Convert ComfyUI's official templates against a real ComfyUI, count what comes of them, and write it down.

    python scripts/conversion_report.py              # writes docs/reference/conversion.md
    python scripts/conversion_report.py --no-editor  # without a browser: only the server judges

Two sets of templates come from the package index: today's, and those that belong to the server. Each file is converted
against the server's object_info and then judged twice. The server's own editor, and the newest one, open the file in a
browser and say what they would send; and the server checks the graph. Nothing runs: a node that sleeps holds the queue
until all are checked, and then they are thrown out.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from comfyone.graph.convert import ConversionError, convert, diff
from comfyone.graph.document import needed_by
from scripts import real_comfyui, real_editor

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "conversion.md"
SERVERS_EDITOR = "the server's editor, `comfyui-frontend-package==1.32.9`"
NEWEST_EDITOR = "comfyui-frontend-package==1.58.1"
SETS = {
    "today's": ["comfyui-workflow-templates-json==0.1.123", "comfyui-workflow-templates-core==0.3.388"],
    f"those of {real_comfyui.VERSION}": [
        "comfyui-workflow-templates-media-api==0.3.14",
        "comfyui-workflow-templates-media-image==0.3.17",
        "comfyui-workflow-templates-media-other==0.3.15",
        "comfyui-workflow-templates-media-video==0.3.12",
    ],
}
EDITOR_ALONE = {"Note", "MarkdownNote", "PrimitiveNode", "Reroute"}
FILE_ERRORS = {"custom_validation_failed"}
MOST_CLASSES = 25

Graph = dict[str, dict[str, Any]]


@dataclass
class Outcome:
    """What became of one template."""

    kind: str
    name: str
    workflow: Any = field(repr=False)
    missing: set[str] = field(default_factory=set)
    """Classes that the server doesn't have."""
    refused: list[str] = field(default_factory=list)
    graph: Graph | None = None
    notes: Counter[str] = field(default_factory=Counter)
    editors: dict[str, Graph | str] = field(default_factory=dict)
    """What each editor would send, or the text of its error."""
    faults: list[str] = field(default_factory=list)
    """What the server finds wrong with the shape of our graph."""
    values: list[str] = field(default_factory=list)
    """Values that the server doesn't have: models, uploads, choices of a newer version."""
    editor_faults: dict[str, list[str]] = field(default_factory=dict)

    def same_as(self, known: Mapping[str, Any]) -> list[str]:
        """The editors that would send the same."""
        ours = _effective(self.graph or {}, known)
        graphs = {name: each for name, each in self.editors.items() if isinstance(each, dict)}
        return [name for name, each in graphs.items() if not diff(_effective(each, known), ours)]

    def verdict(self, known: Mapping[str, Any]) -> str:
        """``right``, ``better`` (than any editor), ``wrong``, ``refused`` or ``elsewhere``."""
        if self.missing:
            return "elsewhere"
        if self.graph is None:
            return "refused"
        own = [fault for fault in self.faults if all(fault not in each for each in self.editor_faults.values())]
        if own or (not self.editors and self.faults):
            return "wrong"
        if not self.editors or self.same_as(known):
            return "right"
        return "better" if all(self.editor_faults.get(name) for name in self.editors) else "wrong"


def fetch(packages: Sequence[str], folder: Path) -> list[Path]:
    """The wheels of some packages, from the cache or from the package index."""
    folder.mkdir(parents=True, exist_ok=True)
    for package in packages:
        name, _, version = package.partition("==")
        if not list(folder.glob(f"{name.replace('-', '_')}-{version}-*.whl")):
            line = [sys.executable, "-m", "pip", "--quiet", "download", "--no-deps", "--dest", str(folder), package]
            subprocess.run(line, check=True)
    names = [package.replace("-", "_").replace("==", "-") for package in packages]
    return [path for name in names for path in folder.glob(f"{name}-*.whl")]


def templates(wheels: Sequence[Path]) -> Iterator[tuple[str, Any]]:
    """The workflows in some wheels, by name."""
    found = {}
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                if "/templates/" in name and name.endswith(".json"):
                    content = json.loads(archive.read(name))
                    if isinstance(content, dict) and isinstance(content.get("nodes"), list):
                        found[Path(name).stem] = content
    yield from sorted(found.items())


def classes_of(workflow: Mapping[str, Any]) -> set[str]:
    """The classes that a file needs of a server."""
    definitions = workflow.get("definitions", {}).get("subgraphs", [])
    nodes = [*workflow["nodes"], *(node for each in definitions for node in each["nodes"])]
    return {node["type"] for node in nodes} - EDITOR_ALONE - {each["id"] for each in definitions}


def converted(kind: str, name: str, workflow: Any, object_info: Mapping[str, Any]) -> Outcome:
    """Convert one template."""
    outcome = Outcome(kind, name, workflow, missing=classes_of(workflow) - set(object_info))
    if not outcome.missing:
        try:
            conversion = convert(workflow, object_info)
        except ConversionError as error:
            outcome.refused = [str(reason) for reason in error.reasons]
        else:
            outcome.graph = conversion.graph
            outcome.notes = Counter(note.kind for note in conversion.notes)
    return outcome


def _effective(graph: Mapping[str, Mapping[str, Any]], known: Mapping[str, Any]) -> Graph:
    """The part of a graph that runs: what leads to an output, with the inputs that the classes know.

    Editors also send widgets that are no inputs (a preview), and what is in a bypassed subgraph and leads nowhere.
    """
    ends = [key for key, node in graph.items() if known.get(node.get("class_type", ""), {}).get("output_node")]
    live = needed_by(graph, *ends)
    return {key: _known_inputs(node, known) for key, node in graph.items() if key in live}


def _known_inputs(node: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    declared = known[node["class_type"]]["input"]
    names = {*declared.get("required", {}), *declared.get("optional", {})}
    inputs = {name: value for name, value in node["inputs"].items() if name in names}
    return {"class_type": node["class_type"], "inputs": inputs}


class Judge:
    """A server that checks graphs and runs none."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._session = requests.Session()

    def object_info(self) -> dict[str, Any]:
        answer: dict[str, Any] = self._session.get(f"{self._url}/object_info", timeout=60).json()
        return answer

    @contextlib.contextmanager
    def holding(self) -> Iterator[None]:
        """Keep the queue from going on for as long as the context lasts, and then throw everything out."""
        picture = {"width": 16, "height": 16, "batch_size": 1, "color": 0}
        sleeping = {
            "1": {"class_type": "EmptyImage", "inputs": picture},
            "2": {"class_type": "TestSleep", "inputs": {"image": ["1", 0], "seconds": 3600}},
            "3": {"class_type": "PreviewImage", "inputs": {"images": ["2", 0]}},
        }
        self._post("/prompt", {"prompt": sleeping})
        try:
            yield
        finally:
            self._post("/queue", {"clear": True})
            self._post("/interrupt", {})

    def faults(self, graph: Graph, known: Mapping[str, Any]) -> tuple[list[str], list[str]]:
        """What is wrong with a graph: in its shape, and in its values."""
        answer = self._post("/prompt", {"prompt": graph})
        body = answer.json()
        shape: list[str] = []
        values: list[str] = []
        for node_id, found in body.get("node_errors", {}).items():
            for error in found["errors"]:
                where = f"{node_id} {found['class_type']}"
                (values if _of_value(error) else shape).append(f"{where}: {error['message']}: {error['details']}")
        general = body.get("error", {})
        if general and not shape and not values:
            shape.append(f"{general.get('type')}: {general.get('message')}")
        return shape, values

    def _post(self, path: str, body: Any) -> requests.Response:
        return self._session.post(f"{self._url}{path}", json=body, timeout=60)


def _of_value(error: Mapping[str, Any]) -> bool:
    return error["type"] in {"value_not_in_list", "value_bigger_than_max", "value_smaller_than_min", *FILE_ERRORS}


async def ask_editor(url: str, name: str, outcomes: Sequence[Outcome]) -> None:
    """Note what an editor would send for each file that the server has the classes for."""
    async with real_editor.opened(url) as editor:
        for outcome in outcomes:
            if outcome.missing:
                continue
            try:
                outcome.editors[name] = await editor.prompt(outcome.workflow)
            except real_editor.EditorError as error:
                outcome.editors[name] = str(error)


def judge(url: str, outcomes: Sequence[Outcome], known: Mapping[str, Any]) -> None:
    """Let the server check every graph: ours, and those of the editors where ours has a fault or differs."""
    server = Judge(url)
    with server.holding():
        for outcome in outcomes:
            if outcome.graph is None:
                continue
            outcome.faults, outcome.values = server.faults(outcome.graph, known)
            if outcome.faults or (outcome.editors and not outcome.same_as(known)):
                for name, graph in outcome.editors.items():
                    found = server.faults(graph, known) if isinstance(graph, dict) else ([graph], [])
                    outcome.editor_faults[name] = [*found[0], *_bad_values(graph, known)]


def _bad_values(graph: Graph | str, known: Mapping[str, Any]) -> list[str]:
    """Texts where a class wants a number: what an editor sends when values have shifted."""
    found = []
    for key, node in graph.items() if isinstance(graph, dict) else ():
        declared = known.get(node.get("class_type", ""), {"input": {}})["input"]
        specs = {**declared.get("required", {}), **declared.get("optional", {})}
        for name, value in node["inputs"].items():
            kind = specs.get(name, [None])[0]
            choices = [type(each) for each in kind] if isinstance(kind, list) else []
            wrong = (kind in ("INT", "FLOAT") and isinstance(value, str)) or (
                bool(choices) and isinstance(value, int | float) and str in choices
            )
            if wrong:
                found.append(f"{key} {node['class_type']}.{name}: {value!r}")
    return found


def run(with_editor: bool) -> str:
    """Do all of it and give the page."""
    folder = real_comfyui.cache_folder() / "templates"
    files = [(kind, *each) for kind, packages in SETS.items() for each in templates(fetch(packages, folder))]
    with real_comfyui.start() as url:
        known = Judge(url).object_info()
        outcomes = [converted(kind, name, workflow, known) for kind, name, workflow in files]
        if with_editor:
            asyncio.run(ask_editor(url, SERVERS_EDITOR, outcomes))
            with _newest_editor(folder) as newest:
                asyncio.run(ask_editor(newest, f"`{NEWEST_EDITOR}`", outcomes))
        judge(url, outcomes, known)
    return page(outcomes, known)


@contextlib.contextmanager
def _newest_editor(folder: Path) -> Iterator[str]:
    """A second server that shows the newest editor."""
    [wheel] = fetch([NEWEST_EDITOR], folder)
    with tempfile.TemporaryDirectory(prefix="editor-") as unpacked:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(unpacked)
        static = Path(unpacked) / "comfyui_frontend_package" / "static"
        with real_comfyui.start(arguments=["--front-end-root", str(static)]) as url:
            yield url


VERDICTS = {
    "right": "right",
    "better": "right where no editor is",
    "refused": "refused",
    "wrong": "**wrong**",
}

INTRODUCTION = f"""\
<!-- Generated by scripts/conversion_report.py -->

# Conversion of the official templates

What `comfyone convert` makes of the workflows that ComfyUI itself ships, converted against the `object_info` of a real
ComfyUI {real_comfyui.VERSION} and judged by others than us:

- **The editor.** The server's own frontend and the newest one open each file in a browser and say what they would
  send. *Right* is a graph that is the same as that of one of them: every node that leads to an output, with every
  input that its class has. (Where the two differ, each has faults of its own at some files.)
- **The server.** It checks every graph, as on `POST /prompt`. Models and pictures that are not installed here don't
  count; a missing input, a link of the wrong type or an unknown class would.
- *Right where no editor is*: both editors send values that can't be what the class takes (the name of a sampler where
  a number of steps belongs), since the class has changed after the file was saved, and our graph has none of that.
- *Refused*: it is not certain what the graph would be, and the error says which node is at fault.
- *Wrong*: all the rest.

Templates with a class that this version of the server doesn't have are counted apart; converting them is refused too,
with the names of the classes.
"""


def page(outcomes: Sequence[Outcome], known: Mapping[str, Any]) -> str:
    """The page of the reference."""
    parts = [INTRODUCTION, _table(outcomes, known), _versions(outcomes)]
    for word in ("wrong", "refused", "better"):
        some = [each for each in outcomes if each.verdict(known) == word]
        parts.append(f"## {VERDICTS[word].strip('*').capitalize()}\n\n{_listed(some, known)}")
    return "\n".join([*parts, _notes(outcomes), _elsewhere(outcomes)])


def _table(outcomes: Sequence[Outcome], known: Mapping[str, Any]) -> str:
    kinds = list(dict.fromkeys(each.kind for each in outcomes))
    counts = {kind: Counter(each.verdict(known) for each in outcomes if each.kind == kind) for kind in kinds}
    rows = [f"| | {' | '.join(kinds)} |", f"|---|{'---|' * len(kinds)}"]
    rows.append(f"| templates | {' | '.join(str(sum(counts[kind].values())) for kind in kinds)} |")
    rows.append(
        f"| with classes that the server lacks | {' | '.join(str(counts[kind]['elsewhere']) for kind in kinds)} |"
    )
    for word, label in VERDICTS.items():
        rows.append(f"| {label} | {' | '.join(str(counts[kind][word]) for kind in kinds)} |")
    for editor in dict.fromkeys(name for each in outcomes for name in each.editors):
        same = {kind: sum(editor in each.same_as(known) for each in outcomes if each.kind == kind) for kind in kinds}
        rows.append(f"| the same as {editor} | {' | '.join(str(same[kind]) for kind in kinds)} |")
    sound = {kind: sum(_sound(each) for each in outcomes if each.kind == kind) for kind in kinds}
    rows.append(f"| the server finds no fault | {' | '.join(str(sound[kind]) for kind in kinds)} |")
    return "\n".join(rows) + "\n"


def _sound(outcome: Outcome) -> bool:
    return outcome.graph is not None and not outcome.faults


def _versions(outcomes: Sequence[Outcome]) -> str:
    packages = ", ".join(f"`{package}`" for some in SETS.values() for package in some)
    judged = "" if any(each.editors for each in outcomes) else " No editor was asked this time."
    return f"Packages: {packages}.{judged}\n"


def _listed(outcomes: Sequence[Outcome], known: Mapping[str, Any]) -> str:
    if not outcomes:
        return "None.\n"
    return "\n".join(line for outcome in outcomes for line in _described(outcome, known)) + "\n"


def _described(outcome: Outcome, known: Mapping[str, Any]) -> Iterator[str]:
    yield f"- **{outcome.name}** ({outcome.kind})"
    yield from (f"  - {reason}" for reason in outcome.refused)
    yield from (f"  - the server: {_short(fault)}" for fault in outcome.faults)
    for name, graph in outcome.editors.items():
        if outcome.graph is None or name in outcome.same_as(known):
            continue
        yield f"  - {name}:"
        if isinstance(graph, str):
            yield f"    - fails: {graph}"
            continue
        change = diff(_effective(graph, known), _effective(outcome.graph, known))
        yield from (f"    - `{_short(line)}`" for line in str(change).splitlines())


def _short(text: str) -> str:
    return text if len(text) <= 160 else f"{text[:157]}..."


def _notes(outcomes: Sequence[Outcome]) -> str:
    counts: Counter[str] = sum((each.notes for each in outcomes), Counter())
    rows = "\n".join(f"| {kind} | {count} |" for kind, count in counts.most_common())
    faults = Counter(fault.split(": ")[1] for each in outcomes for fault in each.faults)
    own = "\n".join(f"| {kind} | {count} |" for kind, count in faults.most_common()) or "| none | 0 |"
    return (
        f"## Notes\n\nWhat conversions said besides, over all templates:\n\n| note | times |\n|---|---|\n{rows}\n\n"
        "Faults that the server finds in the shape of graphs that are right, which are the templates' own (an editor's "
        f"graph has the same):\n\n| fault | times |\n|---|---|\n{own}\n"
    )


def _elsewhere(outcomes: Sequence[Outcome]) -> str:
    counts = Counter(name for each in outcomes for name in each.missing)
    names = ", ".join(f"{name} ({count})" for name, count in counts.most_common(MOST_CLASSES))
    more = f" and {len(counts) - MOST_CLASSES} more" if len(counts) > MOST_CLASSES else ""
    return f"## Classes that the server lacks\n\nIn how many templates: {names}{more}.\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 1 when a conversion is wrong."""
    parser = argparse.ArgumentParser(description="Convert the official templates and write the report.")
    parser.add_argument("--no-editor", action="store_true", help="ask no browser, only the server")
    chosen = parser.parse_args(arguments)
    text = run(with_editor=not chosen.no_editor)
    PAGE.write_text(text)
    print(f"written: {PAGE}")
    return int("**wrong** | 0 | 0 |" not in text)


if __name__ == "__main__":
    raise SystemExit(main())
