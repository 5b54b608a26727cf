"""From a workflow file to a picture, and from the picture back to the workflow.

    python examples/graph_tools.py --server http://127.0.0.1:8188 --prompt "an owl at night"

The workflow is checked against the server, filled in by name, given a new seed, and run. What the server wrote into the
picture is read back and is the same graph. A real ComfyUI needs the checkpoint that the workflow names; `comfyone
sandbox` paints without.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from comfyone import ComfyUIClient, WorkflowManager
from comfyone.graph.metadata import read_workflow
from comfyone.graph.validate import errors_of, validate

WORKFLOW = Path(__file__).parent / "workflows" / "text_to_image.json"


def main() -> int:
    parser = argparse.ArgumentParser(description="Check, fill in, run, and read back.")
    parser.add_argument("--server", default="http://127.0.0.1:8188", help="address of a ComfyUI")
    parser.add_argument("--prompt", default="an owl at night")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("graphs"), help="folder for the picture and its workflow")
    chosen = parser.parse_args()

    manager = WorkflowManager()
    places = {"prompt": {"node_id": "6", "input_name": "text"}, "steps": {"node_id": "3", "input_name": "steps"}}
    manager.create_template("paint", manager.load_workflow(WORKFLOW), places)
    filled = manager.instantiate_template("paint", {"prompt": chosen.prompt, "steps": chosen.steps})
    seeded = manager.randomize_seeds(filled)
    print(f"seeds      {seeded.seeds}")

    with ComfyUIClient(url=chosen.server) as client:
        problems = validate(seeded.graph, client.get_object_info())
        for problem in problems:
            print(f"{problem.severity:<10} {problem.message}")
        if errors_of(problems):
            return 1
        [picture] = client.execute_workflow(seeded.graph).save(chosen.out)

    again = read_workflow(picture)
    print(f"picture    {picture}")
    print(f"workflow   {manager.save_workflow(again, chosen.out / 'workflow.json')}")
    print(f"the same   {again == seeded.graph}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
