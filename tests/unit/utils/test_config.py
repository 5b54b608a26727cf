"""Settings as a dictionary, and logging as they say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from comfyone.settings.sources import SettingsError
from comfyone.utils.config import ConfigNotFoundError, load_config

PROMISED: dict[str, dict[str, object]] = {
    "comfyui": {"host": "127.0.0.1", "port": 8188, "protocol": "http", "timeout": 300},
    "websocket": {"enable": True, "reconnect_attempts": 5, "reconnect_delay": 2},
    "workflow": {"validate_before_send": True, "auto_queue": True},
    "output": {"download_results": True, "output_dir": "outputs", "save_metadata": True},
    "batch": {"max_concurrent": 3, "retry_on_failure": True, "max_retries": 3},
    "logging": {"level": "INFO", "file": "comfyui_api.log", "console": True},
}


@pytest.mark.seed("S2-10", "S2-83")
def test_an_empty_file_gives_every_promised_key_its_promised_default(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("")
    config = load_config(file)
    for section, values in PROMISED.items():
        assert {name: config[section][name] for name in values} == values


@pytest.mark.seed("S2-83")
def test_what_the_file_says_stands_above_the_defaults_and_the_environment_has_no_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMFYONE_COMFYUI_PORT", "9999")
    file = tmp_path / "config.yaml"
    file.write_text("comfyui: {host: gpu.local, headers: {X-Key: abc}}\nbatch: {max_retries: 0}\n")
    config = load_config(str(file))
    assert config["comfyui"]["host"] == "gpu.local"
    assert config["comfyui"]["port"] == 8188
    assert config["comfyui"]["headers"] == {"X-Key": "abc"}
    assert config["batch"] == {"max_concurrent": 3, "retry_on_failure": True, "max_retries": 0}


def test_a_file_that_is_not_there_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.yaml is not there \(name another") as caught:
        load_config(tmp_path / "nowhere.yaml")
    assert isinstance(caught.value, ConfigNotFoundError)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("comfyui: {port: many}", r"comfyui\.port"),
        ("comfyui: {prot: 1}", r"did you mean comfyui\.port"),
        ("batches: {}", "'batches'"),
        ("a: [", "cannot be read"),
    ],
)
def test_a_setting_that_cannot_be_is_named(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    with pytest.raises(SettingsError, match=told):
        load_config(file)


LINES = """
from loguru import logger
from comfyone.utils.config import setup_logging
for _ in range(3):
    setup_logging({config})
logger.patch(lambda record: record.update(name="comfyone.batch")).info("ours")
logger.patch(lambda record: record.update(name="comfyone.batch")).warning("grave")
logger.patch(lambda record: record.update(name="other")).info("theirs")
"""


def logged(config: str, folder: Path) -> str:
    """What a program with this configuration writes to the terminal."""
    program = LINES.replace("{config}", config)
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=True)
    return done.stderr


@pytest.mark.seed("S2-83", "S2-99", "S2-100", "S2-101")
def test_lines_go_to_terminal_and_file_once_from_the_level_that_is_set(tmp_path: Path) -> None:
    shown = logged("{'logging': {'level': 'warning', 'file': 'logs/own.log'}}", tmp_path)
    written = (tmp_path / "logs" / "own.log").read_text()
    assert shown.count("grave") == written.count("grave") == 1
    assert "ours" not in shown + written
    assert shown.count("theirs") == 1
    assert "theirs" not in written


@pytest.mark.seed("S2-100", "S2-101")
def test_the_terminal_and_the_file_can_be_left_out(tmp_path: Path) -> None:
    shown = logged("{'logging': {'console': False, 'file': None}}", tmp_path)
    assert "ours" not in shown
    assert "grave" not in shown
    assert "theirs" in shown
    assert list(tmp_path.iterdir()) == []


@pytest.mark.seed("S2-99", "S2-100", "S2-101")
def test_without_a_word_it_is_logged_from_info_to_the_terminal_and_the_seeds_own_file(tmp_path: Path) -> None:
    assert "ours" in logged("None", tmp_path)
    assert "ours" in (tmp_path / "comfyui_api.log").read_text()
