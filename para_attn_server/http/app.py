"""The Flask app of one web worker: dialects over a service. No process, socket or setting is made here."""

from __future__ import annotations

from flask import Flask

from para_attn_server.core.settings import Settings
from para_attn_server.http import problems, request_log
from para_attn_server.http.forwarded import ForwardedHeaders
from para_attn_server.http.jsons import JSON
from para_attn_server.http.kit import Kit
from para_attn_server.http.native.routes import native_routes
from para_attn_server.http.native.shortcut import status_shortcut
from para_attn_server.http.openapi import add_document
from para_attn_server.http.origins import Origins
from para_attn_server.http.routes import blueprint, endpoints
from para_attn_server.service.service import JobService


def create_app(service: JobService, settings: Settings) -> Flask:
    """The app that serves `service`."""
    app = Flask(__name__, static_folder=None)
    app.json = JSON(app)
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body
    app.url_map.merge_slashes = False  # or `//` is answered with a redirect to wherever the Host header says
    routes = native_routes(service)
    add_document(routes, service)
    app.register_blueprint(blueprint("native", routes))
    if settings.access_log:
        request_log.register(app)
    problems.register(app, lambda: endpoints(routes))
    kit = Kit(app.wsgi_app, Origins(settings), status_shortcut(service), settings.access_log)
    app.wsgi_app = kit  # type: ignore[method-assign]
    if settings.root_path or settings.trusted_proxy:
        app.wsgi_app = ForwardedHeaders(app.wsgi_app, settings)  # type: ignore[method-assign]
    return app
