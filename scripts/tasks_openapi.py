"""Writes the OpenAPI document of tasks and workers into the package, as JSON and as YAML.

python -m scripts.tasks_openapi
"""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from comfyone.gateway.dialects.tasks_v1 import document

FOLDER = Path(document.__file__).parent


def texts() -> dict[str, str]:
    """What each file has to hold."""
    text = json.dumps(document.tasks_document(), indent=2, ensure_ascii=False) + "\n"
    plain = json.loads(text)  # without parts that are one object in memory, which YAML would show
    return {
        "openapi.json": text,
        "openapi.yaml": yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=120),
    }


def main() -> None:
    for name, text in texts().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
        print(FOLDER / name)


if __name__ == "__main__":
    main()
