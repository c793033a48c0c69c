"""A class of a script, with annotations as text, opened in a process that does not have the script's names."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = """
from __future__ import annotations
import dataclasses, enum, sys
from typing import TYPE_CHECKING, Annotated
from pydantic import BaseModel, Field
from typing_extensions import TypedDict
from para_attn_server.packing import packed
if TYPE_CHECKING:
    from nowhere import Picture

Steps = Annotated[int, Field(ge=1, le=50)]

class Style(enum.StrEnum):
    OIL = "oil"

@dataclasses.dataclass
class Size:
    width: Steps = 3
    names: list[Steps] = dataclasses.field(default_factory=list)

class Point(TypedDict):
    x: Steps

class Frame(BaseModel):
    size: Size

class Base:
    Side = Steps
    def predict(self, prompt: str, output_path: str, steps: Steps = 4, side: Side = 5, style: Style = Style.OIL,
                size: Size | None = None, point: Point | None = None, frame: Frame | None = None) -> Picture: ...

class Mine(Base):
    pass

before = [Base.predict.__annotations__["steps"], Size.__annotations__["width"], dataclasses.fields(Size)[0].type]
for given in (Mine, Mine()):
    sys.stdout.buffer.write(packed(given, "mine"))
after = [Base.predict.__annotations__["steps"], Size.__annotations__["width"], dataclasses.fields(Size)[0].type]
assert before == after == ["Steps"] * 3, after
"""
OPENED = """
import dataclasses, json, pickle, sys
from para_attn_server.core.arguments.model import arguments_model, validated
from para_attn_server.core.arguments.schema import request_schema
for given in (pickle.load(sys.stdin.buffer)(), pickle.load(sys.stdin.buffer)):
    model = arguments_model(given.predict)
    body = {"prompt": "a", "size": {"width": 7}, "point": {"x": 1}, "frame": {"size": {"width": 9}}}
    got = validated(model, body)
    assert dataclasses.asdict(got["size"]) == {"width": 7, "names": []} and got["frame"].size.width == 9
print(json.dumps(request_schema(model)))
"""


def test_a_class_of_a_script_keeps_its_annotations_and_leaves_the_script_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    packed = subprocess.run([sys.executable, tmp_path / "script.py"], capture_output=True, check=True, timeout=60)
    opened = subprocess.run([sys.executable, "-c", OPENED], input=packed.stdout, capture_output=True, timeout=60)
    assert opened.returncode == 0, opened.stderr.decode()
    schema = json.loads(opened.stdout)
    assert schema["properties"]["steps"]["maximum"] == schema["properties"]["side"]["maximum"] == 50
    assert schema["$defs"]["Point"]["properties"]["x"]["minimum"] == 1
