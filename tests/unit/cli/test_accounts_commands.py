"""``comfyone tenants`` and ``comfyone keys``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.command import comfyone
from tests.unit.cli.conftest import Run


def test_a_tenant_is_made_listed_and_taken(admin: Run) -> None:
    assert admin("tenants", "create", "acme").out == "tenant acme\n"
    made = admin("tenants", "create", "beta", "--json").json
    assert made["name"] == "beta"
    admin("tenants", "create", "acme").fails(1, "acme", "already")
    rows = admin("tenants", "list", "--json").json
    assert [(row["name"], row["id"]) for row in rows if row["name"] == "beta"] == [("beta", made["id"])]
    table = admin("tenants", "list")
    assert table.code == 0
    assert {"name", "acme", "beta", made["id"]} <= set(table.out.split())


@pytest.mark.parametrize("name", ["", "a b", "../x", "-x", "x" * 64, "ü"])
def test_a_name_that_could_be_no_folder_is_refused(admin: Run, name: str) -> None:
    admin("tenants", "create", "--", name).fails(1, "tenant name", "hint")
    admin("keys", "create", f"--tenant={name}").fails(1, "tenant name")
    assert admin("tenants", "list", "--json").json == []


def test_a_key_is_printed_once_and_listed_by_its_first_characters(admin: Run, tmp_path: Path) -> None:
    made = admin("keys", "create", "--tenant", "acme", "--name", "ci", "--expires", "12h", "--json").json
    assert made["key"].startswith("co_")
    assert len(made["key"]) > 40
    assert made["key"].startswith(made["hint"])
    assert (made["tenant"], made["name"], made["revoked"]) == ("acme", "ci", None)
    assert set(made["scopes"].split()) == {"jobs", "workflows", "backends", "graphs", "webhooks"}
    plain = admin("keys", "create", "--tenant", "acme", "--scope", "jobs", "--scope", "admin").out.strip()
    rows = admin("keys", "list", "--json").json
    assert [row["hint"] for row in rows] == [made["hint"], plain[:8]]
    assert [row["scopes"] for row in rows] == ["backends graphs jobs webhooks workflows", "admin jobs"]
    table = admin("keys", "list", "--tenant", "acme")
    assert made["hint"] in table.out
    for key in (made["key"], plain):
        assert key not in str(rows) + table.out
        assert not any(key.encode() in path.read_bytes() for path in (tmp_path / "state").iterdir())


def test_a_key_is_revoked_by_its_id_or_its_first_characters(admin: Run) -> None:
    one, two = (admin("keys", "create", "--tenant", "acme", "--json").json for _ in range(2))
    assert admin("keys", "revoke", one["id"]).out == f"revoked {one['hint']}…\n"
    assert admin("keys", "revoke", two["hint"], "--json").json["id"] == two["id"]
    rows = admin("keys", "list", "--json").json
    assert all(row["revoked"] for row in rows)
    assert admin("keys", "revoke", one["id"], "--json").json["revoked"], "twice is once"
    assert admin("keys", "list", "--json").json == rows


def test_what_does_not_exist_or_makes_no_sense_is_told(admin: Run) -> None:
    admin("keys", "revoke", "no-such-key").fails(1, "no-such-key", "hint")
    assert "co_0123456789abcdef" not in admin("keys", "revoke", "co_0123456789abcdef").err
    admin("keys", "create", "--tenant", "acme", "--scope", "everything").fails(1, "everything", "jobs")
    admin("keys", "create", "--tenant", "acme", "--expires", "soon").fails(2, "--expires soon", "12h")
    admin("keys", "create").fails(2, "--tenant")
    assert admin("tenants", "list", "--json").json == []
    admin("keys", "list", "--tenant", "nobody").fails(1, "nobody", "tenants list")


def test_a_state_folder_that_is_none_is_told(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("I am no folder")
    comfyone("tenants", "list", "--state-dir", file).fails(1, str(file), "--state-dir")
    (tmp_path / "comfyone.db").write_text("I am no database, but long enough to be taken for one by a hasty reader")
    comfyone("tenants", "list", "--state-dir", tmp_path).fails(1, "comfyone.db", "--state-dir")
    assert (tmp_path / "comfyone.db").read_text().startswith("I am no database")


def test_a_state_of_a_later_version_is_left_alone(admin: Run, tmp_path: Path) -> None:
    import sqlite3

    admin("tenants", "create", "acme")
    connection = sqlite3.connect(tmp_path / "state" / "comfyone.db")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    admin("tenants", "list").fails(1, "version 99", "hint")
