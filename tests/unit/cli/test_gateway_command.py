"""``comfyone gateway``: settings and their origins, and how it starts and ends."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import pytest

from tests.support.command import Done, comfyone, command
from tests.support.gateway import GatewayProcess
from tests.support.v1 import V1


def unserved(*options: object, environment: dict[str, str] | None = None) -> Done:
    """The command with settings that it must refuse; were it to take them, it would stumble over its state folder."""
    nowhere = {"COMFYONE_STATE_DIR": "/dev/null/state"}
    return comfyone("gateway", *options, environment={**nowhere, **(environment or {})})


def test_it_ends_in_good_order_on_sigterm_and_on_ctrl_c(tmp_path: Path) -> None:
    gateway = GatewayProcess(tmp_path / "state")
    gateway.start()
    assert gateway.stop(signal.SIGTERM) == 0
    gateway.start()
    assert gateway.stop(signal.SIGINT) == 130
    assert "Traceback" not in gateway.log()
    leftovers = {path.name for path in gateway.state.iterdir()}
    assert "comfyone.db-wal" not in leftovers, "the database is closed, not dropped"


def test_a_restart_takes_the_same_port_and_state(tmp_path: Path) -> None:
    with GatewayProcess(tmp_path / "state") as gateway:
        key, url = gateway.key(), gateway.url
        gateway.restart()
        assert gateway.url == url
        assert V1(url, key).get("/v1/backends").data == []
        gateway.kill()
        gateway.restart()
        assert V1(url, key).get("/v1/backends").data == []


def test_a_port_that_is_taken_is_told_and_nothing_is_changed(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = command("gateway", "--port", port, "--state-dir", tmp_path / "state")
    done.fails(1, f"127.0.0.1:{port}", "--port")
    assert not (tmp_path / "state").exists()


def test_an_address_that_is_not_ours_is_told(tmp_path: Path) -> None:
    for host in ("203.0.113.7", "no.such.host.invalid"):
        command("gateway", "--host", host, "--port", 0, "--state-dir", tmp_path / "state").fails(1, host, "--host")


def test_a_second_gateway_on_the_same_state_is_told(tmp_path: Path) -> None:
    with GatewayProcess(tmp_path / "state") as gateway:
        done = command("gateway", "--port", 0, "--state-dir", gateway.state)
        done.fails(1, "another gateway", str(gateway.state), "--state-dir")
        assert V1(gateway.url, gateway.key()).get("/v1/backends").data == []


def test_a_state_folder_that_cannot_be_one_is_told(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("I am no folder")
    command("gateway", "--port", 0, "--state-dir", file).fails(1, str(file), "--state-dir")
    command("gateway", "--port", 0, "--state-dir", file / "below").fails(1, str(file), "--state-dir")


@pytest.mark.parametrize("folder", ["/proc/state", "/dev/null/state"])
def test_a_state_folder_that_not_even_root_may_make_is_told(folder: str) -> None:
    command("gateway", "--port", 0, "--state-dir", folder).fails(1, folder, "--state-dir")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("max_body: many", ["'max_body'", "settings.yaml"]),
        ("port: 70000", ["'port'", "65535"]),
        ("log_level: LOUD", ["'log_level'"]),
        ("prot: 80", ["'prot'", "settings.yaml", "port"]),
        ("backends: [a, b]", ["'backends'", "settings.yaml"]),
        ("- port", ["settings.yaml", "no mapping"]),
        ("port: [", ["settings.yaml"]),
        ("retention: -1", ["'retention'", "greater than 0"]),
    ],
)
def test_a_setting_that_is_wrong_is_named_with_its_origin(tmp_path: Path, text: str, words: list[str]) -> None:
    config = tmp_path / "settings.yaml"
    config.write_text(text)
    unserved("--config", config).fails(1, *words)


def test_a_settings_file_that_is_missing_is_told(tmp_path: Path) -> None:
    unserved("--config", tmp_path / "absent.yaml").fails(1, "absent.yaml")


def test_wrong_values_of_environment_and_flags_are_named_with_their_origin() -> None:
    wrong = {"COMFYONE_MAX_UPLOAD": "lots"}
    unserved(environment=wrong).fails(1, "'max_upload'", "environment")
    unserved("--attempts", 0).fails(1, "'attempts'", "command line")
    unserved("--port", "eighty").fails(2, "--port")
    unserved("--backend", "nameless").fails(2, "NAME=URL")
    unserved("--nonsense").fails(2, "--nonsense")


def test_a_flag_goes_before_the_environment_and_that_before_the_file(tmp_path: Path) -> None:
    config = tmp_path / "settings.yaml"
    config.write_text(f"max-upload: 1000\nmax_body: 3000\nlog_level: DEBUG\nstate_dir: {tmp_path / 'of-the-file'}\n")
    environment = {"COMFYONE_MAX_UPLOAD": "2000", "COMFYONE_MAX_BODY": "2500", "COMFYONE_HOST": "127.0.0.2"}
    options = ["--config", str(config), "--max-body", "2048"]
    with GatewayProcess(tmp_path / "state", *options, environment=environment) as gateway:
        api = V1(gateway.url, gateway.key())
        assert gateway.url.startswith("http://127.0.0.2:")
        assert "2,000" in api.upload("a.bin", b"x" * 40_000).fails("too_large")["message"]
        assert "2,048" in api.post("/v1/prompts", {"workflow_id": "x" * 3000}).fails("too_large")["message"]
        assert "DEBUG" in gateway.log()
    assert not (tmp_path / "of-the-file").exists()


def test_the_secret_of_a_setting_is_not_in_its_error() -> None:
    environment = {"COMFYONE_BOOTSTRAP_KEY": "co_very-secret", "COMFYONE_PORT": "x"}
    done = unserved(environment=environment)
    done.fails(1, "'port'")
    assert "very-secret" not in done.err


def test_the_version_and_the_help_are_told() -> None:
    assert comfyone("--version").out.startswith("comfyone ")
    for arguments in (["--help"], ["gateway", "-h"], ["jobs", "submit", "--help"]):
        done = comfyone(*arguments)
        assert done.code == 0
        assert "Usage" in done.out
