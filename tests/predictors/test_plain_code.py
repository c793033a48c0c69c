"""What the contract promises of a correct predictor: without its distributed calls it is plain single-device code."""

from __future__ import annotations

import ast
import inspect
import sys
import types
from pathlib import Path

import numpy as np
import predictor as example
import pytest
import torch.distributed as dist
from pipelines import save_tiny_flux
from ranks import world_of_one

import para_attn_predictors.demo
import para_attn_predictors.flux

DISTRIBUTED = {"dist", "parallelize", "ulysses_limits"}
ARGUMENTS = {"prompt": "a red circle", "num_inference_steps": 2, "seed": 5}
SIDES = {"height": 64, "width": 64}


class WithoutDistributed(ast.NodeTransformer):
    """Takes out whatever calls torch.distributed or spreads a pipeline over ranks, and nothing else."""

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt] | None:
        if not mentions(node.test):
            return self.generic_visit(node)
        # `if dist.get_rank() == 0:` guards what the one process does, any other test what it does not.
        return node.body if ast.unparse(node.test).endswith("== 0") else None

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        return None if mentions(node) else node

    def visit_Import(self, node: ast.Import) -> ast.AST | None:
        return None if any(alias.asname in DISTRIBUTED for alias in node.names) else node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | None:
        node.names = [alias for alias in node.names if alias.name not in DISTRIBUTED]
        return node if node.names else None

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST | None:
        return None if node.name == "limits" else self.generic_visit(node)


def mentions(node: ast.AST) -> bool:
    return any(isinstance(part, ast.Name) and part.id in DISTRIBUTED for part in ast.walk(node))


def stripped(module: types.ModuleType) -> types.ModuleType:
    """The module as it runs without a word of torch.distributed or para_attn."""
    tree = ast.fix_missing_locations(WithoutDistributed().visit(ast.parse(inspect.getsource(module))))
    assert not mentions(tree)
    assert "para_attn." not in ast.unparse(tree)
    plain = types.ModuleType(module.__name__)
    plain.__file__ = module.__file__
    exec(compile(tree, str(module.__file__), "exec"), plain.__dict__)
    return plain


def draw(predictor_class: type, size: dict[str, int], weights: Path) -> np.ndarray:
    predictor = predictor_class(str(weights))
    predictor.setup()
    return np.asarray(predictor.predict(**ARGUMENTS, **size).images[0])


@pytest.mark.parametrize(
    ("module", "name", "size"),
    [
        (para_attn_predictors.flux, "FluxPredictor", SIDES),
        (para_attn_predictors.demo, "DemoPredictor", SIDES),
        (example, "PicturePredictor", {"size": 128}),
    ],
)
def test_the_plain_remainder_draws_the_same_picture(
    module: types.ModuleType,
    name: str,
    size: dict[str, int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    weights = save_tiny_flux(tmp_path / "weights")
    plain_flux = stripped(para_attn_predictors.flux)
    with monkeypatch.context() as swapped:
        swapped.setitem(sys.modules, "para_attn_predictors.flux", plain_flux)
        plain = draw(getattr(stripped(module), name), size, weights)
    assert not dist.is_initialized()
    with world_of_one():
        served = draw(getattr(module, name), size, weights)
        assert dist.is_initialized()
    assert np.array_equal(plain, served)
