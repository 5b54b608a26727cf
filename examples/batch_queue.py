"""Ten pictures from one workflow, each with another seed, over one ComfyUI server or several.

    python examples/batch_queue.py http://127.0.0.1:8188 http://127.0.0.1:8189

A real ComfyUI needs the checkpoint that the workflow names; `comfyone sandbox` paints without.
"""

from __future__ import annotations

import argparse
import json
from contextlib import ExitStack
from pathlib import Path

from comfyone.batch import Job, QueueManager
from comfyone.comfyui import ComfyUIClient
from comfyone.utils.outputs import extract_output_images

WORKFLOW = Path(__file__).parent / "workflows" / "text_to_image.json"


def main() -> int:
    parser = argparse.ArgumentParser(description="Ten seeds of one workflow.")
    parser.add_argument("server", nargs="*", default=["http://127.0.0.1:8188"], help="address of a ComfyUI")
    parser.add_argument("--out", type=Path, default=Path("seeds"), help="folder for the pictures")
    parser.add_argument("--steps", type=int, default=20)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)

    with ExitStack() as opened:
        clients = {url: opened.enter_context(ComfyUIClient(url=url)) for url in arguments.server}
        queue_manager = QueueManager(list(clients.values()), max_concurrent=3)

        # Called one after another, in the order in which things happen.
        queue_manager.on("job_completed", lambda job: print(f"completed {job.job_id} on {job.server}"))
        queue_manager.on("job_failed", lambda job: print(f"failed {job.job_id}: {job.error}"))

        base_workflow = json.loads(WORKFLOW.read_text())
        base_workflow["3"]["inputs"]["steps"] = arguments.steps
        for i in range(10):
            workflow = base_workflow.copy()  # the queue takes a copy of all of it, so a shallow one will do here
            workflow["3"]["inputs"]["seed"] = i * 1000
            queue_manager.add_job(f"job_{i}", workflow)

        queue_manager.start()
        queue_manager.wait_for_completion(timeout=3600)
        queue_manager.stop()

        for job in queue_manager.get_jobs_by_status("completed"):
            save(job, clients[job.server or ""], arguments.out)
        stats = queue_manager.get_statistics()
    print(f"completed: {stats['completed']}, failed: {stats['failed']}")
    return 0 if stats["completed"] == stats["total_jobs"] else 1


def save(job: Job, client: ComfyUIClient, folder: Path) -> None:
    for index, image in enumerate(extract_output_images(job.result or {})):
        data = client.get_image(image["filename"], subfolder=image["subfolder"], folder_type=image["type"])
        (folder / f"{job.job_id}_{index}.png").write_bytes(data)


if __name__ == "__main__":
    raise SystemExit(main())
