"""A dialect is a folder and one line in `http/dialects.py`: its errors have its own shape wherever they come from."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from conformance import Document
from fake_service import service_with
from openapi_spec_validator import OpenAPIV31SpecValidator
from web import SCHEMA

from para_attn_server.core.errors import FieldError, InvalidInput, JobNotFound, QueueFull
from para_attn_server.core.job import Job, JobStatus
from para_attn_server.core.settings import Settings
from para_attn_server.http import dialects
from para_attn_server.http.app import create_app
from para_attn_server.service.job_view import JobView

JOB = Job("abc", 1, JobStatus.QUEUED, None, "/out/a.png", 1.0)


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A service that knows one job; the second dialect is registered."""
    monkeypatch.setattr(dialects, "DIALECTS", [*dialects.DIALECTS, "tiny"])

    def view(_caller: object, job_id: str) -> JobView:
        if job_id != JOB.id:
            raise JobNotFound(f"there is no job {job_id}")
        return JobView(JOB)

    return service_with(
        submit=lambda *_: JOB,
        view=view,
        model_info=lambda *_: SimpleNamespace(schema=SCHEMA),
        readiness=lambda *_: 1 / 0,
    )


@pytest.fixture
def client(service: Any) -> Any:
    return create_app(service, Settings(model="m")).test_client()


def mishap(answer: Any) -> tuple[int, str]:
    """The status and the code of an error in the second dialect's shape."""
    assert answer.mimetype == "application/json" and set(answer.json) == {"error"}
    return answer.status_code, answer.json["error"]["code"]


def test_both_dialects_serve_one_service(client: Any, service: Any) -> None:
    assert client.get("/tiny/pictures/abc").json == {"id": "abc", "state": "queued"}
    assert client.post("/tiny/pictures", json={"prompt": "a"}).json["id"] == "abc"
    assert service.submit.call_args.args[1].api == "tiny"
    assert client.get("/request_status/abc").json["status"] == "queued"


def test_every_error_below_its_prefix_has_its_shape(client: Any, service: Any) -> None:
    assert mishap(client.get("/tiny/pictures/zz")) == (404, "job-not-found")
    assert mishap(client.get("/tiny/nowhere")) == (404, "404")
    assert mishap(client.get("/tiny")) == (404, "404")
    refused = client.delete("/tiny/pictures/abc")
    assert mishap(refused) == (405, "405") and "GET" in refused.headers["Allow"]
    assert mishap(client.post("/tiny/pictures", data="{")) == (415, "415")
    assert mishap(client.get("/tiny/pictures/abc", headers={"Host": "evil.example"})) == (421, "421")
    service.submit.side_effect = InvalidInput([FieldError("#/steps", "must be smaller")])
    wrong = client.post("/tiny/pictures", json={})
    assert mishap(wrong) == (400, "invalid-input") and wrong.json["error"]["param"] == "#/steps"
    service.submit.side_effect = QueueFull(3, 7)
    assert client.post("/tiny/pictures", json={}).headers["Retry-After"] == "7"
    service.view.side_effect = RuntimeError("/secret/path is odd")
    broken = client.get("/tiny/pictures/abc")
    assert mishap(broken) == (500, "internal") and "secret" not in broken.text


@pytest.mark.parametrize("path", ["/nowhere", "/tinyish", "/request_status/zz", "/readyz"])
def test_all_other_errors_keep_the_native_shape(client: Any, path: str) -> None:
    answer = client.get(path)
    assert answer.mimetype == "application/problem+json" and answer.json["status"] == answer.status_code
    assert "tiny" not in str(answer.json.get("endpoints"))


def test_one_document_describes_both_with_their_errors(client: Any) -> None:
    made = client.get("/openapi.json").json
    OpenAPIV31SpecValidator(made).validate()
    document = Document(made)
    for method, path in [("GET", "/tiny/pictures/zz"), ("GET", "/tiny/pictures/abc"), ("GET", "/request_status/zz")]:
        answer = client.open(path, method=method)
        request = httpx.Request(method, f"http://localhost{path}")
        document.check(
            httpx.Response(answer.status_code, headers=list(answer.headers), content=answer.data, request=request)
        )
    responses = made["paths"]["/tiny/pictures"]["post"]["responses"]
    assert list(responses["429"]["content"]) == ["application/json"]
    assert responses["403"] == {"$ref": "#/components/responses/tiny-403"}
