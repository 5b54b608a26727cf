"""Settings and where they come from."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfyone.settings.gateway import DEFAULT_STATE, GatewaySettings, load_settings
from comfyone.settings.sources import SettingsError


def test_what_is_not_set_has_its_default() -> None:
    settings = load_settings(None, {"port": None}, {})
    assert (settings.host, settings.port, settings.state_dir) == ("127.0.0.1", 8080, DEFAULT_STATE)


@pytest.mark.parametrize("name", sorted(GatewaySettings.model_fields))
def test_every_setting_is_described(name: str) -> None:
    assert GatewaySettings.model_fields[name].description


def test_an_argument_goes_before_the_environment_and_that_before_the_file(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("port: 1\nattempts: 1\nlost-after: 1.5\n")
    environment = {"COMFYONE_PORT": "2", "COMFYONE_ATTEMPTS": "2", "COMFYONE_API_KEY": "the client's own"}
    settings = load_settings(file, {"port": 3}, environment)
    assert (settings.port, settings.attempts, settings.lost_after) == (3, 2, 1.5)


def test_backends_come_as_a_mapping_from_anywhere(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("backends:\n  gpu-1: http://a\n")
    assert load_settings(file, {}, {}).backends == {"gpu-1": "http://a"}
    assert load_settings(file, {}, {"COMFYONE_BACKENDS": "{gpu-2: http://b}"}).backends == {"gpu-2": "http://b"}


@pytest.mark.parametrize(
    ("value", "named"), [("[a, b]", "'backends'"), ("{a: ", "'backends'"), ("{a: [1]}", "'backends'")]
)
def test_a_wrong_value_of_the_environment_is_named(value: str, named: str) -> None:
    with pytest.raises(SettingsError, match="environment") as caught:
        load_settings(None, {}, {"COMFYONE_BACKENDS": value})
    assert named in str(caught.value)


def test_a_secret_does_not_show() -> None:
    settings = load_settings(None, {}, {"COMFYONE_BOOTSTRAP_KEY": "co_very-secret"})
    assert "very-secret" not in repr(settings)
    assert "very-secret" not in str(settings.model_dump())


def test_lists_come_as_one_text_or_as_many(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("allow_private: [10.0.0.0/8]\nwebhook_retries: [1, 2.5]\n")
    settings = load_settings(file, {}, {})
    assert (str(settings.allow_private[0]), settings.webhook_retries) == ("10.0.0.0/8", (1.0, 2.5))
    environment = {"COMFYONE_ALLOW_PRIVATE": "10.0.0.0/8, fd00::/8", "COMFYONE_WEBHOOK_RETRIES": ""}
    settings = load_settings(file, {}, environment)
    assert [str(network) for network in settings.allow_private] == ["10.0.0.0/8", "fd00::/8"]
    assert settings.webhook_retries == ()
    assert load_settings(None, {"allow_private": ["127.0.0.0/8"]}, environment).allow_private[0].is_loopback


@pytest.mark.parametrize("value", ["10.0.0.0/33", "10.0.0.1/8", "everywhere", "fd00::/8/8"])
def test_a_wrong_network_is_named(value: str) -> None:
    with pytest.raises(SettingsError, match="'allow_private' from the environment"):
        load_settings(None, {}, {"COMFYONE_ALLOW_PRIVATE": value})


@pytest.mark.parametrize("value", ["soon", "-1", "5,,x"])
def test_a_wrong_wait_is_named(value: str) -> None:
    with pytest.raises(SettingsError, match="'webhook_retries'"):
        load_settings(None, {"webhook_retries": value}, {})
