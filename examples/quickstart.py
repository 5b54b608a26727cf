"""The whole way in one file: servers, a photograph, a workflow, five jobs at once, the finished pictures.

    export COMFYONE_API_KEY=co_… COMFYONE_DOMAIN=http://127.0.0.1:8080
    python examples/quickstart.py --backend http://127.0.0.1:8188 --backend http://127.0.0.1:8189

Any ComfyUI will do, and so will `comfyone sandbox`: the workflow needs no model. Run it as often as you like.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from threading import Thread
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn

from comfyone import (
    AssetRecord,
    BackendRecord,
    ComfyOne,
    ComfyOneError,
    ConflictError,
    IOType,
    Job,
    WorkflowInput,
    WorkflowInputPayload,
    WorkflowOutput,
    WorkflowOutputPayload,
    WorkflowPayload,
    WorkflowRecord,
)

HERE = Path(__file__).parent
PHOTOGRAPH = HERE / "assets" / "grace_hopper.jpg"

PRINT = WorkflowPayload(
    name="print",
    workflow=json.loads((HERE / "workflows" / "print.json").read_text()),
    inputs=WorkflowInputPayload(
        inputs=[
            WorkflowInput(id="1", type=IOType.IMAGE, name="image", required=True),
            WorkflowInput(id="2", type=IOType.NUMBER, name="width", minimum=64, maximum=2048),
            WorkflowInput(id="2", type=IOType.NUMBER, name="height", minimum=64, maximum=2048),
            WorkflowInput(id="3", type=IOType.NUMBER, name="color", title="ink", minimum=0, maximum=0xFFFFFF),
            WorkflowInput(
                id="4",
                type=IOType.STRING,
                name="blend_mode",
                title="method",
                choices=["normal", "multiply", "screen", "overlay", "soft_light", "difference"],
            ),
            WorkflowInput(id="4", type=IOType.NUMBER, name="blend_factor", title="strength", minimum=0, maximum=1),
            WorkflowInput(id="6", type=IOType.NUMBER, name="blend_factor", title="glow", minimum=0, maximum=1),
        ]
    ),
    outputs=WorkflowOutputPayload(outputs=[WorkflowOutput(id="7")]),
)

PRINTS: dict[str, dict[str, Any]] = {
    "amber": {"ink": 0xE0A040, "method": "multiply", "strength": 0.9},
    "cyanotype": {"ink": 0x1F3F90, "method": "screen", "strength": 1.0, "glow": 0.0},
    "poster": {"ink": 0xD02060, "method": "overlay", "strength": 1.0, "width": 600, "height": 600},
    "moonlight": {"ink": 0x5070B8, "method": "multiply", "strength": 1.0, "glow": 0.8},
    "night-vision": {"ink": 0x602080, "method": "difference", "strength": 1.0, "width": 360, "height": 600},
}


def main() -> int:
    parser = argparse.ArgumentParser(description="Five prints of one photograph.")
    parser.add_argument("--backend", action="append", default=[], metavar="URL", help="a ComfyUI server; repeatable")
    parser.add_argument("--out", type=Path, default=Path("prints"), help="folder for the pictures")
    arguments = parser.parse_args()
    try:
        with ComfyOne.from_env() as client:
            make_prints(client, arguments.backend, arguments.out, Console(highlight=False, soft_wrap=True))
    except ComfyOneError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped watching; the jobs go on", file=sys.stderr)
        return 130
    return 0


def make_prints(client: ComfyOne, urls: Sequence[str], folder: Path, console: Console) -> None:
    for url in urls:
        backend = BackendRecord.model_validate(client.api.register_backend(url).raise_for_code().data)
        console.print(f"backend   {backend.name} is {backend.status}")

    upload = client.api.upload_file(PHOTOGRAPH).raise_for_code()
    photograph = AssetRecord.model_validate(upload.data)
    console.print(f"uploaded  {photograph.name}, {photograph.size:,} bytes")

    workflow = store(client, PRINT)
    console.print(f"workflow  {workflow.name}, version {workflow.version}\n")

    jobs = {name: client.submit("print", image=photograph.path, **values) for name, values in PRINTS.items()}
    watch(jobs, console)

    console.print()
    folder.mkdir(parents=True, exist_ok=True)
    for name, job in jobs.items():
        [picture] = job.result()
        path = folder / f"{name}.png"
        path.write_bytes(picture.read())
        console.print(f"saved     {path}")


def store(client: ComfyOne, payload: WorkflowPayload) -> WorkflowRecord:
    """Create the workflow, or store the next version of it where there is one of that name."""
    try:
        answer = client.api.create_workflow(payload)
    except ConflictError:
        answer = client.api.update_workflow(payload.name, payload)
    return WorkflowRecord.model_validate(answer.raise_for_code().data)


def watch(jobs: dict[str, Job], console: Console) -> None:
    """Show a bar for each job until all have ended."""
    columns = (
        TextColumn("{task.description:<16}"),
        BarColumn(40),
        TaskProgressColumn(),
        TextColumn("{task.fields[state]}"),
    )
    with Progress(*columns, console=console) as bars:
        watchers = [
            Thread(target=follow, args=(job, bars, bars.add_task(name, total=100, state="submitted")), daemon=True)
            for name, job in jobs.items()
        ]
        for watcher in watchers:
            watcher.start()
        for watcher in watchers:
            watcher.join()


def follow(job: Job, bars: Progress, bar: TaskID) -> None:
    for event in job.events():
        if event.percent is not None:
            bars.update(bar, completed=event.percent)
        else:
            bars.update(bar, state=event.type, completed=100 if event.type == "succeeded" else None)


if __name__ == "__main__":
    raise SystemExit(main())
