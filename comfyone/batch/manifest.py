"""A batch on disk: one line of JSON for each thing that happened, each safe on the disk before the next thing is done.

What is killed in the middle of a line leaves half a line at the end, which the next to open the file cuts off.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from comfyone.batch.faults import SavingError
from comfyone.batch.sweep import Planned
from comfyone.errors import ComfyOneError, ValidationError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

__all__ = ["BatchBusyError", "BatchChangedError", "Manifest", "ManifestError", "Note", "discard", "sync_folder"]

FORMAT = {"format": "comfyone-batch", "version": 1}
_HELD = frozenset({errno.EAGAIN, errno.EACCES, errno.EDEADLK})  # what systems say of a lock that another process has
_SPARE = 2  # so many lines for each job are let be before the file is written anew


class ManifestError(ComfyOneError):
    """A batch's manifest can't be read, or not be locked."""


class BatchBusyError(ComfyOneError):
    """Another process works on the batch."""


class BatchChangedError(ValidationError):
    """A job is not what it was when the batch was begun."""


@dataclass(frozen=True, slots=True)
class Note:
    """What is known of one job.

    Args:
        state: ``planned``, ``sent``, ``completed``, ``failed`` or ``cancelled``.
        prompt_id: Its prompt, which may be at the server from just before it is sent.
        server: The address of that.
        files: Names in the batch's folder, and sizes.
        entry: The part of the history entry that says what came of it.
    """

    job_id: str
    workflow: dict[str, Any]
    metadata: dict[str, Any] = field(default_factory=dict)
    state: str = "planned"
    prompt_id: str | None = None
    server: str | None = None
    files: tuple[tuple[str, int], ...] = ()
    entry: dict[str, Any] = field(default_factory=dict)
    error: str | None = None

    def lines(self) -> Iterator[dict[str, Any]]:
        """The fewest lines that tell this."""
        yield {"job": self.job_id, "state": "planned", "workflow": self.workflow, "metadata": self.metadata}
        if self.state != "planned":
            facts = {name: getattr(self, name) for name in _FACTS if getattr(self, name)}
            yield {"job": self.job_id, "state": self.state, **facts}


_FACTS = ("prompt_id", "server", "files", "entry", "error")


class Manifest:
    """The manifest of a batch, open for one process at a time.

    Raises:
        BatchBusyError: Another process has it open.
        ManifestError: It is no manifest, a line in its middle is no JSON, or there can be no lock in its folder.
        OSError: It can't be read or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.notes: dict[str, Note] = {}
        self._guard = threading.Lock()  # workers write as they go
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as opened:
            self._lock = opened.enter_context(_locked(_lock_of(path)))
            self._file = opened.enter_context(path.open("a+b", buffering=0))
            lines = self._read()
            if lines > 1 + _SPARE * len(self.notes):
                self._compact()
            self._opened = opened.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let others have it. From now on, nothing can be written down."""
        with self._guard:  # what is being written is written to its end
            self._file.close()
        self._opened.close()

    @property
    def closed(self) -> bool:
        """Whether others may have it."""
        return self._file.closed

    def check_open(self) -> None:
        """Check that the batch is still ours.

        Raises:
            SavingError: It is closed.
        """
        if self.closed:
            raise SavingError(f"{self.path} can't be written: the batch is closed", hint="run the batch again to go on")

    def plan(self, jobs: Iterable[Planned]) -> list[Note]:
        """Write down what is to be done; what is there already stays as it is.

        Raises:
            BatchChangedError: A job is there with another workflow.
            ValidationError: Two jobs have one name, or a workflow has no JSON form.
        """
        wanted = [
            Note(each.job_id, _plain(each.job_id, each.workflow), _plain(each.job_id, each.metadata)) for each in jobs
        ]
        _check_names(wanted)
        for note in wanted:
            known = self.notes.get(note.job_id)
            if known and known.workflow != note.workflow:
                raise _changed(known, note)
        fresh = [note for note in wanted if note.job_id not in self.notes]
        self._append(line for note in fresh for line in note.lines())
        self.notes |= {note.job_id: note for note in fresh}
        return [self.notes[note.job_id] for note in wanted]

    def note(self, job_id: str, state: str, **facts: Any) -> None:
        """Write down how a job stands now; what is not named is forgotten.

        Raises:
            SavingError: It can't be written. Nothing has changed.
        """
        known = self.notes[job_id]
        note = Note(known.job_id, known.workflow, known.metadata, state, **facts)
        self._append([list(note.lines())[-1]])
        self.notes[job_id] = note

    # --- the file

    def _read(self) -> int:
        """Read all lines, and give how many there were. Half a line at the end is cut off."""
        whole, number = 0, 0
        for line in self.path.read_bytes().splitlines(keepends=True):
            if line.endswith(b"\n"):
                whole, number = whole + len(line), number + 1
                self._take(number, line)
        self._file.truncate(whole)
        if whole == 0:
            self._append([FORMAT])
            sync_folder(self.path.parent)
        return max(number, 1)

    def _take(self, number: int, line: bytes) -> None:
        try:
            fact = json.loads(line)
            if number == 1:
                _check_format(fact)
                return
            job_id, state = fact["job"], fact["state"]
            if state == "planned":
                self.notes[job_id] = Note(job_id, fact["workflow"], fact["metadata"])
            else:
                facts = {name: fact[name] for name in _FACTS if name in fact}
                facts["files"] = tuple((name, size) for name, size in facts.get("files", ()))
                known = self.notes[job_id]
                self.notes[job_id] = Note(known.job_id, known.workflow, known.metadata, state, **facts)
        except (ValueError, KeyError, TypeError) as error:
            raise ManifestError(
                f"line {number} of {self.path} is none of a batch's manifest: {error!r}",
                hint="use another folder, put back a copy of the file, or begin anew with 'comfyone batch --again'",
            ) from error

    def _append(self, facts: Iterable[Mapping[str, Any]]) -> None:
        content = b"".join(_line(fact) for fact in facts)
        if not content:
            return
        with self._guard:
            self.check_open()
            end = self._file.seek(0, os.SEEK_END)
            try:
                while content:
                    content = content[self._file.write(content) :]
                os.fsync(self._file.fileno())
            except OSError as error:
                with contextlib.suppress(OSError):  # half a line is cut off now, or by the next to open the file
                    self._file.truncate(end)
                raise SavingError(
                    f"{self.path} can't be written: {error}", hint="make room, and run the batch again"
                ) from error

    def _compact(self) -> None:
        """Write the file anew with what still holds, in one step."""
        draft = self.path.with_name(f".{self.path.name}.part")
        with draft.open("wb") as file:
            file.write(_line(FORMAT))
            file.writelines(_line(line) for note in self.notes.values() for line in note.lines())
            file.flush()
            os.fsync(file.fileno())
        self._file.close()
        os.replace(draft, self.path)
        sync_folder(self.path.parent)
        self._file = self.path.open("a+b", buffering=0)


def discard(path: Path) -> None:
    """Forget a batch, so that it can be begun anew, even one whose manifest can't be read. Its results stay where they are.

    Args:
        path: The manifest. That there is none is no error.

    Raises:
        BatchBusyError: Another process works on the batch.
        ManifestError: There can be no lock in its folder.
        OSError: The manifest can't be removed.
    """
    if path.parent.is_dir():
        with _locked(_lock_of(path)):
            path.unlink(missing_ok=True)
            sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make sure that what is in a folder will be there after a power cut."""
    if sys.platform != "win32":  # where a folder can't be opened
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _lock_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.lock")


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[IO[bytes]]:
    """Hold a lock that ends with the process, however that ends.

    Raises:
        BatchBusyError: Another process has it.
        ManifestError: The system gives none.
    """
    with path.open("a+b") as file:
        try:
            if sys.platform == "win32":
                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            else:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in _HELD:
                raise ManifestError(
                    f"the batch in {path.parent} can't be locked: {error}",
                    hint="use a folder on a file system that has locks",
                ) from error
            raise BatchBusyError(
                f"another process works on the batch in {path.parent}", hint="wait for it, or use another folder"
            ) from error
        yield file


