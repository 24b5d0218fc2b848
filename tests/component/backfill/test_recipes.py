"""The recipes of docs/backfill-recipes.md, each run as it stands."""

from __future__ import annotations

import contextlib
import importlib
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipeline.adapters.parquet.failures import failures_bytes
from tests.rigs.root import ROOT
from tests.rigs.stages.backfill_rows import (
    Dtype,
    classified,
    failed,
    plan_row,
    results_file,
    some_result,
    unit_vectors,
)

duckdb: Any = importlib.import_module("duckdb")

PAGE = ROOT / "docs/backfill-recipes.md"
ROWS = 60
LABELS = {"moderation": ("violence", "sexual")}
VECTORS = unit_vectors(ROWS)


@dataclass(frozen=True)
class Recipe:
    heading: str
    language: str
    code: str


def recipes() -> list[Recipe]:
    """The page's code blocks, in order, with the heading above each."""
    found = []
    heading = ""
    lines = iter(PAGE.read_text(encoding="utf-8").splitlines())
    for line in lines:
        if re.match("#+ ", line):
            heading = line.lstrip("# ")
        elif line.startswith("```"):
            block = []
            for inside in lines:
                if inside == "```":
                    break
                block.append(inside)
            found.append(Recipe(heading, line.removeprefix("```"), "\n".join(block)))
    return found


RECIPES = recipes()


@pytest.fixture(scope="module", params=["float32", "float16"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the page names."""
    root = tmp_path_factory.mktemp(f"recipes-{request.param}")
    dtype: Dtype = request.param
    for output in ("derived/2024", "derived/rescored"):
        for kind in ("data", "errors"):
            (root / output / kind).mkdir(parents=True)
    errors = failures_bytes([failed(plan_row(90)), failed(plan_row(91), "decode.truncated")])
    (root / "derived/2024/errors/000000-aa.parquet").write_bytes(errors)
    lost = failures_bytes([failed(plan_row(number)) for number in range(50)])
    (root / "derived/2024/errors/000000-bb.parquet").write_bytes(lost)
    for shard, numbers in enumerate((range(40), range(40, ROWS))):
        rows = []
        for number in numbers:
            row = plan_row(number)
            result = some_result("moderation", LABELS["moderation"], number)
            rows.append((row, classified(row, VECTORS[number], (result,), dtype)))
        told = {"errors_file": None if shard else "errors/000000-aa.parquet"}
        name = f"data/{shard:06}.parquet"
        (root / "derived/2024" / name).write_bytes(
            results_file(rows, LABELS, dtype=dtype, metadata=told)
        )
        (root / "derived/rescored" / name).write_bytes(
            results_file(rows, LABELS, dimension=None, metadata=told)
        )
    return root


def queries(heading: str) -> list[str]:
    return [each.code for each in RECIPES if (each.heading, each.language) == (heading, "sql")]


def asked(query: str) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = duckdb.sql(query).fetchall()
    return rows


@pytest.mark.parametrize(
    "recipe",
    [each for each in RECIPES if each.language == "sql"],
    ids=lambda each: each.heading,
)
def test_a_query_runs_and_finds_rows(
    place: Path, monkeypatch: pytest.MonkeyPatch, recipe: Recipe
) -> None:
    monkeypatch.chdir(place)
    copied = re.search(r"TO '([\w.]+)'", recipe.code)
    if copied:
        duckdb.execute(recipe.code)
        assert pq.read_metadata(copied[1]).num_rows > 0
    elif "HAVING" not in recipe.code:  # these files have no copies
        assert asked(recipe.code)
    else:
        assert asked(recipe.code) == []


def test_python_recipes_run_in_their_order(
    place: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path))
    printed: dict[str, list[str]] = {}
    for recipe in RECIPES:
        if recipe.language == "python":
            with contextlib.redirect_stdout(io.StringIO()) as told:
                exec(compile(recipe.code, recipe.heading, "exec"), {})
            printed.setdefault(recipe.heading, []).append(told.getvalue().strip())
    assert printed["Read with pyarrow"] == [f"({ROWS}, 512)"]
    assert printed["Train with Hugging Face datasets"] == ["review 512"]
    assert printed["Search with Lance"][0].startswith("['2024/0000.jpg'")
    assert printed["Search with Lance"][1] == str(ROWS)
    assert printed["Export for a vector database"] == [str(ROWS)]


def test_queries_find_what_they_promise(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    decisions, top, nearest, _, failures = queries("Query with DuckDB")
    assert asked(decisions) == [("review", ROWS)]
    assert [row[2] for row in asked(top)] == [0.5] * 6
    assert asked(nearest)[0][0] == "2024/0017.jpg"
    assert sorted(asked(failures)) == [("decode.truncated", 1), ("fetch.not_found", 1)]
    (join,) = queries("Join new scores with embeddings")
    assert [row[0] for row in asked(join)] == [f"2024/{number:04}.jpg" for number in range(5)]


def test_what_is_not_run_says_so() -> None:
    unrun = {each.heading for each in RECIPES if each.language not in ("sql", "python")}
    assert all("(not tested)" in heading for heading in unrun)
    assert len(unrun) >= 5
