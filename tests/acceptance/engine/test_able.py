"""What a backend has and what a job needs: a job goes where it can run, and is told at once when that is nowhere."""

from __future__ import annotations

from typing import Any

import requests

from comfyone.api.job import Job
from tests.acceptance.engine.conftest import MakeLab
from tests.acceptance.engine.lab import Lab, color_of, eventually, inverted
from tests.graphs import Graph, text_to_image, tiny

MANY = 70
"""More jobs than placement reads at once, and more than it reads past the first that has no place to go."""


def painted(checkpoint: str, seed: int = 0) -> Graph:
    graph = text_to_image("an owl", seed=seed, steps=1, width=64, height=64)
    graph["4"]["inputs"]["ckpt_name"] = checkpoint
    return {"3" if node_id == "9" else f"x{node_id}": _renamed(node) for node_id, node in graph.items()}


def _renamed(node: dict[str, Any]) -> dict[str, Any]:
    inputs = {
        name: [f"x{value[0]}", value[1]] if isinstance(value, list) else value for name, value in node["inputs"].items()
    }
    return {**node, "inputs": inputs}


def error_of(job: Job) -> dict[str, Any]:
    status = job.wait(40)
    assert status.state == "failed"
    assert status.error is not None
    return dict(status.error)


def label(lab: Lab, name: str, **labels: str) -> None:
    assert lab.v1.patch(f"/v1/backends/{name}", {"labels": labels}).data["labels"] == labels


def wait_all(jobs: list[Job]) -> None:
    for job in jobs:
        assert job.wait(40).state == "succeeded"


def test_jobs_go_only_to_backends_that_have_their_nodes(lab: MakeLab) -> None:
    here = lab(each=[{"lacking": ["ImageInvert"]}, {}])
    here.learned()
    jobs = [here.submit(tiny(color=color)) for color in range(6)]
    for color, job in enumerate(jobs):
        assert color_of(job) == inverted(color)
        assert (job.status().backend, job.status().attempts) == ("s1", 1)
    assert list(here.sandboxes[0].records) == []


def test_jobs_go_to_the_backend_that_has_their_model(lab: MakeLab) -> None:
    here = lab(each=[{"checkpoints": ["a.safetensors"]}, {"checkpoints": ["b.safetensors"]}])
    here.learned()
    jobs = [here.submit(painted(name, seed)) for seed in range(3) for name in ("a.safetensors", "b.safetensors")]
    wait_all(jobs)
    assert [job.status().backend for job in jobs] == ["s0", "s1"] * 3
    assert {job.status().attempts for job in jobs} == {1}


def test_what_no_backend_can_run_fails_at_once_and_says_what_each_lacks(lab: MakeLab) -> None:
    here = lab(each=[{"lacking": ["ImageInvert"]}, {"checkpoints": ["b.safetensors"], "lacking": ["KSampler"]}])
    here.learned()
    answer = here.v1.post("/v1/prompts_workflow", {"workflow": painted("gone.safetensors"), "outputs": ["3"]})
    status = here.v1.status(answer.data["id"])
    assert (status["state"], status["attempts"], status["error"]["type"]) == ("failed", 0, "unable")
    text = status["error"]["message"]
    assert "'s0' lacks 'gone.safetensors' for CheckpointLoaderSimple.ckpt_name" in text
    assert "'s1' lacks node class 'KSampler'" in text
    assert [event.type for event in here.sdk.job(answer.data["id"]).events()] == ["queued", "failed"]
    assert all(not list(sandbox.records) for sandbox in here.sandboxes)


def test_a_backend_that_does_not_say_what_it_has_gets_the_benefit_of_the_doubt(lab: MakeLab) -> None:
    here = lab(fail_requests={"/object_info": 1000})
    assert color_of(here.submit(tiny(color=1))) == inverted(1)


def test_a_model_in_a_folder_is_asked_for_as_its_backend_spells_it(lab: MakeLab) -> None:
    here = lab(each=[{"checkpoints": ["sd\\one.safetensors"]}, {"checkpoints": ["sd/two.safetensors"]}])
    here.learned()
    one, two = here.submit(painted("sd/one.safetensors")), here.submit(painted("sd\\two.safetensors"))
    wait_all([one, two])
    sent = [sent_to(here, number, job)["x4"]["inputs"]["ckpt_name"] for number, job in enumerate((one, two))]
    assert sent == ["sd\\one.safetensors", "sd/two.safetensors"]


def sent_to(lab: Lab, number: int, job: Job) -> Graph:
    """The graph of a job as its backend got it."""
    ((prompt_id, _),) = lab.prompts(job)
    history = requests.get(f"{lab.sandboxes[number].url}/history/{prompt_id}", timeout=10).json()
    graph: Graph = history[prompt_id]["prompt"][2]
    return graph


