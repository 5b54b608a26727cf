"""One ComfyUI, blocking: run a workflow, watch it, and have its pictures.

    python examples/comfyui_pictures.py --server http://127.0.0.1:8188

A real ComfyUI needs the checkpoint that the workflow names; `comfyone sandbox` paints without.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from comfyone import ComfyUIClient
from comfyone.errors import ComfyExecutionError, ComfyUIError, PromptRejectedError

WORKFLOW = Path(__file__).parent / "workflows" / "text_to_image.json"


def show(message: dict[str, Any]) -> None:
    data = message["data"]
    print(f"node {data['node']}: step {data['value']} of {data['max']}")


def main() -> int:
    parser = argparse.ArgumentParser(description="Run a workflow on one ComfyUI.")
    parser.add_argument("--server", default="http://127.0.0.1:8188", help="address of a ComfyUI")
    parser.add_argument("--workflow", type=Path, default=WORKFLOW, help="a graph in API format")
    parser.add_argument("--out", type=Path, default=Path("pictures"), help="folder for the results")
    chosen = parser.parse_args()

    with ComfyUIClient(url=chosen.server) as client:
        try:
            print(f"ComfyUI {client.check().system.comfyui_version} at {client.base_url}")
            client.on("progress", show)
            future = client.submit(client.load_workflow(chosen.workflow))
            print(f"prompt {future.prompt_id} waits behind {len(client.get_queue().pending)} others")
            execution = future.result(timeout=600)
        except PromptRejectedError as error:
            for problem in error.problems:
                print(problem)
            return 1
        except ComfyExecutionError as error:
            print(f"{error} ({error.exception_type} in node {error.node_id})")
            return 1
        except ComfyUIError as error:
            print(error)
            return 1
        for path in execution.save(chosen.out):
            print(path)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
