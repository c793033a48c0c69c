"""The options of the command are the settings, all of them, and docs/settings.md tells them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from para_attn_server.cli import serve
from para_attn_server.cli.main import command_line, main
from para_attn_server.cli.options import declared, flag, given, setting_options, settings_page, variable
from para_attn_server.core.settings import Settings, load_settings

DOCS = Path(__file__).parents[2] / "docs" / "settings.md"
SAMPLES = {
    "string": "words",
    "integer": "3",
    "number": "5m",
    "boolean": "true",
    "object": "name=value",
    "array": "words",
}
OF_A_FORM = {"root_path": "/pictures", "trusted_proxy": "127.0.0.1,10.0.0.0/8", "cors_origin": "https://a.example"}


@click.command()
@setting_options
def settings(**options: Any) -> dict[str, Any]:
    """Returns the settings that were given."""
    return given(options)


def invoked(*arguments: str, **environment: str) -> dict[str, Any]:
    result = CliRunner().invoke(settings, arguments, env=environment, standalone_mode=False, catch_exceptions=False)
    found: dict[str, Any] = result.return_value
    return found


def sample(name: str) -> str:
    schema = declared()[name]
    return OF_A_FORM.get(name) or (str(schema["enum"][0]) if "enum" in schema else SAMPLES[schema["type"]])


def expected(name: str) -> Any:
    return getattr(load_settings(**{name: sample(name)}), name)


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_an_option(name: str) -> None:
    value = [] if declared()[name]["type"] == "boolean" else [sample(name)]
    assert getattr(load_settings(**invoked(flag(name), *value)), name) == expected(name)


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_an_environment_variable(name: str) -> None:
    assert getattr(load_settings(**invoked(**{variable(name): sample(name)})), name) == expected(name)


@pytest.mark.parametrize("name", [name for name, schema in declared().items() if "enum" in schema])
def test_choices_may_be_written_in_any_case(name: str) -> None:
    word = sample(name)
    assert invoked(flag(name), word.upper()) == invoked(**{variable(name): word.title()}) == {name: word}


def test_an_option_wins_over_the_environment() -> None:
    found = invoked("--port", "2", "--no-allow-any-output-path", **{variable("port"): "1"})
    assert found == {"port": 2, "allow_any_output_path": False}


@pytest.mark.parametrize("name", Settings.model_fields)
def test_help_names_each_option_its_variable_and_its_meaning(name: str) -> None:
    page = " ".join(CliRunner().invoke(command_line, ["--help"], env={"COLUMNS": "200"}).output.split())
    assert flag(name) in page
    assert f"env var: {variable(name)}" in page
    assert str(Settings.model_fields[name].description) in page


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--port", "99999"], ["--port", "65535"]),
        (["--num-devices", "0"], ["--num-devices", "must be a whole number from 1, not '0'"]),
        (["--port", "abc"], ["--port", "must be a whole number from 0 to 65535, not 'abc'"]),
        (["--keep", "3 weeks"], ["--keep", "7d"]),
        (["--step-timeout", "0s"], ["--step-timeout", "more than 0s"]),
        (["--log-level", "loud"], ["--log-level", "debug"]),
        (["--num-device", "2"], ["--num-device", "No such option"]),
        ([], ["--model", "module.path:Class"]),
        (["status", "--url", "http://[::1"], ["--url: 'http://[::1' is not a server's URL; give one such as http://"]),
        (["generate", "--url", "unix:/tmp/x", "a"], ["--url: 'unix:/tmp/x' is not a server's URL"]),
        (["log", "--url", "http://host:port?x=1", "ab"], ["--url: 'http://host:port?x=1' is not"]),
        (["cancel", "--url", "ftp://x"], ["--url: 'ftp://x' is not a server's URL"]),
        (["start"], ["start", "No such command"]),
    ],
)
def test_a_usage_error_is_one_line_that_names_the_option(
    arguments: list[str], words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, error = run_main(arguments, capsys, monkeypatch)
    assert code == 2
    assert len(error.splitlines()) == 1
    assert all(word in error for word in words), error


def test_an_error_in_a_variable_names_the_variable(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable("web_workers"), "many")
    code, error = run_main(["--model", "demo"], capsys, monkeypatch)
    assert code == 2
    assert variable("web_workers") in error


def test_serving_becomes_the_controller_with_the_settings_in_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(os, "execve", lambda *call: calls.append(call))
    CliRunner().invoke(command_line, ["--model", "demo", "--keep", "1h", "--state-dir", "/x"], catch_exceptions=False)
    (_, command, environment) = calls[0]
    assert command[1:] == ["-P", "-X", "utf8", "-m", serve.DAEMON]
    for name, value in {"model": '["demo"]', "keep": "3600.0", "state_dir": "/x", "port": "5000"}.items():
        assert environment[variable(name)] == value
    for name, text in environment.items():
        monkeypatch.setenv(name, text)
    assert load_settings() == load_settings(model="demo", keep="1h", state_dir="/x")


def test_the_docs_hold_every_setting() -> None:
    assert DOCS.read_text() == settings_page() + "\n", "run: python -m para_attn_server.cli.options > docs/settings.md"


def run_main(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> tuple[Any, str]:
    """The command's exit code and what it wrote to stderr."""
    monkeypatch.setattr("sys.argv", ["para-attn-server", *arguments])
    with pytest.raises(SystemExit) as exit:
        main()
    return exit.value.code, capsys.readouterr().err
