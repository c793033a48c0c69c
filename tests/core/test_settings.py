"""Settings: declared once, from arguments, environment or default, and handed on unchanged."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from para_attn_server.core.errors import ExitCode, UsageError
from para_attn_server.core.settings import ENV_PREFIX, Settings, load_settings, parse_duration


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(ENV_PREFIX + name.upper(), raising=False)
    monkeypatch.delenv("DATABASE_URL", raising=False)


def test_defaults_need_nothing() -> None:
    settings = load_settings()
    assert (settings.host, settings.port, settings.keep) == ("127.0.0.1", 5000, 7 * 86400)


def test_arguments_win_over_the_environment_which_wins_over_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARA_ATTN_SERVER_PORT", "6000")
    monkeypatch.setenv("PARA_ATTN_SERVER_SHUTDOWN_TIMEOUT", "3m")
    assert load_settings().port == 6000
    assert load_settings(port=7000).port == 7000
    assert load_settings(port=7000).shutdown_timeout == 180.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("10s", 10.0), ("5m", 300.0), ("12h", 43200.0), ("7d", 604800.0), ("1.5", 1.5), (" 2 s ", 2.0)],
)
def test_durations_are_text_with_a_unit(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)
    assert load_settings(keep=text).keep == pytest.approx(seconds)


@pytest.mark.parametrize(("text", "seconds"), [("10S", 10.0), ("500MS", 0.5), ("5M", 300.0), (" 7 D ", 604800.0)])
def test_units_of_durations_may_be_capitals(text: str, seconds: float) -> None:
    assert load_settings(keep=text).keep == seconds


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1048576", 2**20),
        ("64KiB", 2**16),
        ("500MB", 5 * 10**8),
        (" 2 g ", 2 * 10**9),
        ("1.5ki", 1536),
        (1, 1),
    ],
)
def test_sizes_are_text_with_a_unit(text: str | int, size: int) -> None:
    assert load_settings(min_free=text).min_free == load_settings(max_output_bytes=text).max_output_bytes == size


@pytest.mark.parametrize("value", ["much", "-1", -1, "1.5.5k", "1e9", "KiB", "", "5 EB", 1.5])
def test_what_is_no_size_is_refused_by_name(value: object) -> None:
    with pytest.raises(UsageError, match=r"^min_free: "):
        load_settings(min_free=value)


def test_outputs_are_kept_as_long_as_their_jobs_or_shorter() -> None:
    assert load_settings(keep="2h").output_seconds == 7200
    assert load_settings(keep="2h", keep_outputs="1h").output_seconds == 3600
    with pytest.raises(UsageError, match="keep_outputs: must not be longer than keep"):
        load_settings(keep="1h", keep_outputs="2h")


def _choices() -> list[tuple[str, str]]:
    """Each word of each setting that is a choice of words."""
    properties = Settings.model_json_schema()["properties"]
    return [(name, word) for name, declared in properties.items() for word in declared.get("enum", ())]


@pytest.mark.parametrize(("name", "word"), _choices())
def test_choices_may_be_written_in_any_case(monkeypatch: pytest.MonkeyPatch, name: str, word: str) -> None:
    for written in (word, word.upper(), word.title(), f" {word} "):
        assert getattr(load_settings(**{name: written}), name) == word
        monkeypatch.setenv(ENV_PREFIX + name.upper(), written)
        assert getattr(load_settings(), name) == word


@pytest.mark.parametrize("written", ["0", "false", "FALSE", "False", "no", "NO", "off", "Off", "n", "f"])
def test_booleans_may_be_written_in_any_case(monkeypatch: pytest.MonkeyPatch, written: str) -> None:
    monkeypatch.setenv("PARA_ATTN_SERVER_BIND_CORES", written)
    assert load_settings().bind_cores is load_settings(bind_cores=written).bind_cores is False


@pytest.mark.parametrize("value", ["7 weeks", "-1s", "nan", "inf", "s", "", "1e3", -1, float("nan"), float("inf")])
def test_what_is_no_duration_is_refused_by_name(value: object) -> None:
    with pytest.raises(UsageError, match=r"^keep: "):
        load_settings(keep=value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", 70000),
        ("port", "many"),
        ("num_devices", 0),
        ("num_groups", 0),
        ("log_level", "loud"),
        ("max_queue", 0),
        ("no_such_setting", 1),
    ],
)
def test_a_wrong_setting_is_a_usage_error_that_names_it(name: str, value: object) -> None:
    with pytest.raises(UsageError, match=f"^{name}: .*got {value!r}") as caught:
        load_settings(**{name: value})
    assert caught.value.exit_code == ExitCode.USAGE


def test_a_setting_that_there_is_not_names_the_closest() -> None:
    with pytest.raises(UsageError, match=r"^portt: unknown setting; did you mean port\? \(got 1\)$"):
        load_settings(portt=1)
    with pytest.raises(UsageError, match=r"^xyzzy: unknown setting; known: model, config, model_path, set, device, .*"):
        load_settings(xyzzy=1)


def test_every_wrong_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARA_ATTN_SERVER_PORT", "-1")
    with pytest.raises(UsageError) as caught:
        load_settings(shutdown_timeout="soon", num_groups=0)
    assert {part.split(":")[0] for part in str(caught.value).split("; ")} == {"port", "shutdown_timeout", "num_groups"}


def test_settings_are_handed_on_as_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given = load_settings(
        model="demo",
        model_path="some/repo",
        port=0,
        num_devices=2,
        output_dir=tmp_path / "ein Ordner ü",
        allow_any_output_path=True,
        keep="36h",
        cancel_timeout=0.25,
        log_format="json",
    )
    inherited = {"PARA_ATTN_SERVER_HOST": "inherited", "PYTHONINSPECT": "1", "HOME": "kept"}
    environment = given.as_environment(inherited)
    assert {name for name in environment if not name.startswith(ENV_PREFIX)} == {"HOME"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert load_settings() == given


def test_defaults_are_handed_on_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given = load_settings()
    for name, value in given.as_environment({"PARA_ATTN_SERVER_MODEL_PATH": "inherited"}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    assert load_settings() == given


def test_folders_are_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    settings = load_settings(output_dir="pictures", state_dir="~/state")
    assert settings.output_dir == tmp_path / "pictures"
    assert settings.state_dir == tmp_path / "home" / "state"


def test_settings_never_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        load_settings().port = 1  # type: ignore[misc]


def test_every_setting_says_what_it_is() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


@pytest.mark.parametrize(
    ("name", "given", "kept"),
    [
        ("root_path", "/pictures/", "/pictures"),
        ("root_path", "/", ""),
        ("root_path", "/..a/b.", "/..a/b."),
        ("trusted_proxy", "127.0.0.1, 10.1.2.3/8,::1", "127.0.0.1/32,10.0.0.0/8,::1/128"),
        ("allowed_host", "Pictures.example, [::1]", "pictures.example,::1"),
        ("cors_origin", "https://App.example/, http://[::1]:3000", "https://app.example,http://[::1]:3000"),
    ],
)
def test_what_proxies_and_browsers_are_known_by_is_kept_in_one_form(name: str, given: str, kept: str) -> None:
    assert getattr(load_settings(**{name: given}), name) == kept


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("root_path", "pictures", "such as /pictures"),
        ("root_path", "/../..", "such as /pictures"),
        ("root_path", "/a/.", "such as /pictures"),
        ("root_path", "//evil.example", "such as /pictures"),
        ("trusted_proxy", "proxy.example", "does not appear to be an IPv4 or IPv6 network"),
        ("allowed_host", "a.example:5000", "a.example:5000 is not a host name"),
        ("cors_origin", "*", "such as https://app.example.com"),
        ("cors_origin", "app.example.com", "such as https://app.example.com"),
    ],
)
def test_another_form_is_refused_and_the_right_one_shown(name: str, given: str, words: str) -> None:
    with pytest.raises(UsageError, match=f"{name}: .*{words}") as caught:
        load_settings(**{name: given})
    assert "Value error" not in str(caught.value)
