"""The rules of policies, narrowed keys and questions about usage, over whatever may be asked."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import fields
from datetime import date
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyone.errors import Fault
from comfyone.gateway.domain.policies import WITHHOLDABLE, changed_policy, check_granted
from comfyone.gateway.domain.tenants import (
    ALL_BUT_ADMIN,
    ApiKey,
    Scope,
    TenantPolicy,
    hint_of,
    parse_workflows,
    principal_of,
)
from comfyone.gateway.domain.usage import MAX_DAYS, Dimension, usage_question
from comfyone.gateway.storage.rows import policy_text, tenant_of
from tests.graphs import tiny

T = TypeVar("T")
CLASSES = ("EmptyImage", "ImageInvert", "SaveImage")
NUMBERS: st.SearchStrategy[Any] = st.none() | st.integers() | st.floats() | st.booleans()
NAMES: st.SearchStrategy[Any] = st.none() | st.lists(st.sampled_from(["graphs", "workflows", "jobs", ""]), max_size=3)
CHANGES = st.fixed_dictionaries(
    {},
    optional={
        field.name: NAMES if field.name in ("withheld", "allowed_classes", "denied_classes") else NUMBERS
        for field in fields(TenantPolicy)
    },
)
SETS = st.frozensets(st.sampled_from(CLASSES))
TODAY = date(2026, 11, 22)


def outcome(ask: Callable[[], T]) -> tuple[T | None, Fault | None]:
    """What was answered, or how it was refused."""
    try:
        return ask(), None
    except Fault as fault:
        return None, fault


def check_refusal(fault: Fault | None, names: Collection[str]) -> None:
    """It names one of these inputs."""
    assert fault is not None
    assert fault.slug == "invalid_body"
    assert fault.field in names


def key(scopes: frozenset[Scope], workflows: tuple[str, ...] | None = None) -> ApiKey:
    return ApiKey("key", "tenant", "", "co_12345", scopes, 0.0, None, None, workflows)


@given(CHANGES)
def test_a_policy_is_changed_as_asked_or_refused_by_a_field_and_is_stored_as_it_is(changes: dict[str, Any]) -> None:
    policy, refusal = outcome(lambda: changed_policy(TenantPolicy(), changes))
    if policy is None:
        return check_refusal(refusal, changes)
    for name, value in changes.items():
        wanted = getattr(TenantPolicy(), name) if value is None else value
        assert getattr(policy, name) == (frozenset(value) if isinstance(value, list) else wanted)
    assert policy.weight > 0
    assert policy.withheld <= WITHHOLDABLE
    assert tenant_of(("id", "name", 0.0, policy_text(policy))).policy == policy


@given(st.none() | SETS, SETS)
def test_a_graph_is_granted_when_each_of_its_classes_is(allowed: frozenset[str] | None, denied: frozenset[str]) -> None:
    policy = TenantPolicy(allowed_classes=allowed, denied_classes=denied)
    granted = (set(CLASSES) if allowed is None else set(allowed)) - denied
    if granted == set(CLASSES):
        return check_granted(policy, tiny())
    with pytest.raises(Fault) as caught:
        check_granted(policy, tiny())
    assert caught.value.slug == "class_forbidden"
    [name] = [name for name in CLASSES if f"'{name}'" in caught.value.message]
    assert name not in granted


@given(
    st.frozensets(st.sampled_from(Scope)), st.frozensets(st.sampled_from(sorted(WITHHOLDABLE))), st.none() | st.just(())
)
def test_nobody_has_more_than_key_tenant_and_narrowing_leave(
    scopes: frozenset[Scope], withheld: frozenset[Scope], workflows: tuple[str, ...] | None
) -> None:
    principal = principal_of(key(scopes, workflows), TenantPolicy(withheld=withheld))
    lost = withheld if workflows is None else withheld | WITHHOLDABLE
    assert principal.scopes == scopes - lost
    assert principal.may_run("w") == (workflows is None)


def test_a_narrowed_key_runs_what_it_names() -> None:
    principal = principal_of(key(ALL_BUT_ADMIN, ("a", "b")), TenantPolicy())
    assert [principal.may_run(name) for name in ("a", "b", "A", "")] == [True, True, False, False]
    assert principal.actor == "key co_12345… key"
    assert parse_workflows([" a", "a", "b"]) == ("a", "b")
    assert parse_workflows(None) is None


@given(st.text(max_size=60))
def test_a_hint_never_tells_a_key(text: str) -> None:
    assert len(hint_of(text)) <= max(8, 0)
    assert len(hint_of(text)) * 4 <= len(text)
    assert text.startswith(hint_of(text))


@given(st.none() | st.dates() | st.text(max_size=12), st.none() | st.dates() | st.text(max_size=12))
def test_a_period_is_sound_or_refused(first: date | str | None, last: date | str | None) -> None:
    begin, end = (value.isoformat() if isinstance(value, date) else value for value in (first, last))
    question, refusal = outcome(lambda: usage_question(begin, end, None, TODAY, tenant_id=None, own=False))
    if question is None:
        return check_refusal(refusal, ("from", "to"))
    days = (date.fromisoformat(question.last) - date.fromisoformat(question.first)).days
    assert 0 <= days < MAX_DAYS
    if not begin and not end:
        assert (question.last, days) == (TODAY.isoformat(), 29)


def test_a_question_asks_by_what_it_names_in_one_order() -> None:
    def by(text: str | None, own: bool) -> tuple[Dimension, ...]:
        return usage_question(None, None, text, TODAY, tenant_id="t", own=own).by

    assert by("backend, day", own=True) == by("day,backend,day", own=False) == (Dimension.DAY, Dimension.BACKEND)
    assert by(None, own=False) == tuple(Dimension)
    assert Dimension.TENANT not in by("", own=True)
    with pytest.raises(Fault, match="by=tenant"):
        by("tenant", own=True)
