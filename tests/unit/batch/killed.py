"""A batch in a process of its own, to be killed: ``python -m tests.unit.batch.killed FOLDER COUNT URL...``"""

from __future__ import annotations

import sys

from comfyone.batch.running import run
from comfyone.batch.sweep import sweep
from comfyone.comfyui.client import ComfyUIClient
from tests.graphs import text_to_image


def main() -> None:
    folder, count, *urls = sys.argv[1:]
    clients = [ComfyUIClient(url=url) for url in urls]
    jobs = sweep(text_to_image("an owl", width=64, steps=2), {"3.seed": range(int(count))})
    done = run(clients, jobs, folder, max_concurrent=3, progress=False)
    print(sum(job.status == "completed" for job in done))


if __name__ == "__main__":
    main()
