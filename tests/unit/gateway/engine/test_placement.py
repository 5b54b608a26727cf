"""Placement, by property: whoever waits and whatever is free."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from comfyone.gateway.domain.jobs import Job, Needs
from comfyone.gateway.domain.placement import WINDOW, Policy, Share, Slot, fits, models_of, place
from tests.unit.gateway.engine.samples import queued_job

BACKENDS = ["a", "b", "c", "d"]
TENANTS = ["t", "u", "v"]
MODELS = ["base.safetensors", "tuned.ckpt", "small.gguf"]

policies = st.sampled_from(Policy)
some = settings(max_examples=50)  # the large ones: what is drawn takes longer than what is tested
each_policy = pytest.mark.parametrize("policy", Policy)
labels = st.sampled_from([{}, {}, {"gpu": "large"}, {"gpu": "small"}, {"gpu": "large", "zone": "1"}])
loaded = st.frozensets(st.sampled_from(MODELS), max_size=2)
slots_of_some = st.lists(
    st.builds(
        Slot,
        backend_id=st.sampled_from(BACKENDS),
        load=st.integers(0, 5),
        depth=st.integers(1, 4),
        given_at=st.floats(0, 9),
        weight=st.integers(1, 5),
        labels=labels,
        warm=loaded,
    ),
    unique_by=lambda slot: slot.backend_id,
)
shares_of_some = st.lists(
    st.builds(Share, st.sampled_from(TENANTS), st.floats(0.1, 10), st.floats(0, 100), st.none() | st.integers(0, 4)),
    unique_by=lambda share: share.tenant_id,
)


def loading(*models: str) -> Needs:
    return Needs(frozenset(), frozenset(("Loader", "name", model) for model in models))


@st.composite
def queues_of_some(draw: st.DrawFn, most: int = 6) -> dict[str, list[Job]]:
    """Each tenant's jobs, in order; their ids tell the order."""
    job = st.fixed_dictionaries(
        {
            "wanted_backend_id": st.sampled_from([None, None, None, *BACKENDS]),
            "labels": labels,
            "needs": st.none() | st.builds(loading, st.sampled_from(MODELS)),
            "priority": st.integers(0, 1),
            "queued_at": st.floats(0, 20),
        }
    )
    return {
        tenant: [
            queued_job(f"{tenant}{number:03}", tenant_id=tenant, **fields)
            for number, fields in enumerate(draw(st.lists(job, max_size=most)))
        ]
        for tenant in TENANTS
    }


def waiting(wanted: Iterable[str | None], **fields: Any) -> list[Job]:
    return [queued_job(f"{number:03}", wanted_backend_id=name, **fields) for number, name in enumerate(wanted)]


def place_all(jobs: list[Job], slots: Iterable[Slot], **options: Any) -> list[tuple[Job, str]]:
    """Places the jobs of one tenant that has no rivals."""
    return place([Share("t")], lambda tenant: jobs, slots, **options)


def free_after(slots: Iterable[Slot], placed: list[tuple[Job, str]]) -> list[Slot]:
    taken = Counter(backend for _, backend in placed)
    return [slot for slot in slots if slot.load + taken[slot.backend_id] < slot.depth]


def forbidding(pairs: set[tuple[str, str]]) -> Callable[[Job, str], bool]:
    return lambda job, backend: (job.id[-1], backend) not in pairs


unable_pairs = st.sets(st.tuples(st.sampled_from("0123456789"), st.sampled_from(BACKENDS)))


# What holds under every policy


@some
@given(shares_of_some, queues_of_some(), slots_of_some, policies)
def test_no_backend_gets_more_than_it_has_room_for(
    shares: list[Share], queues: dict[str, list[Job]], slots: list[Slot], policy: Policy
) -> None:
    placed = Counter(backend for _, backend in place(shares, queues.__getitem__, slots, policy=policy))
    for slot in slots:
        assert placed[slot.backend_id] <= max(0, slot.depth - slot.load)
    assert placed.keys() <= {slot.backend_id for slot in slots}


