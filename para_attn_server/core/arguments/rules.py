"""Rules over several arguments, as limits() gives them: `{"height * width // 256": {"multipleOf": 4}}`.

A rule is data: an expression of arguments, whole numbers, + - * // % and parentheses, and bounds of what it comes to.
So it travels in the request schema, under `x-limits`, and the web refuses what the ranks would refuse, with the nearest
values that work. It is not looked at where one of its arguments is null, or no number.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

from para_attn_server.core.arguments.wording import shown
from para_attn_server.core.errors import FieldError, InvalidInput, SetupFailed

KEYWORD = "x-limits"
"""Of a request schema: bounds by expression."""
_MOST_TRIED = 1000
"""Values that are looked at above a wrong one, and below, for the nearest that works."""
_LONGEST = 500
_DEPTH = 50
_OPERATORS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_BOUNDS: dict[str, tuple[str, Callable[[Any, Any], bool]]] = {
    "minimum": ("at least", operator.ge),
    "maximum": ("at most", operator.le),
    "multipleOf": ("a multiple of", lambda value, step: value % step == 0),
}
_GRAMMAR = "an expression has names of arguments, whole numbers, + - * // % and parentheses; // and % take a number"


class Rule:
    """One expression with its bounds. names: of its arguments, in order. Raises SetupFailed for what is none."""

    def __init__(self, text: str, bounds: Mapping[str, Any]) -> None:
        self.text = text
        try:
            tree = ast.parse(text.strip(), mode="eval") if len(text) <= _LONGEST else None
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            tree = None
        if tree is None:
            raise SetupFailed(f"limits() has the key {text[:80]!r}: {_GRAMMAR}")
        self.names: list[str] = []
        self._value = self._compiled(tree.body, 0)
        if not self.names:
            raise SetupFailed(f"limits() has the key {text!r}, which names no argument")
        self.bounds = {keyword: self._bound(keyword, bound) for keyword, bound in bounds.items()}

    def _bound(self, keyword: str, bound: Any) -> int:
        try:
            whole = operator.index(bound)
        except TypeError:
            whole = 0
        wrong = keyword not in _BOUNDS or isinstance(bound, bool) or whole != bound
        if wrong or (keyword == "multipleOf" and whole < 1):
            known = "minimum, maximum and multipleOf, each with a whole number"
            raise SetupFailed(f"limits()[{self.text!r}] takes {known}, not {keyword}: {bound!r}")
        return whole

    def _compiled(self, node: ast.expr, depth: int) -> Callable[[Mapping[str, Any]], Any]:
        if depth > _DEPTH:
            raise SetupFailed(f"limits() has the key {self.text[:80]!r}, which is nested too deeply")
        match node:
            case ast.Name(id=name):
                if name not in self.names:
                    self.names.append(name)
                return operator.itemgetter(name)
            case ast.Constant(value=int() as value) if type(value) is int:
                return lambda _: value
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
                if isinstance(op, ast.FloorDiv | ast.Mod) and not _is_divisor(right):
                    raise SetupFailed(f"limits() has the key {self.text!r}: {_GRAMMAR} from 1 on")
                of_left, of_right = self._compiled(left, depth + 1), self._compiled(right, depth + 1)
                apply = _OPERATORS[type(op)]
                return lambda values: apply(of_left(values), of_right(values))
        raise SetupFailed(f"limits() has the key {self.text!r}: {_GRAMMAR}")

    def applies(self, values: Mapping[str, Any]) -> bool:
        """Whether all its arguments are numbers."""
        found = (values.get(name) for name in self.names)
        return all(isinstance(value, int | float) and not isinstance(value, bool) for value in found)

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Whether the arguments keep to it."""
        try:
            found = self._value(values)
            return all(_BOUNDS[keyword][1](found, bound) for keyword, bound in self.bounds.items())
        except ArithmeticError:  # a product that is no number any more
            return False

    def wanted(self) -> str:
        """What the expression must be, in words."""
        return " and ".join(f"{_BOUNDS[keyword][0]} {bound}" for keyword, bound in self.bounds.items())


class Rules:
    """All rules of a model. schemas: of its arguments, for values that may be proposed."""

    def __init__(self, limits: Mapping[str, Mapping[str, Any]], schemas: Mapping[str, Any]) -> None:
        self._rules = [Rule(text, bounds) for text, bounds in limits.items()]
        self._schemas = schemas
        for rule in self._rules:
            for name in rule.names:
                if name not in schemas:
                    raise SetupFailed(f"limits() names {name!r}, which is not an argument of predict")

    def check(self, values: Mapping[str, Any]) -> None:
        """Raises InvalidInput for each rule that the arguments break, with the nearest values that keep all."""
        wrong = [rule for rule in self._rules if rule.applies(values) and not rule.holds(values)]
        if wrong:
            raise InvalidInput([self._explained(rule, values) for rule in wrong])

    def check_defaults(self) -> None:
        """Raises SetupFailed where a request without arguments would break one."""
        try:
            self.check({name: schema["default"] for name, schema in self._schemas.items() if "default" in schema})
        except InvalidInput as error:
            raise SetupFailed(f"the defaults of predict's arguments break limits(): {error}") from None

    def _explained(self, rule: Rule, values: Mapping[str, Any]) -> FieldError:
        given = ", ".join(f"{name} {shown(values[name])}" for name in rule.names)
        nearest = {name: found for name in rule.names if (found := self._nearest(name, values))}
        says = f"{rule.text} must be {rule.wanted()}, which it is not with {given}"
        if nearest:
            says += f"; the nearest that work: {', or '.join(f'{n} {v}' for n, v in nearest.items())}"
        return FieldError(f"#/{next(iter(nearest), rule.names[0])}", says)

    def _nearest(self, name: str, values: Mapping[str, Any]) -> str:
        """The next value below and the next above by which this argument alone would mend everything; in words."""
        own, value = _integers(self._schemas[name]), values[name]
        if own is None or not isinstance(value, int):
            return ""
        rules = [rule for rule in self._rules if rule.applies(values)]

        def first(candidates: Iterator[int]) -> list[int]:
            for each in islice(candidates, _MOST_TRIED):
                if all(rule.holds({**values, name: each}) for rule in rules):
                    return [each]
            return []

        low, high, step = own
        below, above = (
            range((value - 1) // step * step, low - 1, -step),
            range((value // step + 1) * step, high + 1, step),
        )
        return " or ".join(map(str, first(iter(below)) + first(iter(above))))


def split(limits: Any) -> tuple[Any, dict[str, Any]]:
    """What limits() gives for arguments, and for expressions. What is no dict of dicts is passed on as the first."""
    if not isinstance(limits, Mapping) or not all(isinstance(each, Mapping) for each in limits.values()):
        return limits, {}
    several = {name: dict(each) for name, each in limits.items() if not str(name).isidentifier()}
    return {name: each for name, each in limits.items() if name not in several}, several


def _integers(schema: Mapping[str, Any]) -> tuple[int, int, int] | None:
    """From, to and step of an integer argument; None for others."""
    option = next((each for each in schema.get("anyOf", [schema]) if each.get("type") == "integer"), None)
    if option is None:
        return None
    far = 2**53
    low = max(option.get("minimum", -far), option.get("exclusiveMinimum", -far) + 1)
    high = min(option.get("maximum", far), option.get("exclusiveMaximum", far) - 1)
    step = option.get("multipleOf", 1)
    return (int(low), int(high), step) if isinstance(step, int) and step > 0 else None


def _is_divisor(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and type(node.value) is int and node.value > 0
