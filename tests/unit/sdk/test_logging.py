"""Silent until asked, one line a line, and never a key in it."""

from __future__ import annotations

import logging
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from loguru import logger

from comfyone import ComfyOne, NotFoundError
from comfyone.utils import logging as ours
from comfyone.utils.debug import debug_context
from comfyone.utils.logging import setup_logger

from .conftest import KEY, Reply, Server


@pytest.fixture(autouse=True)
def _quiet_again() -> Iterator[None]:
    yield
    for sink, _ in ours._sinks.values():
        logger.remove(sink)
    ours._sinks.clear()
    logger.disable("comfyone")


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """What an application's own sink gets to see."""
    seen: list[str] = []
    sink = logger.add(lambda message: seen.append(str(message)), level="TRACE", format="{name} {message}")
    yield seen
    logger.remove(sink)


def test_a_client_is_silent_until_it_is_asked(server: Server, lines: list[str]) -> None:
    with ComfyOne(KEY, server.url) as client:
        client.api.get_workflows()
        assert lines == []
        logger.enable("comfyone")
        client.api.get_workflows()
    assert len(lines) == 1


def test_importing_adds_no_handler_and_prints_nothing() -> None:
    code = """
        from loguru import logger
        import logging
        before = len(logger._core.handlers), len(logging.getLogger().handlers)
        import comfyone
        client = comfyone.ComfyOne("key", "http://127.0.0.1:1", max_retries=1)
        try:
            client.api.get_workflows()
        except comfyone.ConnectionError:
            pass
        assert (len(logger._core.handlers), len(logging.getLogger().handlers)) == before
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_application_may_enable_us_before_the_first_client() -> None:
    code = """
        import comfyone
        from loguru import logger
        logger.enable("comfyone")
        try:
            comfyone.ComfyOne("key", "http://127.0.0.1:1", max_retries=2).api.get_workflows()
        except comfyone.ConnectionError:
            pass
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert "refused" in done.stderr


@pytest.mark.seed("S1-7", "S1-8", "S1-58", "S1-59")
def test_debug_and_log_file_write_each_line_once_however_many_clients(
    server: Server, tmp_path: Path, lines: list[str]
) -> None:
    log = tmp_path / "logs" / "sdk.log"
    clients = [ComfyOne(KEY, server.url, debug=True, log_file=log) for _ in range(3)]
    for client in clients:
        client.api.get_workflows()
    written = log.read_text().splitlines()
    assert len(written) == 3
    assert all("GET v1/workflows: HTTP 200" in line for line in written)
    assert len(lines) == 3
    for client in clients:
        client.close()


@pytest.mark.seed("S1-8")
def test_a_log_file_alone_gets_warnings_and_a_later_debug_lowers_the_level(server: Server, tmp_path: Path) -> None:
    log = tmp_path / "sdk.log"
    server.script.append(Reply({}, 503))
    ComfyOne(KEY, server.url, log_file=log).api.get_workflows()
    assert ["failed" in line for line in log.read_text().splitlines()] == [True]
    ComfyOne(KEY, server.url, debug=True, log_file=str(log)).api.get_workflows()
    assert len(log.read_text().splitlines()) == 2


def test_no_line_holds_the_key_or_a_signature(server: Server, lines: list[str], tmp_path: Path) -> None:
    logger.enable("comfyone")
    server.script.extend([Reply({"msg": f"who is {KEY}?"}, 503), Reply({}, 404)])
    with pytest.raises(NotFoundError), ComfyOne(KEY, server.url) as client:
        client.api.transport.send(client.api.calls.download("/v1/f?signature=secret"))
    assert len(lines) == 3
    assert not any(KEY in line or "secret" in line for line in lines)


def test_a_logger_of_the_standard_library_works_too(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    from comfyone import ComfyOneClient

    with caplog.at_level(logging.DEBUG, logger="app"):
        ComfyOneClient(KEY, server.url, logger=logging.getLogger("app")).get_workflows()
    assert "GET v1/workflows: HTTP 200" in caplog.text


@pytest.mark.seed("S1-58")
def test_setup_logger_takes_level_names_and_numbers(tmp_path: Path) -> None:
    quiet, loud = tmp_path / "quiet.log", tmp_path / "loud.log"
    name = __name__
    log = setup_logger(name, "WARNING", quiet, "{message}")
    assert setup_logger(name, logging.DEBUG, loud, "{level} {message}") is not None
    log.debug("a detail")
    log.warning("a problem")
    assert quiet.read_text() == "a problem\n"
    assert loud.read_text() == "DEBUG a detail\nWARNING a problem\n"
    with pytest.raises(ValueError, match="LOUD"):
        setup_logger(level="LOUD")


@pytest.mark.seed("S1-58")
def test_a_debug_context_times_an_operation_and_notes_its_error() -> None:
    said: list[tuple[str, str]] = []

    class Listener:
        def __getattr__(self, level: str) -> Any:
            return lambda message: said.append((level, message))

    with debug_context(Listener(), "upload", size=3) as context:
        assert context.end_time is None
    assert context.duration is not None
    assert context.to_dict() == {
        "start_time": context.start_time.isoformat(),
        "end_time": context.end_time.isoformat() if context.end_time else None,
        "duration": context.duration,
        "context": {"size": 3},
    }

    def fail() -> None:
        with debug_context(Listener(), "upload") as failed:
            contexts.append(failed)
            raise OSError("disk full")

    contexts: list[Any] = []
    with pytest.raises(OSError, match="disk full"):
        fail()
    assert contexts[0].to_dict()["context"] == {"error": "disk full"}
    assert [level for level, _ in said] == ["debug", "debug", "debug", "error"]
