"""``comfyone tenants show`` and ``set``, narrowed keys, ``comfyone usage`` and ``comfyone audit``."""

from __future__ import annotations

import csv
import io
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Run


def test_what_a_tenant_is_granted_is_set_shown_and_put_back(admin: Run) -> None:
    admin("tenants", "create", "acme")
    changed = admin("tenants", "set", "acme", "--weight", "2", "--max-queued", "1000", "--withhold", "graphs",
                    "--deny-class", "ShellExec", "--deny-class", "Eval", "--json").json  # fmt: skip
    assert (changed["weight"], changed["max_queued"], changed["max_running"]) == (2, 1000, None)
    assert (changed["withheld"], changed["denied_classes"]) == (["graphs"], ["Eval", "ShellExec"])
    assert admin("tenants", "show", "acme", "--json").json == changed
    table = admin("tenants", "show", "acme").out
    assert {"ShellExec", "1000", "graphs"} <= set(table.replace(",", " ").split())
    assert "max_running" not in table
    back = admin("tenants", "set", "acme", "--max-queued", "default", "--deny-class", "default", "--json").json
    assert back == {**changed, "max_queued": None, "denied_classes": []}


@pytest.mark.parametrize(
    ("code", "arguments", "words"),
    [
        (1, ["acme", "--weight", "0"], ["weight", "above 0"]),
        (1, ["acme", "--weight", "nan"], ["weight"]),
        (1, ["acme", "--weight", "inf"], ["weight"]),
        (1, ["acme", "--max-queued", "1.5"], ["max_queued", "whole number"]),
        (1, ["acme", "--withhold", "jobs"], ["jobs", "graphs, workflows"]),
        (2, ["acme", "--max-bytes", "10G"], ["--max-bytes 10G", "default"]),
        (2, ["acme"], ["nothing", "--help"]),
        (1, ["nobody", "--weight", "2"], ["nobody"]),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_told_and_changes_nothing(
    admin: Run, code: int, arguments: list[str], words: list[str]
) -> None:
    admin("tenants", "create", "acme")
    before = admin("tenants", "show", "acme", "--json").json
    admin("tenants", "set", *arguments).fails(code, *words)
    assert admin("tenants", "show", "acme", "--json").json == before
    assert len(admin("audit", "--json").json) == 1


def test_a_key_is_narrowed_to_workflows(admin: Run) -> None:
    made = admin("keys", "create", "--tenant", "acme", "--workflow", "a", "--workflow", "b", "--json").json
    assert made["workflows"] == "a, b"
    assert "a, b" in admin("keys", "list").out
    assert admin("keys", "create", "--tenant", "acme", "--json").json["workflows"] is None
    admin("keys", "create", "--tenant", "acme", "--workflow", "").fails(1, "workflow")


def test_what_is_done_on_the_state_is_in_the_log_without_any_key(admin: Run) -> None:
    admin("tenants", "create", "acme")
    admin("tenants", "set", "acme", "--weight", "2")
    made = admin("keys", "create", "--tenant", "beta", "--json").json
    admin("keys", "revoke", made["id"])
    lines = admin("audit", "--json").json
    assert [(line["action"], line["tenant"]) for line in lines] == [
        ("key.revoke", "beta"),
        ("key.create", "beta"),
        ("tenant.create", "beta"),
        ("tenant.change", "acme"),
        ("tenant.create", "acme"),
    ]
    assert {line["actor"] for line in lines} == {"command line"}
    assert lines[3]["detail"] == {"policy": {"weight": 2}}
    assert [line["id"] for line in admin("audit", "--limit", "2", "--json").json] == [line["id"] for line in lines[:2]]
    table = admin("audit").out
    assert made["hint"] in table
    assert made["key"] not in table + str(lines)


def test_usage_is_shown_as_a_table_as_json_and_as_csv(admin: Run, tmp_path: Path) -> None:
    ids = [admin("tenants", "create", name, "--json").json["id"] for name in ("acme", "beta")]
    with closing(sqlite3.connect(tmp_path / "state" / "comfyone.db")) as connection, connection:
        for number, tenant_id in enumerate(ids):
            row = (tenant_id, "2026-01-02", "", "b", number + 1, 0, 0, 1.5, 10)
            connection.execute("INSERT INTO usage VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
    period = ["--from", "2026-01-01", "--to", "2026-01-31"]
    rows = admin("usage", *period, "--by", "tenant,day", "--json").json
    assert {(row["tenant"], row["day"], row["succeeded"]) for row in rows} == {
        ("acme", "2026-01-02", 1),
        ("beta", "2026-01-02", 2),
    }
    [alone] = csv.DictReader(io.StringIO(admin("usage", *period, "--tenant", "beta", "--csv").out))
    assert (alone["tenant"], alone["succeeded"], alone["workflow_id"]) == ("beta", "2", "")
    assert {"acme", "beta", "1.5"} <= set(admin("usage", *period).out.split())
    assert admin("usage", "--to", "2025-12-31", "--json").json == []
    admin("usage", "--from", "soon").fails(1, "soon", "2026-11-30")
    admin("usage", "--by", "colour").fails(1, "colour", "workflow")
    admin("usage", "--tenant", "nobody").fails(1, "nobody")