@some
@given(shares_of_some, queues_of_some(), slots_of_some, policies)
def test_no_tenant_gets_more_than_it_has_room_for_and_no_other_gets_anything(
    shares: list[Share], queues: dict[str, list[Job]], slots: list[Slot], policy: Policy
) -> None:
    placed = Counter(job.tenant_id for job, _ in place(shares, queues.__getitem__, slots, policy=policy))
    for share in shares:
        assert share.room is None or placed[share.tenant_id] <= share.room
    assert placed.keys() <= {share.tenant_id for share in shares}


@some
@given(shares_of_some, queues_of_some(), slots_of_some, policies)
def test_no_job_is_placed_twice(
    shares: list[Share], queues: dict[str, list[Job]], slots: list[Slot], policy: Policy
) -> None:
    placed = [job.id for job, _ in place(shares, queues.__getitem__, slots, policy=policy)]
    assert len(placed) == len(set(placed))


@some
@given(shares_of_some, queues_of_some(), slots_of_some, policies, unable_pairs)
def test_a_job_goes_only_where_it_fits_and_can_run(
    shares: list[Share], queues: dict[str, list[Job]], slots: list[Slot], policy: Policy, pairs: set[tuple[str, str]]
) -> None:
    able, by_id = forbidding(pairs), {slot.backend_id: slot for slot in slots}
    for job, backend in place(shares, queues.__getitem__, slots, policy=policy, able=able):
        assert job.wanted_backend_id in (None, backend)
        assert by_id[backend].labels.items() >= job.labels.items()
        assert able(job, backend)


@some
@given(shares_of_some, queues_of_some(), slots_of_some, policies, unable_pairs, st.floats(0, 30))
def test_nothing_waits_while_a_backend_that_may_take_it_is_free(
    shares: list[Share],
    queues: dict[str, list[Job]],
    slots: list[Slot],
    policy: Policy,
    pairs: set[tuple[str, str]],
    now: float,
) -> None:
    able = forbidding(pairs)
    placed = place(shares, queues.__getitem__, slots, policy=policy, able=able, now=now)
    taken, gone = Counter(job.tenant_id for job, _ in placed), {job.id for job, _ in placed}
    for share in shares:
        if share.room is not None and taken[share.tenant_id] >= share.room:
            continue
        for job in queues[share.tenant_id]:
            if job.id not in gone:
                assert not any(fits(job, slot) and able(job, slot.backend_id) for slot in free_after(slots, placed))


@some
@given(shares_of_some, queues_of_some(), slots_of_some, policies, st.integers())
def test_the_same_arguments_give_the_same_placement(
    shares: list[Share], queues: dict[str, list[Job]], slots: list[Slot], policy: Policy, seed: int
) -> None:
    first = place(shares, queues.__getitem__, slots, policy=policy, seed=seed)
    assert place(iter(shares), lambda name: iter(queues[name]), iter(slots), policy=policy, seed=seed) == first


# The order of a queue


def test_nothing_of_a_higher_priority_is_passed_even_behind_a_job_of_a_lower_one() -> None:
    """With age, a job of a lower priority can stand before one of a higher."""
    needs = [loading(f"{name}.safetensors") for name in "abc"]
    jobs = [
        queued_job(f"{number:03}", needs=wants, priority=priority, queued_at=10.0)
        for number, (wants, priority) in enumerate(zip(needs, (0, 1, 0), strict=True))
    ]
    slot = Slot("b1", 0, 1, warm=frozenset({"c.safetensors"}))
    assert place_all(jobs, [slot], now=10.0, overtaking=5.0) == [(jobs[0], "b1")]


