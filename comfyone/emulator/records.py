"""What really ran: one record for each prompt that was accepted, kept over restarts."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import msgspec

from comfyone.emulator.codec import encode

LIMIT = 100_000


class Record(msgspec.Struct):
    """One accepted prompt. The same prompt id sent twice makes two records. Times are seconds since 1970."""

    number: int
    prompt_id: str
    client_id: str | None
    received: float
    started: float | None = None
    ended: float | None = None
    outcome: str | None = None
    """``success``, ``error``, ``interrupted``, ``deleted`` (from the queue) or ``lost`` (in a restart)."""
    nodes: list[str] = []
    """Ids of the nodes that were computed, in order; cached ones are not."""


class Records:
    """All records, newest last; the oldest are forgotten beyond ``LIMIT``. Written to a file if there is one."""

    def __init__(self, path: Path | None = None) -> None:
        self._records: deque[Record] = deque(maxlen=LIMIT)
        self._file: IO[bytes] | None = None
        if path:
            self._load(path)
            self._file = path.open("ab")
        self._number = self._records[-1].number if self._records else 0

    def __iter__(self) -> Iterator[Record]:
        return iter(list(self._records))

    def __len__(self) -> int:
        return len(self._records)

    def of(self, prompt_id: str) -> list[Record]:
        """The records of a prompt id, in the order in which they came."""
        return [record for record in self if record.prompt_id == prompt_id]

    def receive(self, prompt_id: str, client_id: str | None) -> Record:
        """A prompt was accepted."""
        self._number += 1
        record = Record(self._number, prompt_id, client_id, time.time())
        self._records.append(record)
        self._write(record)
        return record

    def start(self, record: Record) -> None:
        """Its execution begins."""
        record.started = time.time()
        self._write(record)

    def end(self, record: Record, outcome: str) -> None:
        """It is over; the first outcome stays."""
        if record.outcome is None:
            record.ended, record.outcome = time.time(), outcome
            self._write(record)

    def close(self) -> None:
        """Close the file."""
        if self._file:
            self._file.close()
            self._file = None

    def _write(self, record: Record) -> None:
        if self._file:
            self._file.write(encode(record) + b"\n")
            self._file.flush()

    def _load(self, path: Path) -> None:
        if not path.exists():
            return
        latest: dict[int, Record] = {}
        for line in path.read_bytes().splitlines():
            try:
                record = msgspec.json.decode(line, type=Record)
            except msgspec.DecodeError:
                continue  # the last line of a process that was killed
            latest[record.number] = record
        for record in latest.values():
            if record.outcome is None:
                record.outcome = "lost"
            self._records.append(record)