def test_a_backend_that_has_lost_a_model_is_asked_again_what_it_has_and_the_job_goes_elsewhere(lab: MakeLab) -> None:
    here = lab(2)
    here.learned()
    here.sandboxes[0].set(checkpoints=["another.safetensors"])
    first = here.submit(painted("v1-5-pruned-emaonly.safetensors"))
    wait_all([first])
    assert (first.status().backend, first.status().attempts) == ("s1", 2)
    (again,) = [event for event in first.events() if event.type == "requeued"]
    assert "backend 's0' is not able" in again.data["reason"]

    def spared() -> bool:
        # of two equals, the one that had nothing for longer is next: s0, as long as it is thought to be able
        job = here.submit(painted("v1-5-pruned-emaonly.safetensors"))
        wait_all([job])
        return job.status().attempts == 1

    eventually(spared)


def test_a_refusal_counts_when_the_job_names_its_backend_or_no_other_has_what_it_needs(lab: MakeLab) -> None:
    here = lab(2)
    here.learned()
    for sandbox in here.sandboxes:
        sandbox.set(checkpoints=["another.safetensors"])
    named = here.submit(painted("v1-5-pruned-emaonly.safetensors"), backend="s0")
    assert error_of(named)["type"] == "rejected"
    assert named.status().attempts == 1
    free = here.submit(painted("v1-5-pruned-emaonly.safetensors"))
    error = error_of(free)
    assert error["type"] == "rejected"
    assert "not in" in error["message"]
    assert free.status().attempts == 2, "each has said no once"


def test_jobs_that_nothing_free_can_take_hold_up_nobody(lab: MakeLab) -> None:
    here = lab(each=[{"checkpoints": ["a.safetensors"]}, {"checkpoints": ["b.safetensors"]}])
    here.learned()
    here.api.set_backend_state("s1", "draining").raise_for_code()
    stuck = [here.submit(painted("b.safetensors", seed)) for seed in range(MANY)]
    assert color_of(here.submit(tiny(color=3))) == inverted(3)
    assert {job.status().state for job in stuck} == {"queued"}
    here.api.set_backend_state("s1", "up").raise_for_code()
    wait_all(stuck)
    assert {job.status().backend for job in stuck} == {"s1"}


def test_jobs_that_each_free_backend_lacks_something_else_for_hold_up_nobody(lab: MakeLab) -> None:
    here = lab(each=[{"lacking": ["ImageInvert"]}, {}, {}])
    here.learned()
    label(here, "s0", gpu="big")
    label(here, "s2", gpu="big")
    here.api.set_backend_state("s2", "down").raise_for_code()
    stuck = [here.post(tiny(color=color), labels={"gpu": "big"}) for color in range(MANY)]
    assert color_of(here.submit(tiny(color=4))) == inverted(4)
    assert {job.status().state for job in stuck} == {"queued"}
    here.api.set_backend_state("s2", "up").raise_for_code()
    wait_all(stuck)
    assert {job.status().backend for job in stuck} == {"s2"}


def test_labels_choose_the_backend(lab: MakeLab) -> None:
    here = lab(2)
    label(here, "s0", gpu="small", site="north")
    label(here, "s1", gpu="big", site="north")
    jobs = [here.post(tiny(color=color), labels={"gpu": gpu}) for color in range(2) for gpu in ("big", "small")]
    both = here.post(tiny(color=9), labels={"site": "north", "gpu": "big"})
    wait_all([*jobs, both])
    assert [job.status().backend for job in (*jobs, both)] == ["s1", "s0", "s1", "s0", "s1"]


def test_a_label_that_no_backend_has_fails_the_job_at_once(lab: MakeLab) -> None:
    here = lab(2)
    label(here, "s0", gpu="small")
    error = error_of(here.post(tiny(), labels={"gpu": "huge"}))
    assert error["type"] == "unable"
    assert "'s0' lacks label gpu=huge; 's1' lacks label gpu=huge" in error["message"]
    error = error_of(here.post(tiny(), labels={"gpu": "small"}, backend="s1"))
    assert "'s1' lacks label gpu=small" in error["message"]
    assert "s0" not in error["message"]


def test_a_job_whose_only_backend_is_gone_fails_though_others_are_up(own_lab: MakeLab) -> None:
    here = own_lab(each=[{}, {"lacking": ["ImageInvert"]}], options=["--schedule-timeout", "1"])
    here.learned()
    here.api.set_backend_state("s0", "down").raise_for_code()
    error = error_of(here.submit(tiny(color=1)))
    assert error["type"] == "unschedulable"
    assert "'s0' is down" in error["message"]
    assert "s1" not in error["message"]
    job = here.submit(tiny(color=2))
    here.api.delete_backend("s0").raise_for_code()
    error = error_of(job)
    assert error["type"] == "unable"
    assert "'s1' lacks node class 'ImageInvert'" in error["message"]