@some
@given(queues_of_some(), slots_of_some, policies, st.floats(0, 30), st.floats(0, 10))
def test_a_job_is_passed_only_by_such_as_find_their_models_loaded_while_it_is_fresh(
    queues: dict[str, list[Job]], slots: list[Slot], policy: Policy, now: float, overtaking: float
) -> None:
    shares = [Share(tenant) for tenant in TENANTS]
    placed = place(shares, queues.__getitem__, slots, policy=policy, now=now, overtaking=overtaking)
    turn, end = {job.id: number for number, (job, _) in enumerate(placed)}, len(placed)
    for job, _ in placed:
        for ahead in queues[job.tenant_id][: queues[job.tenant_id].index(job)]:
            passed = turn.get(ahead.id, end) > turn[job.id]
            free = free_after(slots, placed[: turn[job.id]])
            if passed and any(fits(ahead, slot) for slot in free):
                assert models_of(job.needs)
                assert models_of(ahead.needs)
                assert ahead.queued_at >= now - overtaking
                assert ahead.priority <= job.priority


@some
@given(queues_of_some(), slots_of_some, policies)
def test_without_overtaking_the_order_is_that_of_the_queue(
    queues: dict[str, list[Job]], slots: list[Slot], policy: Policy
) -> None:
    for jobs in queues.values():
        jobs[:] = [job for job in jobs if job.wanted_backend_id is None and not job.labels]
    placed = place([Share(name) for name in TENANTS], queues.__getitem__, slots, policy=policy, now=99, overtaking=0)
    for tenant in TENANTS:
        ids = [job.id for job, _ in placed if job.tenant_id == tenant]
        assert ids == sorted(ids)


def test_a_job_whose_models_are_loaded_goes_ahead_of_one_whose_are_not() -> None:
    cold, warm = queued_job("1", needs=loading("tuned.ckpt")), queued_job("2", needs=loading("base.safetensors"))
    slot = Slot("a", 0, 1, warm=frozenset({"base.safetensors"}))
    assert place_all([cold, warm], [slot], now=4.9) == [(warm, "a")]


@pytest.mark.parametrize(
    ("ahead", "fields"),
    [
        ({"needs": loading("tuned.ckpt"), "queued_at": 94.9}, {}),
        ({"needs": loading("tuned.ckpt"), "queued_at": 99.0, "priority": 1}, {}),
        ({"needs": None, "queued_at": 99.0}, {}),
        ({"needs": loading("tuned.ckpt"), "queued_at": 99.0}, {"needs": None}),
        ({"needs": loading("tuned.ckpt"), "queued_at": 99.0}, {"needs": loading("base.safetensors", "small.gguf")}),
    ],
    ids=["waited long", "more urgent", "without models", "no reason", "half loaded"],
)
def test_a_job_is_not_overtaken(ahead: dict[str, Any], fields: dict[str, Any]) -> None:
    first = queued_job("1", **ahead)
    second = queued_job("2", **{"needs": loading("base.safetensors"), "queued_at": 99.5, **fields})
    slot = Slot("a", 0, 1, warm=frozenset({"base.safetensors"}))
    assert place_all([first, second], [slot], now=100.0) == [(first, "a")]


def test_a_job_that_waits_behind_one_without_models_does_not_overtake_those_before_it() -> None:
    cold, plain = queued_job("1", needs=loading("tuned.ckpt")), queued_job("2")
    warm = queued_job("3", needs=loading("base.safetensors"))
    slot = Slot("a", 0, 1, warm=frozenset({"base.safetensors"}))
    assert place_all([cold, plain, warm], [slot]) == [(cold, "a")]


@given(st.lists(st.sampled_from([None, *BACKENDS]), max_size=20), slots_of_some, policies)
def test_a_job_that_waits_for_its_backend_holds_up_nobody(
    wanted: list[str | None], slots: list[Slot], policy: Policy
) -> None:
    stuck = [*waiting(["nowhere"] * 3), *waiting(wanted)]
    assert place_all(stuck, slots, policy=policy) == place_all(waiting(wanted), slots, policy=policy)


def test_a_queue_is_read_no_further_than_needed() -> None:
    assert read_of(waiting([None] * 9), [Slot("a", 0, 2)]) == 2
    assert read_of(waiting([None] * 9), [Slot("a", 2, 2)]) == 0


