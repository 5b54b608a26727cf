"""A witness shares no code with the accused."""

from __future__ import annotations

import ast
from pathlib import Path

from comfyone import emulator


def test_the_emulator_imports_no_other_room() -> None:
    folder = Path(emulator.__file__).parent
    modules = list(folder.rglob("*.py"))
    assert len(modules) > 10
    for module in modules:
        for found in ast.walk(ast.parse(module.read_text())):
            names = [alias.name for alias in found.names] if isinstance(found, ast.Import) else []
            names += [found.module or ""] if isinstance(found, ast.ImportFrom) else []
            for name in names:
                assert not name.startswith("comfyone") or name.startswith("comfyone.emulator"), (module.name, name)