def _line(fact: Mapping[str, Any]) -> bytes:
    return json.dumps(fact, ensure_ascii=False, separators=(",", ":")).encode(errors="surrogatepass") + b"\n"


def _plain(job_id: str, value: Mapping[str, Any]) -> dict[str, Any]:
    """A value as it comes back from the file."""
    try:
        plain: dict[str, Any] = json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise ValidationError(f"job '{job_id}' can't be written as JSON: {error}") from error
    return plain


def _check_format(fact: Any) -> None:
    if fact != FORMAT:
        raise ValueError(f"it begins with {fact!r:.80}, not with {FORMAT}")


def _check_names(notes: Iterable[Note]) -> None:
    seen: dict[str, str] = {}
    for note in notes:
        other = seen.setdefault(note.job_id.casefold(), note.job_id)
        if other is not note.job_id:
            raise ValidationError(
                f"two jobs of a batch are called '{other}' and '{note.job_id}'",
                hint="their results would be one file; give them names that differ in more than case",
            )


def _changed(known: Note, note: Note) -> BatchChangedError:
    return BatchChangedError(
        f"job '{note.job_id}' has another workflow than when the batch was begun: {_difference(known, note)}",
        {"job_id": note.job_id, "before": _digest(known.workflow), "now": _digest(note.workflow)},
        hint="give the job another name, or the batch another folder, or begin anew with 'comfyone batch --again'",
    )


def _difference(known: Note, note: Note) -> str:
    before, now = dict(_leaves(known.workflow)), dict(_leaves(note.workflow))
    for place in {**before, **now}:
        if before.get(place, "absent") != now.get(place, "absent"):
            return f"{place} was {before.get(place, 'absent')!r:.60} and is {now.get(place, 'absent')!r:.60}"
    return "it differs"


def _leaves(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for name, item in value.items():
            yield from _leaves(item, f"{place}.{name}" if place else str(name))
    else:
        yield place, value


def _digest(workflow: Mapping[str, Any]) -> str:
    return hashlib.sha256(_line(workflow)).hexdigest()
