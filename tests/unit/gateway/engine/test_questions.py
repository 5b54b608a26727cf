"""Questions to backends: each asked once at a time, and of each backend few."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from comfyone.gateway.dispatch import questions
from comfyone.gateway.dispatch.questions import AT_ONCE, Questions


class Backend:
    """A link whose server answers when it is let, and counts what it is asked."""

    def __init__(self, name: str) -> None:
        self.live, self.backend, self.driver = True, SimpleNamespace(id=name), self
        self.asked: Counter[str] = Counter()
        self.may_answer = asyncio.Event()

    async def ask(self, path: str, query: Mapping[str, str]) -> Any:
        self.asked[path] += 1
        await self.may_answer.wait()
        return f"{path} of {self.backend.id}"


def put(asked: Questions, backend: Any, path: str) -> asyncio.Task[list[Any]]:
    return asyncio.create_task(asked.ask([backend], path, {}))


async def test_a_question_that_is_under_way_is_shared_and_survives_who_asked_first() -> None:
    asked, backend = Questions(), Backend("one")
    tasks = [put(asked, backend, "/models") for _ in range(10)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    tasks[0].cancel()
    backend.may_answer.set()
    assert await asyncio.gather(*tasks[1:]) == [["/models of one"]] * 9
    assert await put(asked, backend, "/models") == ["/models of one"], "it is known for a while"
    assert backend.asked == {"/models": 1}


async def test_a_silent_backend_keeps_nobody_from_asking_another() -> None:
    asked, silent, other = Questions(), Backend("silent"), Backend("other")
    other.may_answer.set()
    tasks = [put(asked, silent, f"/models/{number}") for number in range(100)]
    assert await put(asked, other, "/models") == ["/models of other"]
    assert silent.asked.total() == AT_ONCE
    assert not any(task.done() for task in tasks)
    silent.may_answer.set()
    await asyncio.gather(*tasks)


async def test_a_silent_backend_is_left_out_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions, "PATIENCE", 0.1)
    asked, silent = Questions(), Backend("silent")
    tasks = [put(asked, silent, f"/models/{number}") for number in range(100)]
    assert await asyncio.wait_for(asyncio.gather(*tasks), 30) == [[]] * 100
