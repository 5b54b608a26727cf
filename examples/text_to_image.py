"""The classic text-to-image graph as a named workflow, run for several prompts.

    export COMFYONE_API_KEY=co_… COMFYONE_DOMAIN=http://127.0.0.1:8080
    python examples/text_to_image.py --backend http://127.0.0.1:8188 "an owl at night" "a lighthouse"

A real ComfyUI needs the checkpoint that ``--checkpoint`` names; `comfyone sandbox` paints a pattern of its own that
depends on the prompt and the seed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from comfyone import (
    ComfyOne,
    ConflictError,
    IOType,
    JobFailedError,
    WorkflowInput,
    WorkflowInputPayload,
    WorkflowOutput,
    WorkflowOutputPayload,
    WorkflowPayload,
)

GRAPH = Path(__file__).parent / "workflows" / "text_to_image.json"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Pictures from words.")
    parser.add_argument("prompt", nargs="*", default=["an owl at night", "a lighthouse in the fog"])
    parser.add_argument("--backend", metavar="URL", help="a ComfyUI server to register first")
    parser.add_argument("--checkpoint", default="v1-5-pruned-emaonly.safetensors", help="the model's file name")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("painted"), help="folder for the pictures")
    chosen = parser.parse_args(arguments)

    with ComfyOne.from_env() as client:
        if chosen.backend:
            client.api.register_backend(chosen.backend).raise_for_code()
        store(client, workflow(json.loads(GRAPH.read_text()), chosen.checkpoint))
        jobs = [
            client.submit("text-to-image", prompt=text, seed=chosen.seed, steps=chosen.steps) for text in chosen.prompt
        ]
        for text, job in zip(chosen.prompt, jobs, strict=True):
            try:
                print(f"{text}: {', '.join(map(str, job.save(chosen.out)))}")
            except JobFailedError as error:
                print(f"{text}: {error}")
                return 1
    return 0


def workflow(graph: dict[str, Any], checkpoint: str) -> WorkflowPayload:
    """The graph with its inputs under names that say what they are: both text nodes call theirs ``text``."""
    graph["4"]["inputs"]["ckpt_name"] = checkpoint
    return WorkflowPayload(
        name="text-to-image",
        workflow=graph,
        inputs=WorkflowInputPayload(
            inputs=[
                WorkflowInput(id="6", type=IOType.STRING, name="text", title="prompt", required=True),
                WorkflowInput(id="7", type=IOType.STRING, name="text", title="negative"),
                WorkflowInput(id="3", type=IOType.NUMBER, name="seed", minimum=0),
                WorkflowInput(id="3", type=IOType.NUMBER, name="steps", minimum=1, maximum=100),
            ]
        ),
        outputs=WorkflowOutputPayload(outputs=[WorkflowOutput(id="9")]),
    )


def store(client: ComfyOne, payload: WorkflowPayload) -> None:
    """Create the workflow, or store its next version."""
    try:
        client.api.create_workflow(payload).raise_for_code()
    except ConflictError:
        client.api.update_workflow(payload.name, payload).raise_for_code()


if __name__ == "__main__":
    raise SystemExit(main())