def test_a_queue_is_read_a_window_past_the_first_job_that_has_no_place() -> None:
    stuck = waiting([None, *["nowhere"] * (WINDOW + 1), None])
    assert read_of(stuck, [Slot("a", 0, 2)]) == WINDOW + 2
    assert len(place_all(stuck, [Slot("a", 0, 2)])) == 1
    assert len(place_all(stuck[2:], [Slot("a", 0, 2)])) == 1


def read_of(jobs: list[Job], slots: list[Slot]) -> int:
    """How many jobs a placement takes from a queue."""
    rest = iter(jobs)
    place([Share("t")], lambda tenant: rest, slots)
    return len(jobs) - len(list(rest))


# Between tenants


@given(
    shares_of_some, st.lists(st.integers(0, 12), min_size=3, max_size=3), st.integers(0, 20), st.sampled_from([0.5, 3])
)
def test_whoever_has_used_least_for_their_weight_is_next(
    shares: list[Share], counts: list[int], room: int, cost: float
) -> None:
    queues = {
        tenant: [queued_job(f"{tenant}{number}", tenant_id=tenant) for number in range(count)]
        for tenant, count in zip(TENANTS, counts, strict=True)
    }
    placed = place(shares, queues.__getitem__, [Slot("a", 0, room)], cost=lambda job: cost)
    used = {share.tenant_id: share.used / share.weight for share in shares}
    left = Counter(
        {
            share.tenant_id: min(len(queues[share.tenant_id]), 99 if share.room is None else share.room)
            for share in shares
        }
    )
    for job, _ in placed:
        least = min(used[tenant] for tenant in used if left[tenant])
        assert used[job.tenant_id] == least
        weight = next(share.weight for share in shares if share.tenant_id == job.tenant_id)
        used[job.tenant_id] += cost / weight
        left[job.tenant_id] -= 1
    assert len(placed) == room or not +left


def test_equals_are_served_in_the_order_given() -> None:
    placed = place([Share("v"), Share("t")], lambda name: endless(name), [Slot("a", 0, 4)])
    assert [job.tenant_id for job, _ in placed] == ["v", "t", "v", "t"]


def test_jobs_that_cost_nothing_pass_the_turn_on_too() -> None:
    placed = place([Share("t"), Share("u")], lambda name: endless(name), [Slot("a", 0, 4)], cost=lambda job: 0.0)
    assert [job.tenant_id for job, _ in placed] == ["t", "u", "t", "u"]


def test_a_tenant_with_three_times_the_weight_gets_three_times_as_much() -> None:
    shares = [Share("t", weight=3.0), Share("u", weight=1.0)]
    placed = place(shares, lambda name: endless(name), [Slot("a", 0, 400)])
    assert Counter(job.tenant_id for job, _ in placed) == {"t": 300, "u": 100}


def test_a_tenant_whose_jobs_have_no_place_leaves_it_to_others() -> None:
    queues = {"t": waiting(["busy"]), "u": waiting([None, None])}
    placed = place([Share("t"), Share("u", used=99.0)], queues.__getitem__, [Slot("a", 0, 3)])
    assert placed == [(job, "a") for job in queues["u"]]


def endless(tenant: str) -> Iterator[Job]:
    number = 0
    while True:
        yield queued_job(f"{tenant}{number}", tenant_id=tenant)
        number += 1


# Places to avoid


@some
@given(queues_of_some(), slots_of_some, slots_of_some, policies, st.sets(st.sampled_from(BACKENDS)), unable_pairs)
def test_a_job_goes_back_to_where_it_should_not_only_if_there_is_nowhere_else(
    queues: dict[str, list[Job]],
    slots: list[Slot],
    others: list[Slot],
    policy: Policy,
    avoided: set[str],
    pairs: set[tuple[str, str]],
) -> None:
    busy = [slot for slot in others if slot.backend_id not in {slot.backend_id for slot in slots}]
    able, shares = forbidding(pairs), [Share(tenant) for tenant in TENANTS]
    options: Mapping[str, Any] = {"policy": policy, "able": able, "avoid": lambda job: avoided}
    placed = place(shares, queues.__getitem__, slots, **options, busy=iter(busy))
    gone = {job.id for job, _ in placed}
    for job in (job for jobs in queues.values() for job in jobs):
        may = {slot.backend_id for slot in (*slots, *busy) if fits(job, slot) and able(job, slot.backend_id)}
        good = may - avoided or may
        assert all(backend in good for placed_job, backend in placed if placed_job is job)
        assert job.id in gone or not good & {slot.backend_id for slot in free_after(slots, placed)}


