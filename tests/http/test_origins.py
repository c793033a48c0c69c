"""Which hosts are served, and what a web page of another origin may do; without processes."""

from __future__ import annotations

from typing import Any

import pytest
from fake_service import service_with

from para_attn_server.core.errors import NothingToCancel
from para_attn_server.core.settings import Settings
from para_attn_server.http.app import create_app
from para_attn_server.http.kit.origins import is_loopback

HERE, ELSEWHERE, ALLOWED = "http://127.0.0.1:5000", "http://evil.example", "https://app.example.com"


def app(**settings: Any) -> Any:
    """A client of an app whose service has nothing to cancel: 404 says that a cancel has reached it."""

    def cancel(*_: object) -> None:
        raise NothingToCancel("no job is running")

    return create_app(
        service_with(cancel=cancel, readiness=lambda *_: []), Settings(model="m", **settings)
    ).test_client()


def cancel(client: Any, **headers: str) -> Any:
    """POST /cancel as a page's form sends it."""
    sent = {name.replace("_", "-"): value for name, value in {"host": "127.0.0.1:5000", **headers}.items()}
    return client.post("/cancel", data="x=1", content_type="text/plain", headers=sent)


# --- hosts ---


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:5000", "[::1]:1", "localhost", "LocalHost:80", "localhost.", "127.1.2.3"]
)
@pytest.mark.parametrize("bound", ["127.0.0.1", "::1", "localhost"])
def test_names_of_this_machine_are_served_on_loopback(bound: str, host: str) -> None:
    assert app(host=bound).get("/healthz", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:5000", "localhost.evil.example", "10.0.0.1", "0.0.0.0"])
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("path", ["/server_status", "/", "/nowhere"])
def test_another_host_is_421_on_loopback_and_the_option_named(host: str, method: str, path: str) -> None:
    answer = app().open(path, method=method, headers={"Host": host})
    assert answer.status_code == 421
    assert "--allowed-host" in answer.json["detail"] and host in answer.json["detail"]


def test_an_allowed_host_is_served_and_no_other() -> None:
    client = app(allowed_host="pictures.example, other.example")
    for host, status in (("PICTURES.example:1", 200), ("other.example", 200), ("a.pictures.example", 421)):
        assert client.get("/healthz", headers={"Host": host}).status_code == status
    assert client.get("/healthz").status_code == 200


def test_a_forwarded_host_never_replaces_the_check() -> None:
    client = app(trusted_proxy="127.0.0.0/8", allowed_host="good.example")
    headers = {"Host": "evil.example", "X-Forwarded-Host": "good.example"}
    assert client.get("/healthz", headers=headers).status_code == 421


def test_on_another_address_every_host_is_served_unless_some_are_named() -> None:
    assert app(host="0.0.0.0").get("/healthz", headers={"Host": "any.example"}).status_code == 200
    named = app(host="0.0.0.0", allowed_host="one.example")
    assert named.get("/healthz", headers={"Host": "any.example"}).status_code == 421
    assert named.get("/healthz", headers={"Host": "one.example"}).status_code == 200


@pytest.mark.parametrize("host", ["", "a b", "a.example, b.example", "a/b", "http://a", "[::1", "a:b", "\xe9"])
def test_a_host_that_makes_no_sense_is_400(host: str) -> None:
    for bound in ("127.0.0.1", "0.0.0.0"):
        assert app(host=bound).get("/healthz", headers={"Host": host}).status_code == 400


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False)],
)
def test_what_is_loopback(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


# --- unsafe methods ---


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": HERE},
        {"origin": HERE, "sec_fetch_site": "same-origin"},
        {"sec_fetch_site": "none"},
        {"origin": "http://localhost", "host": "localhost:80"},
        {"origin": "https://LOCALHOST", "host": "localhost:443"},
        {"origin": ALLOWED, "sec_fetch_site": "cross-site"},
        {"origin": ALLOWED},
    ],
)
def test_what_is_of_this_origin_or_of_an_allowed_one_or_not_of_a_browser_passes(headers: dict[str, str]) -> None:
    assert cancel(app(cors_origin=ALLOWED), **headers).status_code == 404


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": ELSEWHERE, "sec_fetch_site": "cross-site"},
        {"origin": HERE, "sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"sec_fetch_site": "nonsense"},
        {"origin": ELSEWHERE},
        {"origin": "null"},
        {"origin": ""},
        {"origin": "http://127.0.0.1:5001"},
        {"origin": "http://127.0.0.1"},
        {"origin": "http://127.0.0.1:5000.evil.example"},
        {"origin": "https://app.example.com.evil.example"},
        {"origin": "http://app.example.com"},
        {"origin": ELSEWHERE, "x_forwarded_host": "evil.example"},  # nobody is trusted
    ],
)
@pytest.mark.parametrize("path", ["/cancel", "/generate", "/request_status/ab", "/nowhere"])
def test_a_page_of_another_origin_is_403(path: str, headers: dict[str, str]) -> None:
    sent = {name.replace("_", "-"): value for name, value in {"host": "127.0.0.1:5000", **headers}.items()}
    answer = app(cors_origin=ALLOWED).post(path, data="x=1", content_type="text/plain", headers=sent)
    assert answer.status_code == 403
    assert "--cors-origin" in answer.json["detail"]


