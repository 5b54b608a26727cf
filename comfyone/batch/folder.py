"""A batch's folder: the manifest, and beside it the results under names that stay the same however often it is resumed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from comfyone.batch.faults import SavingError, Verdict, judge
from comfyone.batch.jobs import Job, JobStatus
from comfyone.batch.manifest import Manifest, Note, sync_folder
from comfyone.batch.sweep import Planned
from comfyone.utils.files import safe_name

__all__ = ["MANIFEST", "BatchFolder"]

MANIFEST = "manifest.jsonl"
_ENTRY = ("outputs", "meta")  # of a history entry; the rest repeats the workflow


class BatchFolder:
    """Keeps a batch, for one process at a time. Once it is closed, nothing is written there: others may be at work.

    Raises:
        BatchBusyError: Another process has it open.
        ManifestError: Its manifest can't be read.
        OSError: The folder can't be made or written.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self.manifest = Manifest(self.folder / MANIFEST)
        self._owners = {name.casefold(): note.job_id for note in self.manifest.notes.values() for name, _ in note.files}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let others have it."""
        self.manifest.close()

    def planned(self) -> list[Planned]:
        """What the batch was begun with, to go on without whoever began it."""
        return [Planned(note.job_id, note.workflow, note.metadata) for note in self.manifest.notes.values()]

    def finished(self, note: Note) -> Job | None:
        """The job as it ended, if it was completed and its files are still there."""
        if note.state != "completed" or not all(_is_there(self.folder / name, size) for name, size in note.files):
            return None
        return Job(
            job_id=note.job_id,
            workflow=note.workflow,
            metadata=note.metadata,
            status=JobStatus.COMPLETED,
            prompt_id=note.prompt_id,
            server=note.server,
            result=note.entry,
            files=tuple(self.folder / name for name, _ in note.files),
        )

    # --- what a queue tells

    def sending(self, job: Job) -> None:
        """See `Keeper`."""
        self.manifest.note(job.job_id, "sent", prompt_id=job.prompt_id, server=job.server)

    def place(self, job: Job, filename: str, index: int, total: int) -> Path:
        """See `Keeper`: ``{job}.png``, or ``{job}_01.png`` and so on where there are several."""
        self.manifest.check_open()
        stem, suffix = _stem(job.job_id), Path(safe_name(filename, "file.bin")).suffix
        part = "" if total == 1 else f"_{index + 1:02d}"
        for tail in ("", f"~{_digest(job.job_id)}"):  # jobs 'a' and 'a_01' may both want a_01.png
            name = f"{stem}{part}{tail}{suffix}"
            if self._owners.setdefault(name.casefold(), job.job_id) == job.job_id:
                return _free(self.folder / name)
        raise AssertionError("unreachable: the second name holds the job's own digest")

    def completed(self, job: Job, entry: Mapping[str, Any], files: tuple[Path, ...]) -> None:
        """See `Keeper`."""
        self.manifest.check_open()
        try:
            sizes = tuple((path.name, _secured(path)) for path in files)
            sync_folder(self.folder)
        except OSError as error:
            raise SavingError(f"the results of job '{job.job_id}' can't be written: {error}") from error
        kept = {name: entry[name] for name in _ENTRY if name in entry}
        self.manifest.note(job.job_id, "completed", prompt_id=job.prompt_id, server=job.server, files=sizes, entry=kept)

    def failed(self, job: Job) -> None:
        """The job failed. Where its prompt may be at a server all the same, it is looked for the next time."""
        unclear = job.exception is not None and judge(job.exception) in (Verdict.SERVER, Verdict.LOCAL)
        trace = {"prompt_id": job.prompt_id, "server": job.server} if unclear else {}
        self._note_end(job, "failed", error=job.error, **trace)

    def cancelled(self, job: Job) -> None:
        """The job was cancelled; it is run when the batch is run again."""
        self._note_end(job, "cancelled")

    def _note_end(self, job: Job, state: str, **facts: Any) -> None:
        """Write it down unless the batch is closed: the next run finds out for itself what became of the job."""
        try:
            self.manifest.note(job.job_id, state, **facts)
        except SavingError:
            if not self.manifest.closed:
                raise


def _free(path: Path) -> Path:
    if path.is_dir():
        raise SavingError(f"{path} can't be written: there is a folder of that name", hint="move it, and run again")
    return path


def _is_there(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _secured(path: Path) -> int:
    """Make sure that a file will be there after a power cut, and give its size."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())
        return file.seek(0, os.SEEK_END)


def _stem(job_id: str) -> str:
    safe = safe_name(job_id.encode(errors="replace").decode(), "job")
    return safe if safe == job_id else f"{safe}~{_digest(job_id)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:8]