def test_a_job_that_waits_for_another_backend_holds_up_nobody() -> None:
    again, fresh = waiting([None, None])
    slots = [Slot("a", 0, 2), Slot("b", 2, 2)]
    assert place_all([again, fresh], slots, avoid=lambda job: {"a"} if job is again else ()) == [(fresh, "a")]


# Which backend


def test_labels_must_all_be_equal() -> None:
    slot = Slot("a", 0, 1, labels={"gpu": "large", "zone": "1"})
    assert fits(queued_job("1", labels={"gpu": "large"}), slot)
    assert not fits(queued_job("1", labels={"gpu": "large", "zone": "2"}), slot)
    assert not fits(queued_job("1", labels={"disk": ""}), slot)


def test_models_are_the_choices_that_name_model_files() -> None:
    needs = Needs(
        frozenset({"KSampler"}),
        frozenset({("Loader", "ckpt_name", "sd/Base.SAFETENSORS"), ("KSampler", "sampler_name", "euler")}),
    )
    assert models_of(needs) == {"sd/Base.SAFETENSORS"}
    assert models_of(None) == frozenset()


@given(st.lists(st.sampled_from([None, None, *BACKENDS]), max_size=20), slots_of_some)
def test_each_job_goes_to_the_least_busy_backend_of_its_moment(wanted: list[str | None], slots: list[Slot]) -> None:
    load = {slot.backend_id: slot.load for slot in slots}
    depth = {slot.backend_id: slot.depth for slot in slots}
    for job, backend in place_all(waiting(wanted), slots):
        if job.wanted_backend_id is None:
            assert load[backend] == min(load[name] for name in load if load[name] < depth[name])
        load[backend] += 1


@given(st.permutations([Slot(name, 0, 9, given_at) for given_at, name in enumerate(BACKENDS)]))
def test_backends_that_are_equally_busy_take_turns_beginning_with_the_one_that_waited_longest(
    slots: list[Slot],
) -> None:
    assert [backend for _, backend in place_all(waiting([None] * 10), slots)] == [*BACKENDS, *BACKENDS, *BACKENDS[:2]]


@given(st.permutations([Slot(name, load, 9, load) for load, name in enumerate(BACKENDS)]))
def test_round_robin_goes_by_turn_whatever_is_on_them(slots: list[Slot]) -> None:
    placed = place_all(waiting([None] * 10), slots, policy=Policy.ROUND_ROBIN)
    assert [backend for _, backend in placed] == [*BACKENDS, *BACKENDS, *BACKENDS[:2]]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=4))
def test_weighted_shares_in_proportion_to_the_weights(weights: list[int]) -> None:
    slots = [Slot(name, 0, 999, weight=weight) for name, weight in zip(BACKENDS, weights, strict=False)]
    placed = place_all(waiting([None] * sum(weights) * 10), slots, policy=Policy.WEIGHTED)
    counts = Counter(backend for _, backend in placed)
    assert {slot.backend_id: slot.weight * 10 for slot in slots} == counts


def test_weighted_begins_with_the_heaviest() -> None:
    slots = [Slot("a", 0, 9, weight=1), Slot("b", 1, 9, weight=4), Slot("c", 0, 9, weight=2)]
    placed = place_all(waiting([None] * 4), slots, policy=Policy.WEIGHTED)
    assert [backend for _, backend in placed] == ["b", "c", "b", "b"]


def test_random_is_even_and_follows_its_seed() -> None:
    slots = [Slot(name, 0, 3) for name in BACKENDS]
    orders = [place_all(waiting([None] * 6), slots, policy=Policy.RANDOM, seed=seed) for seed in range(400)]
    for turn in range(6):
        counts = Counter(order[turn][1] for order in orders)
        assert all(60 < counts[name] < 140 for name in BACKENDS)


