"""A hundred prompts at once through the public asynchronous client that the package index offers.

Run by `bench.futures` under an interpreter that has comfy-api-client and nothing of ours:

    python rival.py URL COUNT FIRST_COLOUR

Prints the seconds that it took, and how many pictures came back. Its default tracker never resolves a future, so that it
is used with the other one, which asks.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import comfy_api_client  # type: ignore[import-not-found]


def tiny(color: int) -> dict[str, Any]:
    return {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": color}},
        "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "bench"}},
    }


async def main(url: str, count: int, color: int) -> None:
    async with comfy_api_client.create_client(url, start_state_tracker="http") as client:
        began = time.perf_counter()
        prompts = await asyncio.gather(*(client.submit_workflow(tiny(color + number)) for number in range(count)))
        results = await asyncio.gather(*(prompt.future for prompt in prompts))
        seconds = time.perf_counter() - began
    print(json.dumps({"seconds": seconds, "pictures": sum(len(result.output_images) for result in results)}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
