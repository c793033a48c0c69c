"""Where clients find this server when it is behind a proxy: --root-path, and what a trusted proxy says in headers.

WSGI middleware in front of the app, only where one of the two is set. It decides no access: a forwarded host counts for
URLs and for the comparison with an `Origin`, and never for which hosts are served (origins.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING

from werkzeug.middleware.proxy_fix import ProxyFix

from para_attn_server.core.settings import PATH_PREFIX, Settings, listed
from para_attn_server.http.kit.origins import HOST

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_FORMS = {
    "HTTP_X_FORWARDED_PREFIX": PATH_PREFIX,
    "HTTP_X_FORWARDED_PROTO": re.compile(r"https?"),
    "HTTP_X_FORWARDED_HOST": HOST,
}
"""What each header may hold; another value is taken as left out: it would make a URL that leads elsewhere."""


class ForwardedHeaders:
    """The app below `--root-path`, and below X-Forwarded-Prefix where a trusted proxy sends it."""

    def __init__(self, app: WSGIApplication, settings: Settings) -> None:
        self._app = app
        self._behind_proxy = ProxyFix(app, x_for=0, x_proto=1, x_host=1, x_prefix=1)
        self._root = settings.root_path
        self._trusted = [ip_network(network) for network in listed(settings.trusted_proxy)]

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if self._root:
            environ["SCRIPT_NAME"] = self._root
            if f"{path}/".startswith(f"{self._root}/"):  # a proxy that passes the path on as it is
                environ["PATH_INFO"] = path[len(self._root) :] or "/"
        if not self._is_trusted(environ.get("REMOTE_ADDR", "")):
            return self._app(environ, start_response)
        for name, form in _FORMS.items():
            value = environ.get(name, "").rpartition(",")[2].strip().rstrip("/")
            environ[name] = value if form.fullmatch(value) else ""
        return self._behind_proxy(environ, start_response)

    def _is_trusted(self, address: str) -> bool:
        if not self._trusted or not address:
            return False
        found = ip_address(address.partition("%")[0])
        if isinstance(found, IPv6Address) and found.ipv4_mapped:  # an IPv4 client of an IPv6 socket
            found = found.ipv4_mapped
        return any(found in network for network in self._trusted)
