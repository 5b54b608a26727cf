"""One ComfyUI, asynchronous: many prompts at once, each with a result to come.

    python examples/comfyui_async.py --server 127.0.0.1:8188 --count 8

A real ComfyUI needs the checkpoint that the workflow names; `comfyone sandbox` paints without.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from comfyone import create_client
from comfyone.comfyui import PromptResult, utils

WORKFLOW = Path(__file__).parent / "workflows" / "text_to_image.json"


async def run(server: str, tracker: str, count: int) -> list[PromptResult]:
    """Submit the workflow so often, each time with seeds of its own, and wait for all results."""
    workflow = utils.read_json(WORKFLOW)
    async with create_client(server, start_state_tracker=tracker) as client:  # type: ignore[arg-type]
        print(await client.get_system_stats())
        prompts = [await client.submit_workflow(utils.randomize_noise_seeds(workflow)) for _ in range(count)]
        return await asyncio.gather(*(prompt.future for prompt in prompts if prompt.future is not None))


def save(results: list[PromptResult], out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for result in results:
        for number, item in enumerate(result.output_images):
            item.image.save(out / f"{result.prompt_id}-{number}.png")


def main() -> int:
    parser = argparse.ArgumentParser(description="Run a workflow many times at once.")
    parser.add_argument("--server", default="127.0.0.1:8188", help="address of a ComfyUI")
    parser.add_argument("--tracker", choices=["websocket", "http"], default="websocket", help="how ends are noticed")
    parser.add_argument("--count", type=int, default=4)
    parser.add_argument("--out", type=Path, default=Path("pictures"))
    chosen = parser.parse_args()
    results = asyncio.run(run(chosen.server, chosen.tracker, chosen.count))
    save(results, chosen.out)
    print(f"{len(results)} prompts, {sum(len(result.output_images) for result in results)} pictures in {chosen.out}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
