"""Rows whose image was seen in several views: what is kept of them, and what follows from it."""

from __future__ import annotations

import base64
import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from pipeline.adapters.memory.folder import MemoryFolder
from pipeline.adapters.parquet.committed import CommittedFile
from pipeline.adapters.parquet.erasing import without_results
from pipeline.adapters.parquet.outcomes import ResultsOfShard
from pipeline.backfill import layout
from pipeline.backfill.erasure import Targets
from pipeline.errors import Halt
from pipeline.events import EventsPolicy
from pipeline.events.backfill import BackfilledRow, BackfillEvents
from pipeline.events.published import ClassificationEvent
from pipeline.labels.explaining import explain
from pipeline.records import Classification, JsonValue
from tests.rigs.stages.backfill_job import (
    ENCODER,
    LAST_FAILS,
    compiled,
    label_set,
    seen_in_views,
    table_of,
    write_job,
)
from tests.rigs.stages.backfill_rows import Dtype
from workers.backfill.revising.rescoring import (
    Rescorer,
    begin,
    child_of,
    open_parent,
    rescored,
    rules_for,
)
from workers.settings.loading import Settings

VIEWS = "all, at most 9, up to 0.1 unseen"
CALIBRATION: JsonValue = {"platt": {"slope": 0.5, "intercept": 1}, "sample": "sha256:" + "a" * 64}


def calibrated(threshold: float, *labels: str) -> Any:
    """A label set whose first label is calibrated."""
    document: Any = label_set("animals", threshold, *labels)
    document["model"] = {"name": ENCODER.model.name, "revision": ENCODER.model.revision}
    document["labels"][0]["calibration"] = CALIBRATION
    return document


OLD = calibrated(0.9)
NEW = calibrated(0.9999, "dog", "cat", "owl")
REVIEWED: JsonValue = NEW | {"review_if": {"frames": 2}}
URI = "s3://derived/2024"


def job(dtype: Dtype = "float32", *, view_embeddings: bool = True) -> MemoryFolder:
    folder = MemoryFolder()
    write_job(
        folder, compiled(OLD), shards=1, dtype=dtype, views=VIEWS, view_embeddings=view_embeddings
    )
    return folder


def body(folder: MemoryFolder, name: str = "") -> bytes:
    found = folder.read(name or layout.data_file(0))
    assert found is not None
    return found.body


def outcomes(folder: MemoryFolder) -> list[Classification]:
    plan = body(folder, layout.plan_file("a1", 0))
    stored = ResultsOfShard(body(folder), "x").outcomes(plan, None)
    return [each.outcome for each in stored if isinstance(each.outcome, Classification)]


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_row_lists_its_views_and_where_each_score_comes_from(dtype: Dtype) -> None:
    folder = job(dtype)
    (scoring,) = compiled(OLD)
    read = outcomes(folder)
    assert len(read) == LAST_FAILS
    for number, outcome in enumerate(read):
        looked = outcome.looked
        if number % 4 <= 1:
            assert looked.views is None
            assert {each.view for each in outcome.results[0].scores} == {None}
            continue
        expected = seen_in_views(looked, number % 4)
        assert looked.views is not None
        assert expected.views is not None
        assert looked.views.places == expected.views.places
        assert looked.views.embeddings.dtype == np.dtype(dtype)
        assert looked.views.embeddings.tobytes() == expected.views.embeddings.tobytes()
        assert looked.image.frames_seen == number % 4
        judged = scoring.judge(looked)
        assert [each.view for each in outcome.results[0].scores] == [
            each.view for each in judged.scores
        ]
        assert outcome.results[0].scores == judged.scores
        assert [each.probability is None for each in judged.scores] == [False, True]
    rows = table_of(folder, layout.data_file(0))
    assert [row["views"] is None for row in rows] == [row["row"] % 4 <= 1 for row in rows]
    # The first view's embedding is the row's, and is not written twice.
    seen = [row["views"] for row in rows if row["views"]]
    assert all(first["embedding"] is None and rest for first, *rest in seen)


