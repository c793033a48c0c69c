"""Every event that the server logs has a key, which stays when its words change."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import para_attn_server
from para_attn_server.core.log_keys import KEYS

SOURCES = [*Path(para_attn_server.__file__).parent.rglob("*.py")]
LEVELS = {"debug", "info", "warning", "error", "critical", "exception"}
PROGRAM = """
import logging, structlog
from para_attn_server.core.logs import configure_logging
configure_logging("info", "json", "test")
structlog.get_logger().info("rank died", rank=1)
logging.getLogger("x").warning("control channel: cannot send: %s", "why")
logging.getLogger("predictor").warning("my own %s", "words")
"""


def test_every_event_has_a_key_of_its_own() -> None:
    logged, said = set(), set()
    for node in (node for path in SOURCES for node in ast.walk(ast.parse(path.read_text()))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            said.add(node.value)
        match node:
            case ast.Call(ast.Attribute(ast.Name("log"), level), [ast.Constant(str(event)), *_]) if level in LEVELS:
                logged.add(event)
    assert logged and logged <= set(KEYS)
    assert set(KEYS) <= said, "none is of an event that is logged no more"
    assert len(set(KEYS.values())) == len(KEYS)
    assert all(re.fullmatch(r"[a-z]+\.[a-z_]+", key) for key in KEYS.values())


def test_json_lines_of_the_server_have_it_and_others_do_not() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [(line["event"], line.get("key")) for line in lines] == [
        ("rank died", "rank.died"),
        ("control channel: cannot send: why", "control.send_failed"),
        ("my own words", None),
    ]
