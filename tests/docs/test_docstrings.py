"""What users import is described in numpydoc's sections: each parameter, and what comes back."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import pytest
from docstring_parser import DocstringStyle, parse

import para_attn_server
from para_attn_server import parallel

CONTRACTS = ("JobStore", "UploadStore")
"""Classes that describe methods which others carry out."""


def public() -> Iterator[tuple[str, Any]]:
    """Every function, class and method that users call."""
    for name in ("parallelize", "rank_device", "ulysses_limits"):
        yield f"parallel.{name}", getattr(parallel, name)
    for name in para_attn_server.__all__:
        thing = getattr(para_attn_server, name)
        if inspect.isclass(thing):
            yield name, thing
            yield from methods(name, thing)


def methods(name: str, cls: type) -> Iterator[tuple[str, Any]]:
    """Its public ones, but for those that a contract describes, and for those of other packages."""
    bases = [base for base in cls.__mro__ if base.__module__.startswith("para_attn_server")]
    described = {member for base in bases if base.__name__ in CONTRACTS for member in vars(base)}
    for member, thing in {name: thing for base in reversed(bases) for name, thing in vars(base).items()}.items():
        if inspect.isfunction(thing) and not member.startswith("_") and member not in described:
            yield f"{name}.{member}", thing


def parameters(thing: Any) -> set[str]:
    """As the signature has them."""
    of = thing.__init__ if inspect.isclass(thing) else thing
    if of is object.__init__:
        return set()
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    found = inspect.signature(of).parameters
    return {f"{stars.get(each.kind, '')}{name}" for name, each in found.items() if name != "self"}


@pytest.mark.parametrize(("name", "thing"), [pytest.param(*each, id=each[0]) for each in public()])
def test_it_is_described_in_numpydocs_sections(name: str, thing: Any) -> None:
    document = parse(inspect.getdoc(thing) or "", style=DocstringStyle.NUMPYDOC)
    assert document.short_description, "what it is, or does"
    if inspect.isclass(thing) and issubclass(thing, BaseException):
        return  # users catch it, and read its attributes
    described = {each for param in document.params for each in param.arg_name.split(", ") if param.args[0] == "param"}
    assert described == parameters(thing)
    assert all(param.description for param in document.params), "its meaning"
    if not inspect.isclass(thing) and inspect.signature(thing).return_annotation not in ("None", None):
        assert document.returns is not None, "what comes back"
    for line in (inspect.getdoc(thing) or "").splitlines():
        assert not line.startswith(("Raises ", "raises ")), "errors have a section of their own"
