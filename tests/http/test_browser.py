"""What a real browser lets a page of another origin do to a server on this machine: nothing, unless it is allowed."""

from __future__ import annotations

import contextlib
import http.server
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from programs import program
from waiting import wait_until
from web import Web

PAGE = b"""<!doctype html><title>a page</title>
<iframe name="hidden"></iframe>
<form method="post" target="hidden" enctype="text/plain" action="%(url)s"><input name="x" value="1"></form>
<script>
const seen = [];
async function post(mode) {
    try {
        const answer = await fetch("%(url)s", {method: "POST", mode: mode, body: "x"});
        seen.push(mode + "=" + answer.status);
    } catch (error) { seen.push(mode + "=refused"); }
}
(async () => {
    await post("no-cors");
    await post("cors");
    document.querySelector("iframe").onload = () => fetch("/done?" + seen.join("&"));
    document.forms[0].submit();
})();
</script>"""


class OtherSite(http.server.ThreadingHTTPServer):
    """A site on a port of its own, so of another origin: one page, and what the page reports."""

    def __init__(self, url: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.page = PAGE % {b"url": url.encode()}
        self.reports: list[str] = []
        self.origin = f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: OtherSite

    def do_GET(self) -> None:
        if self.path.startswith("/done"):
            self.server.reports.append(self.path.partition("?")[2])
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(self.server.page if self.path == "/" else b"")

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextlib.contextmanager
def other_site(url: str) -> Iterator[OtherSite]:
    site = OtherSite(url)
    thread = threading.Thread(target=site.serve_forever, daemon=True)
    thread.start()
    yield site
    site.shutdown()
    site.server_close()
    thread.join()


def visit(site: OtherSite) -> str:
    """Open the page in a headless Chromium; what it reports."""
    command = [program("chromium"), "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"]
    command += ["--disable-dev-shm-usage", "--no-proxy-server", f"{site.origin}/"]
    # Not in pytest's folder: the path of a Unix socket in it would be too long.
    with tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as folder:
        environment = {**os.environ, "HOME": folder, "TMPDIR": folder}
        command.append(f"--user-data-dir={folder}/profile")
        with Path(folder, "log").open("w") as log:
            browser = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
        try:
            return wait_until(lambda: site.reports, 60, "the page to report")[0]
        except AssertionError:
            raise AssertionError(Path(folder, "log").read_text()[-2000:]) from None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(browser.pid, signal.SIGKILL)
            browser.wait()


@pytest.mark.slow
def test_a_page_of_another_origin_cannot_cancel(web: Web) -> None:
    job_id = web.started()
    with other_site(f"http://127.0.0.1:{web.port}/cancel/{job_id}") as site:
        assert visit(site) == "no-cors=refused&cors=refused"
    assert web.job(job_id).status == "running" and job_id not in web.controller.cancels


@pytest.mark.slow
def test_a_page_of_an_allowed_origin_can(tmp_path: Path) -> None:
    with other_site("/nowhere") as site:
        web = Web(tmp_path, cors_origin=site.origin)
        try:
            job_id = web.started()
            site.page = PAGE % {b"url": f"http://127.0.0.1:{web.port}/cancel/{job_id}".encode()}
            assert visit(site) == "no-cors=0&cors=404"  # the first has done it
            assert web.job(job_id).status == "canceled" and set(web.controller.cancels) == {job_id}
        finally:
            web.close()
