"""The proxies of docs/operations.md, run as they are printed there: no URL leads out of the prefix."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from programs import program
from waiting import wait_until
from web import Web

from para_attn_server.client import Client, RequestRefused
from para_attn_server.core.wire.control import LiveEvent, LiveMark

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
PREFIX = "/pictures"
HASH = "$2b$04$84FWbJSNVt2UwmHNR6kiSuxdCLch8W6Ox48d3.l0mTvNWvksV5npq"
"""Of `secret`."""


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def block(language: str, **replaced: str) -> str:
    """The page's block in that language; what only a reader's machine has is replaced."""
    (code,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    for what, by in replaced.items():
        what = {"server": "127.0.0.1:5000", "users": "/etc/nginx/pictures.users"}.get(what, "pictures.example.com")
        assert what in code
        code = code.replace(what, by)
    return str(code)


def start_nginx(folder: Path, server: str, port: int) -> subprocess.Popen[bytes]:
    (folder / "users").write_text("bob:{PLAIN}secret\n")
    location = block("nginx", server=server, users=str(folder / "users"))
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = " ".join(f"{kind}_temp_path {folder};" for kind in kinds)
    (folder / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {folder}/pid; events {{}}\n"
        f"http {{ access_log off; {places}\nserver {{ listen 127.0.0.1:{port};\n{location} }} }}\n"
    )
    command = [program("nginx"), "-p", str(folder), "-e", "stderr", "-c", str(folder / "nginx.conf")]
    return subprocess.Popen(command, stderr=(folder / "log").open("w"))


def start_caddy(folder: Path, server: str, port: int) -> subprocess.Popen[bytes]:
    site = block("caddy", server=server, site=f"http://127.0.0.1:{port}")
    (folder / "Caddyfile").write_text(f"{{\n admin off\n auto_https off\n}}\n{site}")
    environment = {**os.environ, "HOME": str(folder), "XDG_DATA_HOME": str(folder), "PICTURES_HASH": HASH}
    environment["XDG_CONFIG_HOME"] = str(folder)
    command = [program("caddy"), "run", "--config", str(folder / "Caddyfile")]
    return subprocess.Popen(command, stderr=(folder / "log").open("w"), env=environment)


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    web = Web(tmp_path_factory.mktemp("web"), trusted_proxy="127.0.0.1")
    yield web
    web.close()


@pytest.fixture(scope="module", params=["nginx", "caddy"])
def proxy(request: Any, behind: Web, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the proxy serves the web."""
    folder, port = tmp_path_factory.mktemp(request.param), free_port()
    start = {"nginx": start_nginx, "caddy": start_caddy}[request.param]
    process = start(folder, f"127.0.0.1:{behind.port}", port)

    def serves() -> bool:
        assert process.poll() is None, (folder / "log").read_text()
        try:
            return httpx.get(f"http://127.0.0.1:{port}/").status_code < 500
        except httpx.TransportError:
            return False

    try:
        wait_until(serves, 20, "the proxy to serve")
        yield f"127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def client(proxy: str) -> Iterator[httpx.Client]:
    """A client that the proxy lets in."""
    with httpx.Client(base_url=f"http://{proxy}", auth=("bob", "secret"), timeout=30) as client:
        yield client


def test_nobody_is_let_in_without_the_password(proxy: str) -> None:
    for auth in (None, ("bob", "wrong")):
        assert httpx.get(f"http://{proxy}{PREFIX}/healthz", auth=auth).status_code == 401


def test_every_url_of_an_answer_leads_back_through_the_proxy(client: httpx.Client, behind: Web, proxy: str) -> None:
    accepted = client.post(f"{PREFIX}/generate", json={"prompt": "a", "anything": "x" * 2_000_000})
    assert accepted.status_code == 202  # and what is larger than nginx's own limit is passed on
    where = accepted.headers["location"]
    assert where.startswith(f"{PREFIX}/get_output/")
    assert client.get(where).json()["status"] == "queued"
    assert client.get(f"{PREFIX}/openapi.json").json()["servers"] == [{"url": f"http://{proxy}{PREFIX}"}]
    assert f"POST {PREFIX}/generate" in client.get(f"{PREFIX}/").json()["endpoints"]
    assert client.get(f"{PREFIX}/nowhere").json()["instance"] == f"{PREFIX}/nowhere"
    behind.controller.cancel(accepted.json()["request_id"])


def test_our_client_works_with_the_whole_url(proxy: str, behind: Web, tmp_path: Path) -> None:
    with Client(f"http://bob:secret@{proxy}{PREFIX}/") as ours:
        job_id = ours.submit(prompt="a")
        assert ours.status(job_id, wait=0.2)["status"] == "queued"
        behind.controller.start(job_id)
        behind.controller.succeed(job_id, b"picture")
        assert ours.wait(job_id, timeout=10)["status"] == "succeeded"
        assert ours.result(job_id)["output"] == b"picture"
        assert Path(ours.save(job_id, tmp_path / "a.png")).read_bytes() == b"picture"
        with pytest.raises(RequestRefused):
            ours.cancel(job_id)
        assert ours.server_status()["status"] == "ok"


def test_pages_behind_the_proxy_may_act_and_others_may_not(client: httpx.Client, behind: Web, proxy: str) -> None:
    job_id = behind.submit()
    for origin in ("http://evil.example", f"http://127.0.0.1:{behind.port + 1}"):
        assert client.post(f"{PREFIX}/cancel/{job_id}", headers={"Origin": origin}).status_code == 403
    assert behind.controller.cancels[-1:] != [job_id]
    assert client.post(f"{PREFIX}/cancel/{job_id}", headers={"Origin": f"http://{proxy}"}).status_code == 200


def test_a_wait_is_held(client: httpx.Client, behind: Web) -> None:
    answer = client.get(f"{PREFIX}/get_output/{behind.submit()}", params={"wait": 0.5})
    assert answer.status_code == 202 and answer.elapsed.total_seconds() >= 0.5


def test_events_pass_as_they_come(proxy: str, behind: Web) -> None:
    """No proxy gathers them, and each job's end comes with paths that lead back."""
    with Client(f"http://bob:secret@{proxy}{PREFIX}") as ours:
        events = ours.events(job_id := behind.started())
        assert [next(events)["type"] for _ in range(2)] == ["queued", "started"]
        behind.controller.tell(LiveMark(job_id, 1, 0))
        behind.controller.tell(LiveEvent(job_id, 1, 1, "text", 1.5, '"a"', False))
        assert next(events)["data"] == "a"
        behind.controller.succeed(job_id)
        (ended,) = events
        assert ended["data"]["job"]["output_url"] == f"{PREFIX}/outputs/{job_id}"
