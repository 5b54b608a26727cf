"""The simulation, at a small size: what must hold there, and that what it measures is what it says."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import pytest

from comfyone.gateway.domain.placement import Policy
from scripts.simulation.cluster import Way, simulate
from scripts.simulation.measures import jain, percentile, used_by, utilisation, waits, warm_rate, windows
from scripts.simulation.scenario import QUICK, Scenario, draw

ROOT = Path(__file__).resolve().parent.parent.parent.parent


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return draw(QUICK)


@pytest.mark.parametrize("way", [*(Way(policy, policy) for policy in Policy), Way("one queue", fair=False)], ids=str)
def test_every_job_runs_once_where_it_may_whatever_the_way(scenario: Scenario, way: Way) -> None:
    trace = simulate(scenario, way)
    attempts = Counter(run.work.number for run in trace.runs)
    assert attempts == {work.number: 2 if work.fails else 1 for work in scenario.works}
    assert trace.returned == 0
    busy: dict[int, float] = {}
    for run in sorted(trace.runs, key=lambda run: run.began):
        assert run.began >= run.work.job.queued_at
        assert run.began >= busy.get(run.backend, 0.0)
        busy[run.backend] = run.ended
        backend = scenario.backends[run.backend]
        assert run.work.job.wanted_backend_id in (None, backend.id)
        assert backend.labels.items() >= run.work.job.labels.items()


def test_equal_tenants_get_as_much_while_they_have_work_and_no_backend_idles(scenario: Scenario) -> None:
    trace = simulate(scenario, Way("fair"))
    found = windows(scenario, trace)
    assert found
    # two jobs of a backend are the grain, and a tenant's share here is a few backends
    assert min(window.jain for window in found) > 0.9
    assert utilisation(scenario, trace) > 0.98


def test_fair_shares_spare_small_tenants_the_queues_of_large_ones(scenario: Scenario) -> None:
    fair, one_queue = (simulate(scenario, Way("", fair=fair)) for fair in (True, False))
    medians = [percentile(waits(scenario, trace)["small"], 50) for trace in (fair, one_queue)]
    assert medians[0] * 2 < medians[1]


def test_looking_at_loaded_models_finds_them_more_often(scenario: Scenario) -> None:
    rates = [warm_rate(simulate(scenario, Way("", affinity=affinity))) for affinity in (True, False)]
    assert rates[0] > rates[1]


def test_the_same_scenario_gives_the_same_trace(scenario: Scenario) -> None:
    assert draw(QUICK) == scenario
    first, second = (simulate(scenario, Way("", Policy.RANDOM)).runs for _ in range(2))
    assert first == second


def test_jain_is_one_for_equals_and_one_over_n_for_a_monopoly() -> None:
    assert jain([3.0, 3.0, 3.0]) == pytest.approx(1.0)
    assert jain([5.0, 0.0, 0.0, 0.0]) == pytest.approx(0.25)


def test_use_within_a_span_counts_only_what_lies_in_it(scenario: Scenario) -> None:
    trace = simulate(scenario, Way(""))
    whole = sum(run.ended - run.began for run in trace.runs)
    parts = [sum(used_by(trace.runs, at, at + 50.0).values()) for at in range(0, 1000, 50)]
    assert sum(parts) == pytest.approx(whole)
    assert max(parts) <= QUICK.backends * 50.0 + 1e-6


def test_the_script_reports_and_says_what_was_met(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "scripts.simulate", "--quick", "--check", "--output", str(tmp_path)]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "MISSED" not in done.stdout
    report = (tmp_path / "report.md").read_text()
    assert "What is worse" in report
    for picture in tmp_path.glob("*.svg"):
        assert f"({picture.name})" in report
        ElementTree.parse(picture)
    assert len(list(tmp_path.glob("*.svg"))) == 3
