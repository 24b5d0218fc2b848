"""What a backfill wrote, asked with DuckDB: is it complete, and three queries for people."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb

QUERIES = (
    (
        "What was decided?",
        """
SELECT shapes.decision, count(*) AS images, round(avg(size_bytes)) AS mean_bytes
FROM 'data/*.parquet'
GROUP BY ALL
ORDER BY images DESC""",
    ),
    (
        "What could not be classified, and why?",
        """
SELECT code, count(*) AS images, min(key) AS for_example
FROM 'errors/*.parquet'
GROUP BY ALL
ORDER BY images DESC, code""",
    ),
    (
        "Which images are most like the surest red star?",
        """
WITH star AS (
  SELECT bucket, key, embedding::FLOAT[{dimension}] AS vector
  FROM 'data/*.parquet'
  ORDER BY shapes.scores."red star" DESC, key
  LIMIT 1
)
SELECT images.key, images.shapes.decision, round(images.shapes.scores."red star", 3) AS red_star,
       round(array_cosine_similarity(images.embedding::FLOAT[{dimension}], vector), 4) AS cosine
FROM 'data/*.parquet' AS images, star
ORDER BY array_cosine_similarity(images.embedding::FLOAT[{dimension}], vector) DESC, images.key
LIMIT 5""",
    ),
)


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of a job's files. ``objects`` counts each object once."""

    classified: int
    failed: int
    objects: int


class Tables:
    """The files of a job in a folder: ``data/*.parquet`` and ``errors/*.parquet``."""

    def __init__(self, folder: Path) -> None:
        self._connection = duckdb.connect()
        # Queries then show paths as a person in that folder would write them.
        self._connection.execute("SET file_search_path = ?", [str(folder)])

    def rows(self) -> Rows:
        found = self._connection.execute(
            """
SELECT count(*) FILTER (classified), count(*) FILTER (NOT classified),
       count(DISTINCT (bucket, key))
FROM (
  SELECT bucket, key, true AS classified FROM 'data/*.parquet'
  UNION ALL SELECT bucket, key, false FROM 'errors/*.parquet'
)"""
        ).fetchall()
        ((classified, failed, objects),) = found
        return Rows(classified, failed, objects)

    def answers(self, dimension: int) -> Iterator[tuple[str, str, str]]:
        """(question, query, answer) as text. ``dimension`` is that of the embeddings."""
        for question, text in QUERIES:
            query = text.format(dimension=dimension).strip()
            yield question, query, str(self._connection.sql(query))

    def close(self) -> None:
        self._connection.close()
