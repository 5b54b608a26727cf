"""Usage, the audit log and its bounds, and shared backends: on a real database."""

from __future__ import annotations

import time
from collections import Counter
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyone.errors import Fault
from comfyone.gateway.dispatch.housekeeping import Housekeeping
from comfyone.gateway.domain.audit import AuditEntry
from comfyone.gateway.domain.backends import BackendState
from comfyone.gateway.domain.placement import Policy
from comfyone.gateway.domain.usage import Dimension, UsageQuestion
from comfyone.gateway.services import usage
from comfyone.gateway.storage.session import SqlSession
from tests.unit.gateway.engine.samples import TENANT, backend, open_session, open_store

KEYS = st.tuples(
    st.sampled_from(["t1", "t2"]),
    st.sampled_from(["2026-01-01", "2026-01-02", "2026-01-03"]),
    st.sampled_from(["", "w1", "w2"]),
    st.sampled_from(["b1", "b2"]),
)
COLUMNS = ("tenant_id", "day", "workflow_id", "backend_id")


def book(session: SqlSession, key: tuple[str, ...], succeeded: int) -> None:
    session.run("INSERT INTO usage VALUES (?, ?, ?, ?, ?, 0, 0, ?, 1)", (*key, succeeded, succeeded / 2))


@given(
    st.dictionaries(KEYS, st.integers(0, 100), max_size=20),
    st.lists(st.sampled_from(Dimension), min_size=1, unique=True),
    st.none() | st.just("t1"),
)
def test_usage_adds_up_to_what_was_booked(
    booked: dict[tuple[str, ...], int],
    dimensions: list[Dimension],
    tenant: str | None,
) -> None:
    by = tuple(dimension for dimension in Dimension if dimension in dimensions)
    question = UsageQuestion("2026-01-01", "2026-01-02", by, tenant)
    places = [list(Dimension).index(dimension) for dimension in by]
    expected: Counter[tuple[str, ...]] = Counter()
    with open_session(Path(":memory:")) as session:
        for key, succeeded in booked.items():
            book(session, key, succeeded)
            if key[1] <= question.last and tenant in (None, key[0]):
                expected[tuple(key[place] for place in places)] += succeeded
        rows = list(session.usage.rows(question))
    told = {tuple(getattr(row, COLUMNS[place]) for place in places): row.succeeded for row in rows}
    assert len(told) == len(rows)
    assert told == dict(expected)
    assert list(told) == sorted(told)
    assert sum(row.backend_seconds for row in rows) == sum(expected.values()) / 2


async def test_more_rows_than_a_document_holds_come_as_csv_alone_and_in_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage, "MAX_ROWS", 4)
    monkeypatch.setattr(usage, "IN_MEMORY", 20)
    monkeypatch.setattr(usage, "CHUNK", 7)
    question = UsageQuestion("2026-01-01", "2026-01-31", (Dimension.DAY,), TENANT)
    async with open_store(tmp_path / "db") as store:
        reports = usage.Usage(store)
        for day in range(1, 6):
            if day == 5:
                assert len(await reports.rows(question)) == 4
            await store.write(partial(book, key=(TENANT, f"2026-01-{day:02}", "", "b"), succeeded=day))
        with pytest.raises(Fault, match="more than 4 rows") as caught:
            await reports.rows(question)
        assert "CSV" in str(caught.value.hint)
        lines = "".join([piece async for piece in reports.csv(question)]).splitlines()
    assert [line.split(",")[:2] for line in lines[1:]] == [[f"2026-01-{day:02}", str(day)] for day in range(1, 6)]


def test_the_audit_log_keeps_what_is_young_and_not_too_much(tmp_path: Path) -> None:
    with open_session(tmp_path / "db") as session:
        for number in range(10):
            session.audit.add(AuditEntry(f"{number:02}", float(number), "who", TENANT, "a.b", "s", {"n": number}))

        def kept() -> list[str]:
            return [entry.id for entry in session.audit.entries(None, 100)]

        assert session.audit.prune(0.0, 10, 50) == 0
        assert [entry.tenant for entry in session.audit.entries("02", 100)] == [TENANT, TENANT]
        assert session.audit.prune(3.0, 100, 2) == 2, "no more at once than was asked"
        assert session.audit.prune(3.0, 100, 2) == 1
        assert kept() == [f"{number:02}" for number in range(9, 2, -1)]
        assert session.audit.prune(0.0, 4, 50) == 3
        assert kept() == ["09", "08", "07", "06"]
        assert session.audit.entries(None, 1)[0].detail == {"n": 9}


async def test_housekeeping_forgets_what_is_older_than_a_year(tmp_path: Path) -> None:
    def add(session: SqlSession) -> None:
        for number in range(120):  # more than one batch
            session.audit.add(AuditEntry(f"{number:03}", 0.0, "who", None, "a.b", "s", {}))
        session.audit.add(AuditEntry("young", time.time(), "who", None, "a.b", "s", {}))

    async with open_store(tmp_path / "db") as store:
        await store.write(add)
        unused: Any = None
        await Housekeeping(store, unused, unused, unused, unused).prune_audit()
        assert [entry.id for entry in await store.read(lambda session: session.audit.entries(None, 9))] == ["young"]


def test_every_pool_has_a_policy(tmp_path: Path) -> None:
    with open_session(tmp_path / "db") as session:
        for policy in chain(Policy, Policy):
            session.pools.set_policy(TENANT, policy)
            assert session.pools.policy(TENANT) is policy
        assert session.pools.policy("shared") is Policy.LEAST_BUSY


def test_a_tenants_door_shows_shared_backends_and_lets_none_be_changed(tmp_path: Path) -> None:
    with open_session(tmp_path / "db", "own", "both") as session:
        for name in ("both", "pooled"):
            session.shared_backends.add(backend(name, id=f"shared-{name}", tenant_id="owner", shared=True))
        door, owner = session.tenant(TENANT), session.tenant("owner")
        assert [(seen.id, seen.url) for seen in door.backends()][2:] == [("shared-pooled", "")]
        assert [seen.name for seen in door.backends()] == ["both", "own", "pooled"]
        assert [seen.url for seen in owner.backends()] == ["http://both:8188", "http://pooled:8188"]
        for tenant, key in ((door, "pooled"), (owner, "pooled"), (door, "http://pooled:8188"), (door, "")):
            with pytest.raises(Fault, match="no backend"):
                tenant.change_backend(key, state=BackendState.DOWN, weight=None, labels=None)
            with pytest.raises(Fault, match="no backend"):
                tenant.delete_backend(key)
        assert session.shared_backends.change("both", state=None, weight=7, labels=None).weight == 7
        assert door.backend("both").weight == 1, "the tenant's own is another"
        session.shared_backends.delete("both")
        assert [seen.name for seen in session.shared_backends.all()] == ["pooled"]
        assert [seen.name for seen in door.backends()] == ["both", "own", "pooled"]