def events(folder: MemoryFolder, policy: EventsPolicy) -> list[dict[str, Any]]:
    builder = BackfillEvents(policy, "1")
    return [
        json.loads(builder.records(BackfilledRow("j", 0, number, "c" * 32), outcome)[0].value)
        for number, outcome in enumerate(outcomes(folder))
    ]


def test_a_published_event_lists_the_views_and_explains_its_scores() -> None:
    folder = job()
    (scoring,) = compiled(OLD)
    for value, outcome in zip(events(folder, EventsPolicy()), outcomes(folder), strict=True):
        assert ("views" in value) == (outcome.looked.views is not None)
        told = ClassificationEvent.of(value, {})
        (result,) = told.results
        seen = told.looked(outcome.looked.embedding)
        assert explain(scoring, ENCODER.encode_texts, seen, result).differences == ()
    views = [view for value in events(folder, EventsPolicy()) for view in value.get("views", [])]
    assert all(base64.b64decode(view["embedding"]) for view in views)
    without = job(view_embeddings=False)
    for bare in (events(folder, EventsPolicy(embeddings=False)), events(without, EventsPolicy())):
        listed = [view for value in bare for view in value.get("views", [])]
        assert len(listed) > LAST_FAILS
        assert not any("embedding" in view for view in listed)


def rescorer(parent: MemoryFolder, child: MemoryFolder, tmp_path: Path) -> Rescorer:
    settings = Settings.model_validate({"label_sets": {"text_cache_dir": str(tmp_path / "texts")}})
    file = tmp_path / "new.yaml"
    file.write_text(yaml.safe_dump(REVIEWED))
    found = open_parent(parent, URI)
    rules = rules_for(found, settings, [file], lambda settings: ENCODER)
    new, identity = child_of(found, rules)
    assert identity.decode_views == VIEWS
    return Rescorer(found, child, begin(child, new), identity, rules.scoring, settings.backfill)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_rescored_row_has_the_largest_scores_of_all_views(dtype: Dtype, tmp_path: Path) -> None:
    folder, child = job(dtype), MemoryFolder()
    steps = rescorer(folder, child, tmp_path)
    assert len(list(rescored(steps, [0], 1, threading.Event(), lambda: None))) == 1
    (scoring,) = compiled(REVIEWED)
    before = outcomes(folder)
    after = table_of(child, layout.data_file(0))
    raised = set()
    for outcome, row, old in zip(before, after, table_of(folder, layout.data_file(0)), strict=True):
        judged = scoring.judge(outcome.looked)
        found = row["animals"]
        for part, values in (
            ("scores", [each.score for each in judged.scores]),
            ("similarities", [each.similarity for each in judged.scores]),
            ("views", [each.view or 0 for each in judged.scores]),
        ):
            assert list(found[part].values()) == pytest.approx(values, abs=1e-6)
        first, *others = found["probabilities"].values()
        assert first == pytest.approx(judged.scores[0].probability, abs=1e-6)
        assert others == [None, None]
        assert (found["decision"], tuple(found["raised"])) == (judged.decision, judged.raised)
        if judged.raised:
            raised.add(row["row"] % 4)
        for view in old["views"] or []:
            del view["embedding"]
        assert row["views"] == old["views"]
    # The file has three frames. An image of which all were seen is not raised.
    assert raised == {2}


def test_a_job_without_the_embeddings_of_views_is_not_scored_by_its_centres(tmp_path: Path) -> None:
    folder = job(view_embeddings=False)
    assert outcomes(folder)[3].looked.views is not None
    steps = rescorer(folder, MemoryFolder(), tmp_path)
    with pytest.raises(Halt, match=r"backfill\.view_embeddings") as refused:
        list(rescored(steps, [0], 1, threading.Event(), lambda: None))
    assert refused.value.code == "backfill.no_embeddings"


def test_erasing_a_row_leaves_the_views_of_the_others() -> None:
    folder = job()
    file = CommittedFile(body(folder), "x")
    left = without_results(file, Targets(["s3://photos/2024/0-002.jpg"], []), {}, [])
    rows = CommittedFile(left, "x").file.read().to_pylist()
    before = [row for row in table_of(folder, layout.data_file(0)) if row["row"] != 2]
    assert [row["views"] for row in rows] == [row["views"] for row in before]
