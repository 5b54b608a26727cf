"""Every combination of prompts and seeds, in a folder from which it can be resumed, and a sheet of all results.

    python examples/batch_sweep.py --server http://127.0.0.1:8188 "an owl at night" "a lighthouse in the fog"

Kill it whenever you like, and start it again: what is done is not done again. A real ComfyUI needs the checkpoint that
the workflow names; `comfyone sandbox` paints without.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path

from comfyone.batch import run_async
from comfyone.batch.contact_sheet import contact_sheet
from comfyone.batch.sweep import sweep
from comfyone.comfyui import AsyncComfyUIClient

WORKFLOW = Path(__file__).parent / "workflows" / "text_to_image.json"


async def main() -> int:
    parser = argparse.ArgumentParser(description="Prompts times seeds.")
    parser.add_argument("prompt", nargs="*", default=["an owl at night", "a lighthouse in the fog"])
    parser.add_argument("--server", default="http://127.0.0.1:8188", help="address of a ComfyUI")
    parser.add_argument("--seeds", type=int, default=5, help="how many pictures of each prompt")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("sweep"), help="folder of the batch")
    chosen = parser.parse_args()

    graph = json.loads(WORKFLOW.read_text())
    jobs = sweep(graph, {"6.text": chosen.prompt, "3.seed": range(chosen.seeds), "3.steps": [chosen.steps]})
    async with AsyncComfyUIClient(url=chosen.server) as client:
        done = await run_async(client, jobs, chosen.out)
    for job in done:
        print(f"{job.status.value:<10} {job.error or ', '.join(map(str, job.files))}")
    print(f"sheet      {contact_sheet(done, chosen.out / 'sheet.jpg')}")
    return 0 if all(job.status == "completed" for job in done) else 1


if __name__ == "__main__":
    raise SystemExit(asyncio.run(main()))
