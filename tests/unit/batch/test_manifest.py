"""A batch on disk, and what a crash, a full disk or another process does to it."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comfyone.batch.faults import SavingError
from comfyone.batch.folder import BatchFolder
from comfyone.batch.jobs import Job
from comfyone.batch.manifest import BatchBusyError, BatchChangedError, Manifest, ManifestError, Note, discard
from comfyone.batch.sweep import Planned
from comfyone.errors import ServerUnreachableError, ValidationError


def graph(seed: int = 0) -> dict[str, Any]:
    return {"3": {"class_type": "KSampler", "inputs": {"seed": seed, "text": "schön \ud800"}}}


JOBS = [Planned("a", graph(1), {"parameters": {"3.seed": 1}}), Planned("b", graph(2))]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "batch" / "manifest.jsonl"


def notes(path: Path) -> dict[str, Note]:
    with Manifest(path) as manifest:
        return manifest.notes


def test_what_was_written_down_is_there_when_the_batch_is_opened_again(path: Path) -> None:
    with Manifest(path) as manifest:
        manifest.plan(JOBS)
        manifest.note("a", "sent", prompt_id="p1", server="http://s")
        manifest.note("a", "completed", prompt_id="p1", server="http://s", files=(("a.png", 7),), entry={"outputs": {}})
        manifest.note("b", "failed", error="alas")
        before = manifest.notes
    assert notes(path) == before
    assert before["a"].files == (("a.png", 7),)
    assert (before["b"].state, before["b"].error, before["b"].prompt_id) == ("failed", "alas", None)


@settings(deadline=None, max_examples=60)
@given(share=st.floats(0, 1))
def test_a_file_that_ends_anywhere_is_read_up_to_its_last_whole_line(
    share: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("cut") / "manifest.jsonl"
    with Manifest(path) as manifest:
        manifest.plan(JOBS)
        manifest.note("a", "sent", prompt_id="p1", server="s")
    whole = path.read_bytes()
    path.write_bytes(whole[: round(share * len(whole))])
    with Manifest(path) as manifest:
        manifest.plan(JOBS)
        manifest.note("b", "sent", prompt_id="p2", server="s")
    again = notes(path)
    assert set(again) == {"a", "b"}
    assert again["b"].prompt_id == "p2"
    assert again["a"].state in ("planned", "sent")


def test_the_file_is_written_anew_when_most_of_it_holds_no_longer(path: Path) -> None:
    with Manifest(path) as manifest:
        manifest.plan(JOBS)
        for index in range(50):
            manifest.note("a", "sent", prompt_id=f"p{index}", server="s")
    before = notes(path)  # opened, and so written anew
    assert len(path.read_bytes().splitlines()) == 4
    assert notes(path) == before
    assert before["a"].prompt_id == "p49"


def test_a_job_with_another_workflow_is_refused_and_the_difference_is_named(path: Path) -> None:
    with Manifest(path) as manifest:
        manifest.plan(JOBS)
        with pytest.raises(BatchChangedError, match=r"'a' .* 3\.inputs\.seed was 1 and is 5 \(give the job another"):
            manifest.plan([Planned("a", graph(5))])
        with pytest.raises(BatchChangedError, match=r"9\.class_type was 'absent' and is 'SaveImage'.*batch --again"):
            manifest.plan([Planned("a", {**graph(1), "9": {"class_type": "SaveImage"}})])
        assert manifest.plan(JOBS)[0].metadata == {"parameters": {"3.seed": 1}}


def test_a_batch_may_grow(path: Path) -> None:
    with Manifest(path) as manifest:
        manifest.plan(JOBS)
    with Manifest(path) as manifest:
        assert [note.job_id for note in manifest.plan([Planned("c", graph(3)), JOBS[0]])] == ["c", "a"]
    assert list(notes(path)) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("jobs", "told"),
    [
        ([Planned("owl", graph()), Planned("OWL", graph())], "'owl' and 'OWL'"),
        ([Planned("a", {"1": {"inputs": {"x": float("nan")}}})], "job 'a' can't be written as JSON"),
        ([Planned("a", {"1": {"inputs": {"x": b""}}})], "job 'a' can't be written as JSON"),
    ],
)
def test_jobs_that_cannot_be_kept_are_refused(path: Path, jobs: list[Planned], told: str) -> None:
    with Manifest(path) as manifest, pytest.raises(ValidationError, match=told):
        manifest.plan(jobs)


@pytest.mark.parametrize(
    "content", [b"a shopping list\n", b'{"format":"other"}\n', b'{"format":"comfyone-batch","version":1}\n{"job":1}\n']
)
def test_a_file_that_is_no_manifest_is_left_alone(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(ManifestError, match=r"line \d of .*manifest\.jsonl.*'comfyone batch --again'"):
        Manifest(path)
    assert path.read_bytes() == content


def test_another_process_cannot_work_on_the_batch_meanwhile_and_can_after_a_kill(path: Path) -> None:
    program = f"from comfyone.batch.manifest import *; from pathlib import Path; m = Manifest(Path({str(path)!r}))"
    line = [sys.executable, "-c", f"{program}\nprint('open', flush=True)\ninput()"]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"open\n"
        with pytest.raises(BatchBusyError, match="another process works on the batch"):
            Manifest(path)
        other.kill()
    assert notes(path) == {}


@pytest.mark.skipif(sys.platform == "win32", reason="locks as on POSIX")
@pytest.mark.parametrize(
    ("number", "error", "told"),
    [
        (errno.EACCES, BatchBusyError, "another process works on the batch"),
        (errno.ENOLCK, ManifestError, "can't be locked: .*No locks.* \\(use a folder on a file system"),
    ],
)
def test_a_lock_that_the_system_does_not_give_is_told_as_what_it_is(
    path: Path, monkeypatch: pytest.MonkeyPatch, number: int, error: type[Exception], told: str
) -> None:
    def refused(file: object, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", refused)
    with pytest.raises(error, match=told):
        Manifest(path)


def test_a_batch_that_is_closed_takes_nothing_more(path: Path) -> None:
    with Manifest(path) as manifest:
        manifest.plan(JOBS)
        assert not manifest.closed
    before = path.read_bytes()
    assert manifest.closed
    with pytest.raises(SavingError, match=r"the batch is closed \(run the batch again"):
        manifest.note("a", "sent", prompt_id="p", server="s")
    with pytest.raises(SavingError, match="the batch is closed"):
        manifest.plan([Planned("c", graph(3))])
    assert manifest.notes["a"].state == "planned"
    assert path.read_bytes() == before


def test_a_batch_is_forgotten_unless_somebody_works_on_it(path: Path) -> None:
    discard(path)  # neither it nor its folder is there
    assert not path.parent.exists()
    with Manifest(path) as manifest:
        manifest.plan(JOBS)
        with pytest.raises(BatchBusyError, match="another process works on the batch"):
            discard(path)
    assert set(notes(path)) == {"a", "b"}
    (path.parent / "a.png").touch()
    discard(path)
    assert notes(path) == {}
    path.write_bytes(b"a shopping list\n")
    discard(path)
    assert not path.exists()
    assert (path.parent / "a.png").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_told_and_changes_nothing(path: Path) -> None:
    with Manifest(path) as manifest:
        manifest.plan(JOBS)
        kept, full = manifest._file, open("/dev/full", "ab", buffering=0)  # noqa: SIM115
        manifest._file = full
        with full, pytest.raises(SavingError, match=r"can't be written.*make room"):
            manifest.note("a", "sent", prompt_id="p", server="s")
        manifest._file = kept
        assert manifest.notes["a"].state == "planned"
        manifest.note("a", "sent", prompt_id="p2", server="s")
    assert notes(path)["a"].prompt_id == "p2"


def test_many_threads_may_write_at_once(path: Path) -> None:
    names = [str(number) for number in range(40)]
    with Manifest(path) as manifest:
        manifest.plan(Planned(name, graph()) for name in names)
        with ThreadPoolExecutor(8) as workers:
            list(workers.map(lambda name: manifest.note(name, "sent", prompt_id="p" * 3000, server=name), names))
        before = manifest.notes
    assert notes(path) == before
    assert {note.server for note in before.values()} == set(names)


def test_half_a_line_of_a_failed_write_is_taken_back(path: Path) -> None:
    with Manifest(path) as manifest:
        manifest.plan(JOBS)
        before = path.read_bytes()
        descriptor, limit = manifest._file.fileno(), len(before) + 10
        if sys.platform != "linux":
            pytest.skip("limits the size of files as Linux does")
        import resource
        import signal

        old, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, old[1]))
        try:
            with pytest.raises(SavingError):
                manifest.note("a", "sent", prompt_id="p", server="s")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, old)
            signal.signal(signal.SIGXFSZ, handler)
        assert os.fstat(descriptor).st_size == len(before)
        assert path.read_bytes() == before


# --- the folder


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[BatchFolder]:
    with BatchFolder(tmp_path) as opened:
        yield opened


def job(name: str, **facts: Any) -> Job:
    return Job(job_id=name, workflow=graph(), **facts)


def test_results_are_named_after_their_job(folder: BatchFolder) -> None:
    assert folder.place(job("owl"), "ComfyUI_00001_.png", 0, 1).name == "owl.png"
    assert [folder.place(job("fox"), "x.webp", index, 2).name for index in range(2)] == ["fox_01.webp", "fox_02.webp"]
    assert folder.place(job("cfg=7.5"), "x.png", 0, 1).name == "cfg=7.5.png"


@pytest.mark.parametrize("name", ["../../etc/owl", "a/b", "con", "x" * 400, "a:b?", "..", "\ud800"])
def test_whatever_a_job_is_called_its_results_stay_in_the_folder(folder: BatchFolder, name: str) -> None:
    path = folder.place(job(name), "../../x.png", 0, 1)
    assert path.parent == folder.folder
    path.resolve().relative_to(folder.folder.resolve())
    assert len(path.name.encode(errors="replace")) < 200
    assert path == folder.place(job(name), "../../x.png", 0, 1)


def test_two_jobs_never_share_a_file(folder: BatchFolder) -> None:
    several = [folder.place(job("a"), "x.png", index, 2) for index in range(2)]
    assert folder.place(job("a_01"), "x.png", 0, 1) not in several
    assert folder.place(job("x/b"), "x.png", 0, 1) != folder.place(job("y/b"), "x.png", 0, 1)


def test_a_completed_job_whose_file_is_gone_is_not_finished(folder: BatchFolder) -> None:
    folder.manifest.plan([Planned("owl", graph())])
    path = folder.place(job("owl"), "x.png", 0, 1)
    path.write_bytes(b"picture")
    folder.completed(job("owl", prompt_id="p", server="s"), {"outputs": {"9": {}}, "prompt": ["long"]}, (path,))
    note = folder.manifest.notes["owl"]
    finished = folder.finished(note)
    assert finished is not None
    assert (finished.files, finished.result, finished.prompt_id) == ((path,), {"outputs": {"9": {}}}, "p")
    path.write_bytes(b"pict")
    assert folder.finished(note) is None
    path.unlink()
    assert folder.finished(note) is None


def test_after_a_failure_the_prompt_is_looked_for_again_only_if_it_may_be_there(folder: BatchFolder) -> None:
    folder.manifest.plan([Planned("a", graph()), Planned("b", graph())])
    away = ServerUnreachableError(0, "gone", {"sent": True})
    folder.failed(job("a", exception=away, error="gone", prompt_id="p", server="s"))
    folder.failed(job("b", exception=ValueError("bad"), error="bad", prompt_id="q", server="s"))
    assert folder.manifest.notes["a"].prompt_id == "p"
    assert folder.manifest.notes["b"].prompt_id is None
    lines = (folder.folder / "manifest.jsonl").read_bytes().splitlines()
    assert json.loads(lines[-1]) == {"job": "b", "state": "failed", "error": "bad"}


def test_a_folder_that_is_closed_is_left_alone_by_whoever_is_late(folder: BatchFolder) -> None:
    folder.manifest.plan([Planned("owl", graph())])
    late = job("owl", prompt_id="p", server="s", error="alas")
    path = folder.place(late, "x.png", 0, 1)
    path.write_bytes(b"picture")
    folder.close()
    before = (folder.folder / "manifest.jsonl").read_bytes()
    folder.failed(late)
    folder.cancelled(late)
    for work in (
        lambda: folder.sending(late),
        lambda: folder.place(late, "x.png", 0, 1),
        lambda: folder.completed(late, {"outputs": {}}, (path,)),
    ):
        with pytest.raises(SavingError, match="the batch is closed"):
            work()
    assert (folder.folder / "manifest.jsonl").read_bytes() == before
