"""The Flask app of one web worker: dialects over a service. No process, socket or setting is made here."""

from __future__ import annotations

from flask import Flask, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException, NotFound
from werkzeug.wrappers import Response

from para_attn_server.core.errors import ServerError
from para_attn_server.core.settings import Settings
from para_attn_server.http.dialects import make_dialects
from para_attn_server.http.kit import request_log
from para_attn_server.http.kit.dialect import Dialects
from para_attn_server.http.kit.forwarded import ForwardedHeaders
from para_attn_server.http.kit.jsons import JSON
from para_attn_server.http.kit.layer import Kit
from para_attn_server.http.kit.openapi import add_document
from para_attn_server.http.kit.origins import Origins
from para_attn_server.http.kit.problems import Problem, http_problem, problem_of
from para_attn_server.http.kit.routes import blueprint, endpoints
from para_attn_server.http.kit.uploads import MAX_UPLOAD
from para_attn_server.service.service import JobService


def create_app(service: JobService, settings: Settings) -> Flask:
    """The app that serves `service`."""
    app = Flask(__name__, static_folder=None)
    app.json = JSON(app)
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body
    app.config[MAX_UPLOAD] = settings.max_upload
    app.url_map.merge_slashes = False  # or `//` is answered with a redirect to wherever the Host header says
    dialects = make_dialects(service)
    add_document(dialects, service)
    for dialect in dialects:
        app.register_blueprint(blueprint(dialect.name, dialect.routes))
    if settings.access_log:
        request_log.register(app)
    _handle_errors(app, dialects)
    app.wsgi_app = Kit(app.wsgi_app, Origins(settings), dialects, settings.access_log)  # type: ignore[method-assign]
    if settings.root_path or settings.trusted_proxy:
        app.wsgi_app = ForwardedHeaders(app.wsgi_app, settings)  # type: ignore[method-assign]
    return app


def _handle_errors(app: Flask, dialects: Dialects) -> None:
    """Have every error reported in the shape of the dialect to which its path belongs."""

    def handled(error: Exception) -> ResponseReturnValue:
        if isinstance(error, HTTPException) and (error.code is None or error.code < 400):
            return error  # a redirect
        return dialects.render(problem_of(error), request.environ)

    def not_found(_error: NotFound) -> Response:
        known = endpoints(dialects.of(request.path).routes)
        detail = f"{request.path} does not exist. The endpoints are: {', '.join(known)}."
        return dialects.render(Problem(http_problem(404), detail, {"endpoints": known}), request.environ)

    app.register_error_handler(NotFound, not_found)
    for kind in (ServerError, HTTPException, Exception):
        app.register_error_handler(kind, handled)
