"""A whole job through comfy-api-client, under an interpreter that has it and nothing of ours:  python public_async.py URL COLOUR

Prints what it saw as JSON. Its default tracker never resolves a future, on any server, so that the other one is used.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import sys
from typing import Any

import comfy_api_client  # type: ignore[import-not-found]


def graph(color: int) -> dict[str, Any]:
    return {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 48, "batch_size": 1, "color": color}},
        "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "async"}},
    }


def encoded(image: Any) -> str:
    file = io.BytesIO()
    image.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


async def main(url: str, color: int) -> None:
    async with comfy_api_client.create_client(url, start_state_tracker="http") as client:
        prompt = await client.submit_workflow(graph(color))
        result = await prompt.future
        history = await client.get_history()
        stats = await client.get_system_stats()
        queue = await client.get_queue()
        embeddings = await client.get_embeddings()
        completed = await client.get_completed_prompts()
    report = {
        "pictures": [encoded(item.image) for item in result.output_images],
        "promptId": prompt.prompt_id,
        "history": list(history),
        "devices": len(stats.devices),
        "queue": [len(queue.running), len(queue.pending)],
        "embeddings": len(embeddings),
        "completed": list(completed),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