def test_a_foreign_page_may_look_as_it_may_at_any_site() -> None:
    headers = {"Origin": ELSEWHERE, "Sec-Fetch-Site": "cross-site"}
    answer = app(cors_origin=ALLOWED).get("/healthz", headers=headers)
    assert answer.status_code == 200 and "access-control-allow-origin" not in answer.headers  # the page cannot read it


def test_behind_a_trusted_proxy_the_origin_is_that_of_the_host_that_was_asked() -> None:
    client = app(trusted_proxy="127.0.0.1")
    asked = {"origin": "https://pictures.example", "x_forwarded_host": "pictures.example"}
    assert cancel(client, **asked).status_code == 404
    assert cancel(client, **{**asked, "origin": ELSEWHERE}).status_code == 403
    assert cancel(client, origin=HERE, x_forwarded_host="pictures.example").status_code == 404


# --- CORS ---


def test_an_allowed_origin_may_ask_and_read() -> None:
    client = app(cors_origin=f"{ALLOWED}, http://localhost:3000")
    for origin in (ALLOWED, "http://localhost:3000"):
        asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        before = client.options("/generate", headers=asked)
        assert before.status_code == 204
        assert "POST" in before.headers["access-control-allow-methods"]
        assert "content-type" in before.headers["access-control-allow-headers"].lower()
        for answer in (before, client.get("/readyz", headers={"Origin": origin}), cancel(client, origin=origin)):
            assert answer.headers["access-control-allow-origin"] == origin
            assert answer.headers["vary"] == "Origin"
        assert "Location" in answer.headers["access-control-expose-headers"]


@pytest.mark.parametrize("origin", [ELSEWHERE, "null", "https://app.example.com:444", "https://APP.example.com"])
def test_no_other_origin_may(origin: str) -> None:
    client = app(cors_origin=ALLOWED)
    asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    for answer in (client.options("/generate", headers=asked), client.get("/readyz", headers={"Origin": origin})):
        assert not [name for name, _ in answer.headers if name.lower().startswith("access-control")]


@pytest.mark.parametrize("upgrade", ["websocket", "WebSocket", "h2c"])
def test_an_upgrade_is_ignored(upgrade: str) -> None:
    assert app().get("/healthz", headers={"Connection": "Upgrade", "Upgrade": upgrade}).status_code == 200


@pytest.mark.parametrize(("allowed", "shown_to"), [("", "same-origin"), (ALLOWED, "cross-origin")])
def test_every_answer_forbids_sniffing_and_frames_and_says_who_may_embed_it(allowed: str, shown_to: str) -> None:
    client = app(cors_origin=allowed)
    answers = [client.get(path) for path in ("/", "/healthz", "/nowhere")]
    answers += [
        client.delete("/healthz"),
        client.options("/generate"),
        client.get("/", headers={"Host": "evil.example"}),
    ]
    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"] == "frame-ancestors 'none'"
        assert answer.headers["cross-origin-resource-policy"] == shown_to
