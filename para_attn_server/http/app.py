"""The Flask app of one web worker: dialects over a service. No process, socket or setting is made here."""

from __future__ import annotations

from typing import Any

from flask import Flask, Response
from flask.json.provider import DefaultJSONProvider

from para_attn_server.core.settings import Settings
from para_attn_server.http import problems, request_log
from para_attn_server.http.bodies import NO_FRAMES
from para_attn_server.http.forwarded import ForwardedHeaders
from para_attn_server.http.native.routes import native_routes
from para_attn_server.http.openapi import add_document
from para_attn_server.http.origins import Origins
from para_attn_server.http.routes import blueprint, endpoints
from para_attn_server.service.service import JobService


class _JSON(DefaultJSONProvider):
    """Members in the order in which they are written; ASCII only where it must be."""

    sort_keys = False
    ensure_ascii = False
    compact = True

    def dumps(self, obj: Any, **kwargs: Any) -> str:
        """The text; what is none, such as a byte of a file's name, as the escape that JSON has for it."""
        return super().dumps(obj, **kwargs).encode(errors="backslashreplace").decode()


def create_app(service: JobService, settings: Settings) -> Flask:
    """The app that serves `service`."""
    app = Flask(__name__, static_folder=None)
    app.json = _JSON(app)
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body
    app.url_map.merge_slashes = False  # or `//` is answered with a redirect to wherever the Host header says
    routes = native_routes(service)
    add_document(routes, service)
    app.register_blueprint(blueprint("native", routes))
    request_log.register(app, settings.access_log)
    origins = Origins(settings)
    app.before_request(origins.check)
    app.after_request(_on_every_answer)
    app.after_request(origins.allow)
    problems.register(app, lambda: endpoints(routes))
    app.wsgi_app = _without_upgrade(app.wsgi_app)  # type: ignore[method-assign]
    if settings.root_path or settings.trusted_proxy:
        app.wsgi_app = ForwardedHeaders(app.wsgi_app, settings)  # type: ignore[method-assign]
    return app


def _on_every_answer(response: Response) -> Response:
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers.setdefault("Content-Security-Policy", NO_FRAMES)
    return response


def _without_upgrade(app: Any) -> Any:
    """`Upgrade` may be ignored (RFC 9110, 7.8), and is: werkzeug would look for a route for WebSockets."""

    def ignore(environ: dict[str, Any], start_response: Any) -> Any:
        environ.pop("HTTP_UPGRADE", None)
        return app(environ, start_response)

    return ignore
