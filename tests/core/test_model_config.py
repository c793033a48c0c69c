"""Which models a server serves: their names, the TOML file, and what is refused with several of them."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from para_attn_server import ParaAttentionServer
from para_attn_server.core.errors import UsageError
from para_attn_server.core.models import found_models, models_of, read_models, short_name
from para_attn_server.core.settings import load_settings
from para_attn_server.core.wire.launch import GroupWish

FILE = """
[models.flux]
num_devices = 4
set = { dtype = "bfloat16", tiles = 2 }

[models.video-2]
model = "my.py:VideoPredictor"
model_path = "owner/weights"
gpus = [[0], ["GPU-ab"]]
"""


def refusal(tmp_path: Path, text: str) -> str:
    file = tmp_path / "models.toml"
    file.write_text(text)
    with pytest.raises(UsageError) as refused:
        models_of(load_settings(config=file))
    return str(refused.value)


def test_a_file_has_the_models_in_its_order(tmp_path: Path) -> None:
    (tmp_path / "models.toml").write_text(FILE)
    flux, video = read_models(tmp_path / "models.toml")
    assert (flux.name, flux.model, flux.set) == ("flux", "flux", {"dtype": "bfloat16", "tiles": 2})
    assert flux.groups == [GroupWish(4)]
    assert (video.name, video.model, video.model_path) == ("video-2", "my.py:VideoPredictor", "owner/weights")
    assert video.groups == [GroupWish(1, ["0"]), GroupWish(1, ["GPU-ab"])]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("models = 3", "names no model; it needs a table such as [models.demo]"),
        ("", "names no model"),
        ("[models.a", "is not TOML"),
        ("port = 80\n[models.demo]", "port is unknown; the file has tables [models.NAME] only"),
        ("[models.Wan_2]", "models: 'Wan_2' is not a model's name; use a-z, 0-9 and -"),
        ("models.demo = 3", "models.demo: must be a table, [models.demo], not 3"),
        ("[models.demo]\nname = 'x'", "models.demo.name: is unknown; the model's name is that of its table"),
        ("[models.demo]\ndevices = 2", "models.demo.devices: is unknown; a model has model, model_path, set, num_dev"),
        (
            "[models.demo]\nnum_devices = 0",
            "models.demo.num_devices: Input should be greater than or equal to 1",
        ),
        ("[models.demo]\nnum_groups = 'two'", "models.demo.num_groups: Input should be a valid integer"),
        ("[models.demo]\ngpus = [0]", "models.demo.gpus[0]: Input should be a valid list (got 0)"),
        ("[models.demo]\ngpus = [[]]", "models.demo.gpus[0]: "),
        ("[models.demo]\ngpus = [[0]]\nnum_groups = 1", "models.demo: gpus says how many groups and ranks there are"),
        ("[models.demo]\nset = ['a=b']", "models.demo.set: Input should be a valid dictionary"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(tmp_path: Path, text: str, words: str) -> None:
    assert words in refusal(tmp_path, text)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^config: .*/none.toml cannot be read \(No such file"):
        models_of(load_settings(config=tmp_path / "none.toml"))


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("model = 'nosuch'", "models.x.model: no predictor is named 'nosuch'"),
        ("model = 'demo'\nmodel_path = '/nowhere'", "models.x.model_path: there is no /nowhere"),
    ],
)
def test_a_model_of_a_file_that_cannot_be_found_is_named_by_its_key(tmp_path: Path, table: str, words: str) -> None:
    (tmp_path / "models.toml").write_text(f"[models.x]\n{table}")
    with pytest.raises(UsageError, match=words):
        found_models(load_settings(config=tmp_path / "models.toml"))


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("demo", "demo"),
        ("my.py:WanVideoPredictor", "wan-video"),
        ("a.b:T2IPredictor", "t2i"),
        ("a.b:Wan2VideoPredictor", "wan2-video"),
        ("a.b:HTTPThing", "http-thing"),
        ("x/y.py:Predictor", "predictor"),
        ("m:Outer.Inner_2", "inner-2"),
    ],
)
def test_a_model_without_a_name_gets_one(model: str, name: str) -> None:
    assert short_name(model) == name


def test_options_belong_to_the_only_model() -> None:
    (model,) = models_of(load_settings(model="demo", num_devices=3, num_groups=2, set="a=b", model_path="owner/x"))
    assert (model.name, model.set, model.model_path) == ("demo", {"a": "b"}, "owner/x")
    assert model.groups == [GroupWish(3)] * 2


@pytest.mark.parametrize(
    "given", [{"num_devices": 2}, {"num_groups": 2}, {"set": {"dtype": 'a "b"'}}, {"model_path": "owner/x"}]
)
def test_an_option_of_one_model_is_refused_with_the_file_that_says_it_for_each(
    tmp_path: Path, given: dict[str, object]
) -> None:
    (name,) = given
    with pytest.raises(UsageError, match=f"^{name}: with several models, say it for each in a file") as refused:
        models_of(load_settings(model=["demo", "my.py:MyPredictor"], **given))
    said = str(refused.value).partition(" with\n")[2]
    both = {"demo": {"model": "demo", **given}, "my": {"model": "my.py:MyPredictor", **given}}
    assert tomllib.loads(said)["models"] == both
    (tmp_path / "models.toml").write_text(said)
    assert [model.name for model in read_models(tmp_path / "models.toml")] == ["demo", "my"]
    with pytest.raises(UsageError, match=f"^{name}: the models are in .*models.toml; say it there"):
        models_of(load_settings(config=tmp_path / "models.toml", **given))


def test_two_models_of_one_name_are_refused_with_the_file_that_names_them() -> None:
    with pytest.raises(UsageError, match=r"^model: two models would be called my; name them in a file") as refused:
        models_of(load_settings(model=["a.py:MyPredictor", "b.py:MyPredictor"]))
    assert list(tomllib.loads(str(refused.value).partition(" with\n")[2])["models"]) == ["my-1", "my-2"]


def test_several_models_travel_through_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given = load_settings(model=["demo", "flux"], config=tmp_path / "a.toml")
    for name, text in given.as_environment({}).items():
        monkeypatch.setenv(name, text)
    assert load_settings() == given


class Drawing:
    """Not a Predictor by inheritance, which is not asked for."""

    def setup(self) -> None: ...

    def predict(self, output_path: str) -> None: ...


def test_python_takes_several_models_with_what_a_file_says_of_each() -> None:
    server = ParaAttentionServer(models={"demo": "demo", "mine": {"model": Drawing(), "num_groups": 2}}, port=0)
    demo, mine = server._models
    assert (demo.name, demo.spec.name, demo.spec.pickled) == ("demo", "demo", None)
    assert (mine.name, len(mine.groups)) == ("mine", 2) and mine.spec.pickled is not None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"predictor": "demo", "models": {"demo": "demo"}}, "models: it is given together with a predictor"),
        ({"models": {"demo": "demo"}, "num_devices": 2}, "num_devices: the models are in models=; say it for each"),
        ({"models": {"a": "nosuch"}}, "models.a.model: no predictor is named 'nosuch'"),
        ({"models": {"a": {"model": Drawing, "groups": 2}}}, "models.a.groups: is unknown"),
        ({"models": {"a": 3}}, "must be an instance or a class with setup"),
        ({"models": {}}, "there is no predictor"),
        ({}, "there is no predictor"),
    ],
)
def test_python_is_told_what_is_wrong(arguments: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        ParaAttentionServer(**arguments)  # type: ignore[arg-type]
