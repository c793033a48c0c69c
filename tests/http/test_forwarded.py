"""Behind a proxy: no URL of an answer leads out of the path prefix, and only a trusted proxy's word counts."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from fake_service import service_with

from para_attn_server.core.errors import JobNotFound, NotAccepting
from para_attn_server.core.settings import Settings
from para_attn_server.http.app import create_app

ID = "0123456789abcdef"
FORWARDED = {"X-Forwarded-Prefix": "/pictures", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "a.example"}
URL = "https://a.example/pictures"


def app(**settings: Any) -> Any:
    """A client of an app whose service takes every request and knows no job."""

    def view(_: object, job_id: str) -> None:
        raise JobNotFound(f"there is no job {job_id}")

    def model_info(_: object) -> None:
        raise NotAccepting("not yet")

    service = service_with(submit=lambda *_: SimpleNamespace(id=ID), view=view, model_info=model_info)
    return create_app(service, Settings(model="m", **settings)).test_client()


def urls(client: Any, path: str = "", peer: str = "127.0.0.1", **headers: str) -> dict[str, Any]:
    """What every answer with a URL says, of a client that connects from `peer` and asks below `path`."""

    def ask(method: str, rest: str, **more: Any) -> Any:
        return client.open(path + rest, method=method, environ_base={"REMOTE_ADDR": peer}, headers=headers, **more)

    return {
        "location": ask("POST", "/generate", json={}).headers["location"],
        "server": ask("GET", "/openapi.json").json["servers"],
        "index": list(ask("GET", "/").json["endpoints"]),
        "instance": ask("GET", f"/outputs/{ID}").json["instance"],
        "not found": list(ask("GET", "/nowhere").json["endpoints"]),
    }


def check(found: dict[str, Any], prefix: str, url: str = "http://localhost") -> None:
    """Every URL begins with the prefix."""
    assert found["location"] == f"{prefix}/get_output/{ID}"
    assert found["server"] == [{"url": url + prefix}]
    assert found["instance"] == f"{prefix}/outputs/{ID}"
    for listing in ("index", "not found"):
        assert f"POST {prefix}/generate" in found[listing]
        assert all(f" {prefix}/" in endpoint for endpoint in found[listing])


def test_without_a_proxy_urls_begin_at_the_root() -> None:
    check(urls(app()), "")


@pytest.mark.parametrize("path", ["", "/pictures"], ids=["the proxy strips the prefix", "it does not"])
@pytest.mark.parametrize("root", ["/pictures", "/pictures/"])
def test_the_root_path_is_in_every_url(root: str, path: str) -> None:
    check(urls(app(root_path=root), path), "/pictures")


def test_the_root_of_the_root_path_is_the_index() -> None:
    client = app(root_path="/a/b")
    assert {client.get(path).status_code for path in ("/", "/a/b", "/a/b/")} == {200}
    assert client.get("/a/bb").status_code == 404


@pytest.mark.parametrize("trusted", ["127.0.0.1", "10.0.0.0/8, 127.0.0.0/8", "127.0.0.1/32", "::1,127.0.0.1"])
def test_a_trusted_proxys_headers_are_in_every_url(trusted: str) -> None:
    check(urls(app(trusted_proxy=trusted), **FORWARDED), "/pictures", "https://a.example")


@pytest.mark.parametrize("peer", ["::1", "::ffff:10.1.2.3", "fd00::1"])
def test_trusted_addresses_may_be_of_either_family(peer: str) -> None:
    check(urls(app(trusted_proxy="::1,10.0.0.0/8,fd00::/8"), peer=peer, **FORWARDED), "/pictures", "https://a.example")


@pytest.mark.parametrize(("trusted", "peer"), [("", "127.0.0.1"), ("10.0.0.0/8", "127.0.0.1"), ("::1", "127.0.0.1")])
def test_anybody_elses_headers_are_not_believed(trusted: str, peer: str) -> None:
    check(urls(app(trusted_proxy=trusted), peer=peer, **FORWARDED), "")


def test_a_trusted_prefix_comes_before_the_root_path() -> None:
    found = urls(app(trusted_proxy="127.0.0.1", root_path="/other"), **{"X-Forwarded-Prefix": "/pictures/"})
    check(found, "/pictures")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-Forwarded-Prefix", "//evil.example"),
        ("X-Forwarded-Prefix", "pictures"),
        ("X-Forwarded-Prefix", "/../.."),
        ("X-Forwarded-Prefix", "/a/./b"),
        ("X-Forwarded-Prefix", "/a/../"),
        ("X-Forwarded-Prefix", "/a\\b"),
        ("X-Forwarded-Prefix", "/a?b"),
        ("X-Forwarded-Proto", "javascript"),
        ("X-Forwarded-Host", "evil.example/a"),
        ("X-Forwarded-Host", "a b"),
        ("X-Forwarded-Host", "user@evil.example"),
    ],
)
def test_a_value_that_makes_no_sense_is_as_good_as_none(name: str, value: str) -> None:
    check(urls(app(trusted_proxy="127.0.0.1"), **{name: value}), "")


def test_of_several_proxies_the_nearest_counts() -> None:
    found = urls(app(trusted_proxy="127.0.0.1"), **{"X-Forwarded-Host": "evil.example, a.example"})
    check(found, "", "http://a.example")
