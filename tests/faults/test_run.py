"""A whole run, as small as can be: real processes, and real kills."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
TROUBLES = ("kill", "kill gateway", "lose answers", "drop sockets")


def run(report: Path, *more: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "faults", "--report", str(report), *more]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=230, check=False)


@pytest.mark.timeout(240)
def test_a_small_run_holds_in_everything_and_says_so(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    only = [word for kind in TROUBLES for word in ("--only", kind)]
    done = run(report, "--seed", "5", "--seconds", "6", "--jobs", "40", "--backends", "3", *only)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "seed 5: 40 jobs" in done.stdout
    assert len(re.findall(r" holds *$", done.stdout, re.MULTILINE)) == 13
    told = json.loads(report.read_text())
    assert (told["violations"], sum(told["states"].values())) == (0, 40)
    assert {one["kind"] for one in told["happened"]} == set(TROUBLES)
    assert told["gateway lives"] >= 2
    assert "backend s0 is live" in (tmp_path / "gateway.log").read_text()


@pytest.mark.parametrize("kind", ["nonsense", ""])
def test_a_trouble_that_does_not_exist_is_refused(tmp_path: Path, kind: str) -> None:
    done = run(tmp_path / "report.json", "--only", kind)
    assert done.returncode == 2
    assert "kill gateway" in done.stderr
    assert not list(tmp_path.iterdir())
