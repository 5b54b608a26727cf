"""Every future ends in a result, an error or cancellation: whatever happens, however it is followed, in either colour."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable
from typing import Any

import pytest

from comfyone.comfyui import AsyncComfyUIClient, ComfyUIClient, Terms
from comfyone.comfyui.connection import Tracker
from comfyone.emulator import Sandbox
from comfyone.errors import (
    ComfyExecutionError,
    ComfyUIError,
    PromptLostError,
    PromptTimeoutError,
    ServerUnreachableError,
)
from tests.graphs import Graph, failing, node, save, sleeping, slow, text_to_image, tiny
from tests.support.waiting import eventually
from tests.unit.comfyui.conftest import FAST, QUICK
from tests.unit.comfyui.front import Front

TRACKERS: list[Tracker] = ["websocket", "http", None]

HELD = 0.3
"""With this step time, the graph below takes a minute; with ``step_time=0`` it ends at once, even if it has begun."""
LONG = text_to_image("an owl", steps=200, width=64, height=64)


class Twin:
    """One client of either colour, used as if it were blocking."""

    def __init__(self, colour: str, url: str, tracker: Tracker, terms: Terms = QUICK) -> None:
        self._settings: dict[str, Any] = {
            "url": url,
            "tracker": tracker,
            "terms": terms,
            "policy": FAST,
            "reconnect_delay": 0.05,
        }
        self._colour = colour

    def __enter__(self) -> Twin:
        if self._colour == "sync":
            self.client: Any = ComfyUIClient(**self._settings)
            return self
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.client = AsyncComfyUIClient(**self._settings)
        return self

    def __exit__(self, *error: object) -> None:
        self.do(self.client.close)
        if self._colour == "async":
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10)
            self._loop.close()

    def do(self, method: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        if self._colour == "sync":
            return method(*arguments, **named)

        async def call() -> Any:
            told = method(*arguments, **named)
            return await told if asyncio.iscoroutine(told) or isinstance(told, asyncio.Future) else told

        return asyncio.run_coroutine_threadsafe(call(), self._loop).result(60)

    def submit(self, graph: Graph, **more: Any) -> Any:
        return self.do(self.client.submit, graph, **more)

    def end(self, future: Any) -> Any:
        """The result, or the error as it is raised."""
        if self._colour == "sync":
            return future.result(20)
        if self.client.tracker is None:
            return self.do(self.client._result, future, 20)
        return self.do(lambda: future)


@pytest.fixture(params=["sync", "async"])
def colour(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=TRACKERS, ids=str)
def tracker(request: pytest.FixtureRequest) -> Tracker:
    value: Tracker = request.param
    return value


@pytest.fixture
def twin(colour: str, tracker: Tracker, sandbox: Sandbox) -> Any:
    with Twin(colour, sandbox.url, tracker) as twin:
        yield twin


@pytest.mark.seed("S4-5", "S4-12", "S4-14", "S4-15")
def test_a_good_end_is_a_result(twin: Twin) -> None:
    execution = twin.end(twin.submit(tiny()))
    assert [output.kind for output in execution.outputs] == ["images"]
    assert execution.raw["status"]["completed"]


@pytest.mark.seed("S4-12", "S4-36")
def test_an_error_in_a_node_is_an_execution_error(twin: Twin) -> None:
    with pytest.raises(ComfyExecutionError, match="no luck") as caught:
        twin.end(twin.submit(failing("no luck")))
    error = caught.value
    assert (error.node_id, error.node_type, error.exception_type) == ("2", "TestFail", "ValueError")
    assert error.exception_message == "no luck"
    assert not error.interrupted
    assert error.traceback


@pytest.mark.seed("S4-12", "S4-36")
def test_an_interruption_is_an_execution_error(twin: Twin) -> None:
    future = twin.submit(sleeping(30))
    eventually(lambda: twin.do(twin.client.get_queue).running)
    twin.do(twin.client.interrupt_execution, future.prompt_id)
    with pytest.raises(ComfyExecutionError) as caught:
        twin.end(future)
    assert caught.value.interrupted


def test_cancelling_a_prompt_that_runs_stops_it_alone(twin: Twin) -> None:
    future, next_one = twin.submit(sleeping(30)), twin.submit(tiny())
    eventually(lambda: twin.do(twin.client.get_queue).running)
    assert twin.do(twin.client.cancel_prompt, future.prompt_id) is True
    assert future.cancelled()
    assert twin.end(next_one).outputs


def test_cancelling_a_prompt_that_waits_lets_it_never_run(twin: Twin, sandbox: Sandbox) -> None:
    sandbox.set(step_time=HELD)
    first = twin.submit(LONG)
    eventually(lambda: twin.do(twin.client.get_queue).running)
    second = twin.submit(tiny())
    assert twin.do(twin.client.cancel_prompt, second.prompt_id) is True
    assert second.cancelled()
    sandbox.set(step_time=0)
    assert twin.end(first).outputs
    assert twin.do(twin.client.get_history, second.prompt_id) == {}


def test_what_has_ended_or_is_unknown_cannot_be_cancelled(twin: Twin) -> None:
    future = twin.submit(tiny())
    twin.end(future)
    assert twin.do(twin.client.cancel_prompt, future.prompt_id) is False
    assert twin.do(twin.client.cancel_prompt, "unknown") is False


def test_a_server_of_old_is_only_interrupted_while_ours_runs(colour: str) -> None:
    with Sandbox(untargeted_interrupts=True, step_time=HELD) as sandbox, Twin(colour, sandbox.url, "websocket") as twin:
        running = twin.submit(LONG)
        eventually(lambda: twin.do(twin.client.get_queue).running)
        waiting = twin.submit(tiny())
        assert twin.do(twin.client.cancel_prompt, waiting.prompt_id) is True
        sandbox.set(step_time=0)
        assert twin.end(running).outputs  # an interrupt would have hit it


@pytest.mark.parametrize("knobs", [{"late_history": 0.3}, {"late_end": 0.3}], ids=str)
def test_the_moment_in_which_a_prompt_is_nowhere_is_no_loss(
    colour: str, tracker: Tracker, knobs: dict[str, Any]
) -> None:
    with Sandbox(**knobs) as sandbox, Twin(colour, sandbox.url, tracker, Terms(interval=0.05, patience=2)) as twin:
        futures = [twin.submit(tiny(color=color)) for color in range(3)]
        assert [len(twin.end(future).outputs) for future in futures] == [1, 1, 1]


def test_a_prompt_that_ends_before_its_answer_came_is_not_missed(colour: str, tracker: Tracker) -> None:
    """The client heard of the end long before it knew that the server had taken the prompt."""
    with Sandbox() as sandbox, Front(sandbox.url) as front, Twin(colour, front.url, tracker) as twin:
        twin.end(twin.submit(tiny()))
        front.late_answers = 0.3
        graph = {**tiny(color=7), "8": node("LoadImage", image="missing.png"), "9": save("8")}
        execution = twin.end(twin.submit(graph))
        assert execution.outputs
        assert [problem.node_id for problem in execution.problems] == ["8"], "which the answer told"


@pytest.mark.parametrize("after", [0, 1, 3, 6])
def test_a_socket_that_is_cut_costs_nothing_but_time(colour: str, after: int) -> None:
    with Sandbox(drop_sockets_after=after) as sandbox, Twin(colour, sandbox.url, "websocket") as twin:
        futures = [twin.submit(slow(3, 0.02, color=color)) for color in range(3)]
        assert [len(twin.end(future).outputs) for future in futures] == [1, 1, 1]


def test_a_socket_that_says_nothing_is_not_waited_for(colour: str) -> None:
    with Sandbox(silent_sockets=True) as sandbox, Twin(colour, sandbox.url, "websocket") as twin:
        twin.client._wanted = False  # the first greeting would be waited for
        assert twin.end(twin.submit(tiny())).outputs
    with Sandbox() as sandbox, Twin(colour, sandbox.url, "websocket") as twin:
        twin.end(twin.submit(tiny()))
        assert twin.client.ws_running
        sandbox.set(silent_sockets=True)  # it falls silent while it is trusted
        assert twin.end(twin.submit(tiny(color=1))).outputs


def test_after_an_outage_the_socket_is_back_and_followed(colour: str) -> None:
    with Sandbox() as sandbox, Twin(colour, sandbox.url, "websocket", Terms(interval=0.05, outage=30)) as twin:
        sandbox.set(step_time=HELD)
        future = twin.submit(LONG)
        eventually(lambda: twin.do(twin.client.get_queue).running)
        sandbox.stop_listening()
        sandbox.set(step_time=0)
        eventually(lambda: all(record.outcome for record in sandbox.records))
        assert not future.done()
        sandbox.listen()
        assert twin.end(future).outputs
        eventually(lambda: twin.client.ws_running)


def test_a_restart_that_forgets_is_a_loss_and_not_for_ever(twin: Twin, sandbox: Sandbox) -> None:
    future = twin.submit(sleeping(30))
    eventually(lambda: twin.do(twin.client.get_queue).running)
    sandbox.restart()
    with pytest.raises(PromptLostError, match=future.prompt_id) as caught:
        twin.end(future)
    assert isinstance(caught.value, ComfyExecutionError)
    assert "submit it again" in str(caught.value)
    assert twin.end(twin.submit(tiny())).outputs


def test_a_server_that_stays_away_is_a_loss(twin: Twin, sandbox: Sandbox) -> None:
    future = twin.submit(sleeping(30))
    sandbox.set(reset_connections=True)
    sandbox.drop_sockets()
    with pytest.raises(PromptLostError, match="gives no answer") as caught:
        twin.end(future)
    assert isinstance(caught.value, ConnectionError)
    assert isinstance(caught.value.__cause__, ServerUnreachableError)


def test_what_somebody_else_throws_out_is_a_loss(twin: Twin, sandbox: Sandbox) -> None:
    sandbox.set(step_time=HELD)
    first, second = twin.submit(LONG), twin.submit(tiny())
    with ComfyUIClient(url=sandbox.url) as other:
        other.cancel_prompts([second.prompt_id])
    with pytest.raises(PromptLostError):
        twin.end(second)
    sandbox.set(step_time=0)
    assert twin.end(first).outputs


def test_an_answer_that_is_lost_leads_to_one_run(twin: Twin, sandbox: Sandbox) -> None:
    sandbox.set(lose_answers=1)
    future = twin.submit(tiny())
    assert twin.end(future).outputs
    assert [record.prompt_id for record in sandbox.records] == [future.prompt_id]


def test_when_the_server_went_with_its_answer_the_failure_says_that_it_may_have_the_prompt(
    twin: Twin, sandbox: Sandbox
) -> None:
    sandbox.set(lose_answers=1, fail_requests={"/queue": 999}, fail_status=503)
    with pytest.raises(ServerUnreachableError, match="could not be seen") as caught:
        twin.submit(tiny())
    [record] = sandbox.records
    assert caught.value.context == {"sent": True, "prompt_id": record.prompt_id}


def test_a_request_that_was_cut_before_the_server_took_it_is_sent_again_once_it_was_looked_for(
    twin: Twin, sandbox: Sandbox
) -> None:
    sandbox.set(fail_requests={"/prompt": 1}, fail_status=502)
    future = twin.submit(tiny())
    assert twin.end(future).outputs
    assert len(sandbox.records) == 1


def test_a_server_that_is_full_is_asked_again(twin: Twin, sandbox: Sandbox) -> None:
    sandbox.set(fail_requests={"/prompt": 2}, fail_status=503)
    assert twin.end(twin.submit(tiny())).outputs
    sandbox.set(fail_requests={"/prompt": 1}, fail_status=500)
    with pytest.raises(ComfyUIError) as caught:
        twin.submit(tiny())
    assert caught.value.status == 500
    assert len(twin.client.book) == 0


@pytest.mark.seed("S4-2", "S4-12")
def test_a_hundred_at_once_all_come_out_right(colour: str, sandbox: Sandbox) -> None:
    with Twin(colour, sandbox.url, "websocket") as twin:
        futures = [twin.submit(failing(f"no {n}", color=n) if n % 10 == 3 else tiny(color=n)) for n in range(100)]
        for number, future in enumerate(futures):
            if number % 10 == 3:
                with pytest.raises(ComfyExecutionError, match=f"no {number}$"):
                    twin.end(future)
            else:
                [output] = twin.end(future).outputs
                picture = twin.do(output.image) if colour == "async" else output.image
                assert picture.getpixel((0, 0)) == (255, 255, 255 - number)
        assert len(twin.client.book) == 0


def test_progress_goes_from_nothing_to_all(colour: str, sandbox: Sandbox) -> None:
    with Twin(colour, sandbox.url, "websocket") as twin:
        sandbox.set(step_time=HELD)
        first, future = twin.submit(sleeping(30)), twin.submit(LONG)
        assert future.progress.fraction == 0
        assert twin.do(twin.client.cancel_prompt, first.prompt_id) is True
        progress = eventually(lambda: now if (now := future.progress).node == "3" and now.value > 5 else None)
        assert 4 / 7 < progress.fraction < 5 / 7  # four of seven nodes are done, and a part of the fifth
        assert progress.max == 200
        sandbox.set(step_time=0)
        assert twin.end(future).outputs


def test_a_prompt_is_picked_up_again_by_its_id(twin: Twin) -> None:
    prompt_id = twin.do(twin.client.queue_prompt, sleeping(0.2))["prompt_id"]
    assert twin.end(twin.do(twin.client.future_of, prompt_id)).prompt_id == prompt_id
    assert twin.end(twin.do(twin.client.future_of, prompt_id)).prompt_id == prompt_id


def test_futures_of_threads_work_with_the_standard_library(client: ComfyUIClient) -> None:
    futures = [client.submit(tiny(color=color)) for color in range(5)] + [client.submit(sleeping(30))]
    done, _ = concurrent.futures.wait(futures, timeout=20, return_when=concurrent.futures.FIRST_COMPLETED)
    assert done
    assert futures[-1].cancel()
    ended = list(concurrent.futures.as_completed(futures, timeout=20))
    assert set(ended) == set(futures)
    with pytest.raises(concurrent.futures.CancelledError):
        futures[-1].result()
    assert futures[0].exception() is None
    called: list[Any] = []
    futures[0].add_done_callback(called.append)
    assert called == [futures[0]]


@pytest.mark.parametrize("tracker", TRACKERS, ids=str)
def test_waiting_for_a_future_in_vain_names_the_prompt(sandbox: Sandbox, tracker: Tracker) -> None:
    with ComfyUIClient(url=sandbox.url, tracker=tracker, terms=QUICK) as client:
        future = client.submit(sleeping(30))
        with pytest.raises(PromptTimeoutError, match=future.prompt_id):
            future.result(0.2)
        assert not future.done()
        assert future.cancel()
        assert future.cancel()  # again is no harm


async def test_a_timeout_of_asyncio_stops_the_waiting_and_not_the_prompt(
    aclient: AsyncComfyUIClient, sandbox: Sandbox
) -> None:
    sandbox.set(step_time=HELD)
    future = await aclient.submit(LONG)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(future, 0.1)
    assert len(aclient.book) == 0
    sandbox.set(step_time=0)
    assert (await aclient.wait_for_completion(future.prompt_id, 20))["status"]["completed"]


async def test_many_tasks_share_one_client(aclient: AsyncComfyUIClient) -> None:
    executions = await asyncio.gather(*(aclient.execute_workflow(tiny(color=n)) for n in range(100)))
    pictures = await asyncio.gather(*(execution.images() for execution in executions))
    assert [picture.getpixel((0, 0)) for [picture] in pictures] == [(255, 255, 255 - n) for n in range(100)]


async def test_callbacks_may_be_coroutines(aclient: AsyncComfyUIClient) -> None:
    heard: list[Any] = []
    told = asyncio.Event()

    async def note(message: dict[str, Any]) -> None:
        await asyncio.sleep(0)
        heard.append(message)
        told.set()

    aclient.on("executed", note)
    await aclient.execute_workflow(tiny(), timeout=20)
    await asyncio.wait_for(told.wait(), 30)  # the history may have told of the end before the socket did
    assert [message["data"]["node"] for message in heard] == ["3"]


async def test_leaving_the_block_ends_every_wait(sandbox: Sandbox) -> None:
    async with AsyncComfyUIClient(url=sandbox.url) as client:
        future = await client.submit(sleeping(30))
    assert future.cancelled()
    assert {task.get_name() for task in asyncio.all_tasks()} == {asyncio.current_task().get_name()}  # type: ignore[union-attr]


async def test_waiting_without_a_tracker_is_done_by_polling(sandbox: Sandbox, aclient: AsyncComfyUIClient) -> None:
    async with AsyncComfyUIClient(url=sandbox.url, tracker=None, terms=QUICK) as client:
        sandbox.set(step_time=HELD)
        future = await client.submit(LONG)
        assert await client.poll() == 1
        sandbox.set(step_time=0)
        await aclient.wait_for_completion(future.prompt_id, 20)
        await asyncio.sleep(0.3)  # several times as long as it takes anybody who looks by himself
        assert not future.done()
        assert await client.poll() == 0
        assert (await future).outputs
