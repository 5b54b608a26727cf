"""Settings of the client: the keys and defaults that were promised, where each value comes from, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfyone.settings.client import ClientSettings, client_settings, load_client_settings, variable_of
from comfyone.settings.sources import SettingsError

PROMISED = {
    "comfyui.host": "127.0.0.1",
    "comfyui.port": 8188,
    "comfyui.protocol": "http",
    "comfyui.timeout": 300,
    "websocket.enable": True,
    "websocket.reconnect_attempts": 5,
    "websocket.reconnect_delay": 2,
    "workflow.validate_before_send": True,
    "workflow.auto_queue": True,
    "output.download_results": True,
    "output.output_dir": "outputs",
    "output.save_metadata": True,
    "batch.max_concurrent": 3,
    "batch.retry_on_failure": True,
    "batch.max_retries": 3,
    "logging.level": "INFO",
    "logging.file": "comfyui_api.log",
    "logging.console": True,
}


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def in_force(settings: ClientSettings, origins: object) -> dict[str, object]:
    assert isinstance(origins, dict)
    return {setting.name: setting.value for setting in client_settings(settings, origins)}


@pytest.mark.seed(*(f"S2-{number}" for number in range(84, 102)))
def test_every_promised_key_has_its_default() -> None:
    found = in_force(*load_client_settings(environment={}))
    assert {name: found[name] for name in PROMISED} == PROMISED


@pytest.mark.seed("S2-10")
def test_a_file_goes_before_the_defaults_the_environment_before_it_and_an_argument_before_all() -> None:
    Path("mine.yaml").write_text("comfyui: {host: of-file, port: 1}\nbatch: {max_retries: 7}\n")
    settings, origins = load_client_settings(
        Path("mine.yaml"),
        {"comfyui.host": "of-argument"},
        {"COMFYONE_COMFYUI_HOST": "of-variable", "COMFYONE_COMFYUI_PORT": "2"},
    )
    assert (settings.comfyui.host, settings.comfyui.port, settings.batch.max_retries) == ("of-argument", 2, 7)
    assert origins == {
        "comfyui.host": "the command line",
        "comfyui.port": "the environment",
        "batch.max_retries": "file mine.yaml",
    }


def test_null_on_the_command_line_is_a_value() -> None:
    assert load_client_settings(environment={})[0].logging.file is not None
    assert load_client_settings(arguments={"logging.file": None}, environment={})[0].logging.file is None


def test_config_yaml_is_read_where_it_lies_and_no_other_file_is_named() -> None:
    Path("config.yaml").write_text("output:\n  output-dir: /elsewhere\n")
    Path("other.yaml").write_text("")
    assert load_client_settings(environment={})[0].output.output_dir == Path("/elsewhere")
    assert load_client_settings(Path("other.yaml"), environment={})[0].output.output_dir == Path("outputs")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("comfyui: {prot: https}", "'comfyui.prot' from file c.yaml"),
        ("comfyui: {port: far}", "'comfyui.port' from file c.yaml"),
        ("comfy: {port: 1}", "a section 'comfy'"),
        ("comfyui: 8188", "section 'comfyui'"),
        ("- comfyui", "no mapping"),
        ("comfyui: {", "cannot be read"),
        ("logging: {level: LOUD}", "'logging.level'"),
    ],
)
def test_what_cannot_be_right_is_refused_with_its_name_and_origin(content: str, said: str) -> None:
    Path("c.yaml").write_text(content)
    with pytest.raises(SettingsError, match=said.replace("'", ".")) as caught:
        load_client_settings(Path("c.yaml"), environment={})
    assert "Traceback" not in str(caught.value)


def test_a_missing_file_that_was_named_is_an_error() -> None:
    with pytest.raises(SettingsError, match=r"nowhere\.yaml"):
        load_client_settings(Path("nowhere.yaml"), environment={})


def test_a_misspelt_key_is_answered_with_the_nearest() -> None:
    with pytest.raises(SettingsError) as caught:
        load_client_settings(arguments={"batch.max_retrys": 1}, environment={})
    assert "batch.max_retries" in str(caught.value.hint)


def test_secrets_are_told_to_be_there_and_no_more() -> None:
    settings, origins = load_client_settings(
        arguments={"comfyui.auth": "me:hidden-word", "comfyui.headers": {"X-Key": "hidden-word"}}, environment={}
    )
    assert "hidden-word" not in f"{settings!r} {settings} {list(client_settings(settings, origins))}"
    assert settings.comfyui.auth is not None
    assert settings.comfyui.auth.get_secret_value() == "me:hidden-word"


def test_every_setting_has_a_variable_of_its_own() -> None:
    names = [setting.name for setting in client_settings(*load_client_settings(environment={}))]
    assert len({variable_of(name) for name in names}) == len(names)
