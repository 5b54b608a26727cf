"""The page at ``/docs``: the OpenAPI document, written out. It loads nothing from elsewhere, so it opens behind any wall."""

from __future__ import annotations

import json
from html import escape
from typing import Any

__all__ = ["docs_page"]

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8882; --accent: #5b5bd6 }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 0 auto; padding: 2rem 1rem 6rem }
h1 { margin-bottom: 0 } h2 { margin-top: 3rem; border-bottom: 1px solid var(--line) }
details { border: 1px solid var(--line); border-radius: .5rem; margin: .5rem 0; padding: .5rem .8rem }
summary { cursor: pointer; display: flex; gap: .8rem; align-items: baseline; flex-wrap: wrap }
code, pre { font: .9em/1.45 ui-monospace, monospace } pre { background: var(--soft); padding: .8rem; overflow: auto; border-radius: .4rem }
.method { color: #fff; background: var(--accent); border-radius: .3rem; padding: 0 .5rem; min-width: 3.6rem; text-align: center }
.delete { background: #c2334d } .get { background: #2f7d4f } .post { background: #5b5bd6 } .patch, .put { background: #9a6700 }
table { border-collapse: collapse; width: 100% } td, th { text-align: left; padding: .25rem .6rem .25rem 0; vertical-align: top }
td { border-top: 1px solid var(--line) } .note { opacity: .75 }
"""


def docs_page(document: dict[str, Any]) -> str:
    """The document as one page of HTML."""
    groups: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            groups.setdefault(operation["tags"][0], []).append(_operation(path, method, operation))
    parts = [f"<h2 id='{escape(tag)}'>{escape(tag)}</h2>{''.join(rows)}" for tag, rows in groups.items()]
    records = "".join(
        f"<details id='{escape(name)}'><summary><code>{escape(name)}</code></summary>{_json(schema)}</details>"
        for name, schema in document["components"]["schemas"].items()
    )
    info = document["info"]
    return (
        f"<!doctype html><html lang='en'><meta charset='utf-8'><meta name='viewport' content='width=device-width'>"
        f"<title>{escape(info['title'])} API</title><style>{_STYLE}</style><h1>{escape(info['title'])}</h1>"
        f"<p class='note'>version {escape(info['version'])} · <a href='/openapi.json'>openapi.json</a> · send "
        f"<code>Authorization: Bearer KEY</code></p>{''.join(parts)}<h2>records</h2>{records}</html>"
    )


def _operation(path: str, method: str, operation: dict[str, Any]) -> str:
    head = (
        f"<summary><span class='method {method}'>{method.upper()}</span><code>{escape(path)}</code>"
        f"<span>{escape(operation['summary'])}</span></summary>"
    )
    body = f"<p class='note'>{escape(operation['description'])}</p>" if "description" in operation else ""
    if operation["parameters"]:
        rows = "".join(
            f"<tr><td><code>{escape(p['name'])}</code><td>{p['in']}<td>{escape(p.get('description', ''))}<td><code>{escape(_bounds(p['schema']))}</code>"
            for p in operation["parameters"]
        )
        body += f"<h4>Parameters</h4><table>{rows}</table>"
    for content in operation.get("requestBody", {}).get("content", {}).items():
        body += f"<h4>Body <code>{content[0]}</code></h4>{_json(content[1]['schema'])}"
    rows = "".join(
        f"<tr><td><code>{status}</code><td>{escape(answer['description'])}"
        for status, answer in operation["responses"].items()
    )
    return f"<details>{head}{body}<h4>Answers</h4><table>{rows}</table></details>"


def _bounds(schema: dict[str, Any]) -> str:
    return " ".join(str(schema["type"]) if key == "type" else f"{key} {value}" for key, value in schema.items())


def _json(schema: Any) -> str:
    return f"<pre>{escape(json.dumps(schema, indent=2))}</pre>"
