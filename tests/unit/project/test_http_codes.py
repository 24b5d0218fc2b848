"""The table of errors in docs/http.md has every code that the source answers, with its status."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tests.rigs.root import ROOT

PAGE = (ROOT / "docs/http.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| ((?:`[a-z_.]+`(?:, )?)+) \| (\d{3}) \|", re.MULTILINE)


def texts(node: ast.expr) -> set[str]:
    return {
        each.value
        for each in ast.walk(node)
        if isinstance(each, ast.Constant) and isinstance(each.value, str)
    }


def passed(tree: ast.Module, function: str, place: int) -> set[str]:
    """The texts with which a module calls one of its functions."""
    return {
        text
        for call in ast.walk(tree)
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Name)
        and call.func.id == function
        and len(call.args) > place
        for text in texts(call.args[place])
    }


def assigned(function: ast.FunctionDef | ast.AsyncFunctionDef, name: str) -> set[str]:
    """The texts that a function assigns to a name, alone or in a tuple of names."""
    found: set[str] = set()
    for each in ast.walk(function):
        if isinstance(each, ast.Assign) and isinstance(each.value, ast.Tuple):
            for target in each.targets:
                if isinstance(target, ast.Tuple):
                    for one, value in zip(target.elts, each.value.elts, strict=True):
                        if isinstance(one, ast.Name) and one.id == name:
                            found |= texts(value)
    return found


def codes(tree: ast.Module) -> Iterator[str]:
    """The codes of a module's ``ApiError``: the texts of the second argument, or those that reach
    the name that stands there."""
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        parameters = [argument.arg for argument in function.args.args]
        for call in ast.walk(function):
            if not (
                isinstance(call, ast.Call)
                and isinstance(call.func, ast.Name)
                and call.func.id == "ApiError"
            ):
                continue
            code = call.args[1]
            yield from texts(code)
            if isinstance(code, ast.Name):
                reaching = assigned(function, code.id)
                if code.id in parameters:
                    reaching |= passed(tree, function.name, parameters.index(code.id))
                assert reaching, f"{function.name}: no text reaches the code"
                yield from reaching


def answered() -> set[str]:
    return {
        code
        for path in (ROOT / "workers/serve").rglob("*.py")
        for code in codes(ast.parse(path.read_text(encoding="utf-8")))
    }


def listed() -> dict[str, int]:
    """The statuses of the page's table, by code."""
    return {
        code: int(status)
        for cell, status in ROW.findall(PAGE)
        for code in re.findall(r"`([a-z_.]+)`", cell)
    }


def test_every_code_is_in_the_table_and_every_row_has_a_code() -> None:
    of_stages = {code for code in listed() if "." in code}
    assert of_stages == {"encode.overloaded"}
    assert listed().keys() - of_stages == answered()


def test_a_code_that_a_function_is_called_with_is_found() -> None:
    module = ast.parse(
        "def refuse(code):\n    return ApiError(401, code, 'no')\nrefuse('expired')\n"
        "def other():\n    status, code = 404, 'gone'\n    raise ApiError(status, code, 'no')\n"
    )
    assert set(codes(module)) == {"expired", "gone"}


def test_the_statuses_of_the_table_are_those_of_the_source() -> None:
    """Where the status is written beside the code."""
    statuses: dict[str, int] = {}
    for path in (ROOT / "workers/serve").rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match call:
                case ast.Call(
                    func=ast.Name(id="ApiError"),
                    args=[ast.Constant(value=int(status)), ast.Constant(value=str(code)), *_],
                ):
                    statuses[code] = status
    assert statuses.keys() >= {"draining", "overloaded", "invalid_request"}
    assert statuses.items() <= listed().items()
