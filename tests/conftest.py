"""What all tests share: which promised items they prove is written down when they pass."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("unhurried", deadline=None)  # an example may take its time: the machine may be busy
settings.load_profile("unhurried")

RECORDS = Path(__file__).parent.parent / "build" / "seeds"


class SeedRecorder:
    """Collects, over all workers, the outcome of every test that is marked with checklist items."""

    def __init__(self) -> None:
        self._outcomes: dict[str, set[bool]] = defaultdict(set)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if (report.when == "call" and not report.skipped) or report.failed:
            for name, item in report.user_properties:
                if name == "seed":
                    self._outcomes[str(item)].add(report.passed)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        name = "comfyui" if os.environ.get("COMFYONE_TEST_COMFYUI") else "test"
        partial = session.config.args != session.config.getini("testpaths") and name == "test"
        if not partial and self._outcomes:
            RECORDS.mkdir(parents=True, exist_ok=True)
            record = {item: all(passed) for item, passed in sorted(self._outcomes.items())}
            (RECORDS / f"{name}.json").write_text(json.dumps(record, indent=1))


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(SeedRecorder(), "seed-recorder")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for marker in item.iter_markers("seed"):
            item.user_properties += [("seed", name) for name in marker.args]