@given(slots_of_some, st.integers(0, 20))
def test_all_active_gives_each_one_before_any_a_second_in_their_order(slots: list[Slot], count: int) -> None:
    idle = [Slot(slot.backend_id, 0, slot.depth, slot.given_at, warm=slot.warm) for slot in slots]
    jobs = waiting([None] * count, needs=loading(MODELS[0]))
    rounds = [[slot.backend_id for slot in idle if slot.depth > number] for number in range(4)]
    expected = [backend for backends in rounds for backend in backends]
    assert [backend for _, backend in place_all(jobs, idle, policy=Policy.ALL_ACTIVE)] == expected[:count]


@each_policy
def test_of_backends_that_are_equally_good_the_one_with_the_models_loaded_is_taken(policy: Policy) -> None:
    slots = [Slot(name, 0, 1, warm=frozenset(MODELS[:1]) if name == "c" else frozenset()) for name in BACKENDS]
    placed = place_all(waiting([None], needs=loading(MODELS[0])), slots, policy=policy)
    in_order = policy is Policy.ALL_ACTIVE  # the order of registration leaves no two equally good
    assert placed[0][1] == ("a" if in_order else "c")


def test_loaded_models_do_not_outweigh_load() -> None:
    slots = [Slot("a", 1, 2, warm=frozenset(MODELS[:1])), Slot("b", 0, 2)]
    assert place_all(waiting([None], needs=loading(MODELS[0])), slots)[0][1] == "b"


def test_what_a_call_has_placed_counts_as_loaded() -> None:
    slots = [Slot(name, 0, 2) for name in BACKENDS[:2]]
    jobs = [queued_job(str(number), needs=loading(MODELS[model])) for number, model in enumerate([0, 1, 1, 0])]
    placed = {job.id: backend for job, backend in place_all(jobs, slots)}
    assert placed == {"0": "a", "1": "b", "2": "b", "3": "a"}


# Over many rounds


@given(
    st.lists(st.tuples(st.floats(0.1, 10), st.floats(0.1, 10)), min_size=2, max_size=6),
    st.integers(1, 3),
    policies,
)
def test_every_tenant_with_work_is_served_within_a_bound(
    tenants: list[tuple[float, float]], room: int, policy: Policy
) -> None:
    """Weights and costs of any kind: between two of its jobs no other gets more than its share, and one job beyond."""
    weights = {f"t{number}": weight for number, (weight, _) in enumerate(tenants)}
    costs = {f"t{number}": cost for number, (_, cost) in enumerate(tenants)}
    used: defaultdict[str, float] = defaultdict(float)
    since: dict[str, Counter[str]] = {name: Counter() for name in weights}
    for _ in range(60):
        shares = [Share(name, weight, used[name]) for name, weight in weights.items()]
        options: Mapping[str, Any] = {"policy": policy, "cost": lambda job: costs[job.tenant_id]}
        for job, _ in place(shares, lambda name: endless(name), [Slot("a", 0, room)], **options):
            served = job.tenant_id
            used[served] += costs[served]
            for name in weights:
                since[name][served] += 1
            since[served].clear()
            for name, others in since.items():
                for other, count in others.items():
                    pause = costs[name] / weights[name]
                    assert count <= pause / (costs[other] / weights[other]) + 2


@given(st.lists(st.floats(0.1, 10), min_size=2, max_size=5))
def test_over_many_rounds_use_goes_by_weight(weights: list[float]) -> None:
    assume(max(weights) / min(weights) < 50)
    used = dict.fromkeys(map(str, range(len(weights))), 0.0)
    for _ in range(120):
        shares = [Share(name, weights[int(name)], used[name]) for name in used]
        for job, _ in place(shares, lambda name: endless(name), [Slot("a", 0, 1)]):
            used[job.tenant_id] += 1.0
    levels = [used[str(number)] / weight for number, weight in enumerate(weights)]
    assert max(levels) - min(levels) <= max(1 / weight for weight in weights) + 1e-6
