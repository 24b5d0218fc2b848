"""A job's rows scored again from their embeddings: equal to a run with the other label sets."""

from __future__ import annotations

import json
import threading
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.adapters.memory.encoder import MemoryEncoder
from pipeline.adapters.memory.folder import MemoryFolder
from pipeline.adapters.parquet.committed import CommittedFile
from pipeline.backfill import layout
from pipeline.backfill.changes import Changes
from pipeline.backfill.job import Job
from pipeline.errors import Halt
from pipeline.ports import Encoder
from pipeline.records import JsonValue, ModelIdentity
from tests.rigs.stages.backfill_job import (
    ENCODER,
    LAST_FAILS,
    SHARD_ROWS,
    compiled,
    label_set,
    table_of,
    write_job,
)
from tests.rigs.stages.backfill_rows import Dtype
from workers.backfill.revising.rescoring import (
    Parent,
    Rescorer,
    begin,
    child_of,
    open_parent,
    rescored,
    rules_for,
)
from workers.settings.loading import Settings

OLD, NEW = label_set("animals", 0.9), label_set("animals", 0.2, "dog", "cat", "owl")
ELSE = label_set("things", 0.5, "car")
URI = "s3://derived/2024"
TRUTHS = (("cat",), None, (), ("dog", "wolf"), ("cat", "owl"), ("car",), ("wolf", "wolf"))


class Rescoring:
    """The command's steps on folders in memory."""

    def __init__(self, tmp_path: Path) -> None:
        self.parent = MemoryFolder()
        self.child = MemoryFolder()
        self.loaded = 0
        self.settings = Settings.model_validate(
            {"label_sets": {"text_cache_dir": str(tmp_path / "texts")}}
        )
        self._folder = tmp_path

    def load(self, settings: Settings) -> Encoder:
        assert settings.model.precision == "fp32"
        self.loaded += 1
        return ENCODER

    def rescorer(self, *documents: JsonValue) -> Rescorer:
        parent = open_parent(self.parent, URI)
        rules = rules_for(parent, self.settings, self.files(*documents), self.load)
        job, identity = child_of(parent, rules)
        job = begin(self.child, job)
        return Rescorer(parent, self.child, job, identity, rules.scoring, self.settings.backfill)

    def run(self, *documents: JsonValue) -> Changes:
        rescorer = self.rescorer(*documents)
        left = sorted(rescorer.committed(self.parent) - rescorer.committed(self.child))
        list(rescored(rescorer, left, 2, threading.Event(), lambda: None))
        return rescorer.changes()

    def files(self, *documents: JsonValue) -> list[Path]:
        paths = []
        for number, document in enumerate(documents):
            paths.append(self._folder / f"{number}.yaml")
            paths[-1].write_text(yaml.safe_dump(document))
        return paths


@pytest.fixture
def rescoring(tmp_path: Path) -> Rescoring:
    return Rescoring(tmp_path)


def rows(folder: MemoryFolder) -> list[dict[str, Any]]:
    return [row for name in folder.names(layout.DATA) for row in table_of(folder, name)]


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_scores_are_those_of_a_run_with_these_label_sets(
    rescoring: Rescoring, dtype: Dtype
) -> None:
    write_job(rescoring.parent, compiled(OLD), dtype=dtype)
    rescoring.run(NEW, ELSE)
    whole = MemoryFolder()
    write_job(whole, compiled(NEW, ELSE), dtype=dtype)
    for ours, theirs in zip(rows(rescoring.child), rows(whole), strict=True):
        del theirs["embedding"]
        for name in ("animals", "things"):
            ours_set, their_set = ours.pop(name), theirs.pop(name)
            for part in ("scores", "similarities"):
                assert ours_set.pop(part) == pytest.approx(their_set.pop(part), abs=1e-6)
            assert ours_set == their_set
        assert ours == theirs


def test_probabilities_are_those_of_a_run_with_these_label_sets(rescoring: Rescoring) -> None:
    calibrated: Any = deepcopy(NEW)
    calibrated["model"] = {"name": "memory", "revision": "1"}
    calibrated["labels"][0]["calibration"] = {
        "platt": {"slope": 0.5, "intercept": -1},
        "sample": f"sha256:{'ab' * 32}",
    }
    write_job(rescoring.parent, compiled(OLD))
    rescoring.run(calibrated)
    whole = MemoryFolder()
    write_job(whole, compiled(calibrated))
    for ours, theirs in zip(rows(rescoring.child), rows(whole), strict=True):
        found, expected = (each["animals"]["probabilities"] for each in (ours, theirs))
        assert found["dog"] == pytest.approx(expected["dog"], abs=1e-6)
        assert 0 < found["dog"] < 1
        assert found["cat"] is expected["cat"] is None


def test_decisions_are_raised_as_in_a_run_with_these_label_sets(rescoring: Rescoring) -> None:
    assert isinstance(NEW, dict)
    write_job(rescoring.parent, compiled(OLD))
    rescoring.run({**NEW, "review_if": {"cropped_share": 0.25}})
    whole = MemoryFolder()
    write_job(whole, compiled(NEW))
    raised = 0
    for row, before in zip(rows(rescoring.child), rows(whole), strict=True):
        labels_alone = before["animals"]["decision"]
        by = ["cropped_share"] if labels_alone == "allow" else []
        decision = "review" if by else labels_alone
        told = {name: row["animals"][name] for name in ("decision", "raised", "labels_decision")}
        assert told == {"decision": decision, "raised": by, "labels_decision": labels_alone}
        raised += len(by)
    assert raised > 0


def test_counts_and_histograms_are_those_of_a_run_with_these_label_sets(
    rescoring: Rescoring,
) -> None:
    write_job(rescoring.parent, compiled(OLD))
    rescoring.run(NEW)
    whole = MemoryFolder()
    write_job(whole, compiled(NEW))
    for name in whole.names(layout.DATA):
        ours, theirs = (_metadata(folder, name) for folder in (rescoring.child, whole))
        assert ours["summary"]["label_sets"] == theirs["summary"]["label_sets"]
        assert ours["summary"]["codes"] == theirs["summary"]["codes"]
        assert ours["identity"] == theirs["identity"]
        assert ours["samples"] == theirs["samples"]
        assert any(ours["samples"]["scored"]["animals"]["owl"])
        assert ours["samples"]["failed"]
        assert ours.keys() == theirs.keys()


def test_evidence_is_that_of_a_run_with_these_label_sets(rescoring: Rescoring) -> None:
    asked = {"animals": 5}
    write_job(rescoring.parent, compiled(ELSE, OLD), asked=asked, truths=TRUTHS)
    rescoring.run(NEW, ELSE)
    whole = MemoryFolder()
    write_job(whole, compiled(NEW, ELSE), asked=asked, truths=TRUTHS)
    for name in whole.names(layout.DATA):
        ours, theirs = (_metadata(folder, name) for folder in (rescoring.child, whole))
        assert ours["summary"]["label_sets"] == theirs["summary"]["label_sets"]
        assert ours["summary"]["unknown_truth"] == theirs["summary"]["unknown_truth"]
        judged = theirs["summary"]["label_sets"]["animals"]["labels"]["cat"]["evidence"]
        assert sum(judged["true_scores"]) > 0
        assert sum(judged["false_scores"]) > 0
        assert set(theirs["summary"]["unknown_truth"]) == {"cat", "dog", "owl", "wolf"}


def test_a_row_that_did_not_ask_for_a_label_set_has_no_scores_of_it(rescoring: Rescoring) -> None:
    write_job(rescoring.parent, compiled(ELSE, OLD), asked={"animals": 5})
    changes = rescoring.run(NEW)
    for row in rows(rescoring.child):
        assert (row["animals"] is None) is (row["row"] < 5)
    assert changes.label_sets["animals"].rows == 2 * (LAST_FAILS - 5)


def test_only_rows_that_were_scored_are_sampled(rescoring: Rescoring) -> None:
    write_job(rescoring.parent, compiled(ELSE, OLD), asked={"animals": 12}, shards=1)
    rescoring.run(NEW)
    samples = _metadata(rescoring.child, layout.data_file(0))["samples"]
    drawn = {each["row"] for band in samples["scored"]["animals"]["cat"] for each in band}
    assert drawn <= set(range(12, LAST_FAILS))
    assert drawn


def test_changes_are_counted_with_samples_by_label_and_by_decision(rescoring: Rescoring) -> None:
    write_job(rescoring.parent, compiled(OLD))
    told = rescoring.run(NEW).label_sets["animals"]
    before, after = rows(rescoring.parent), rows(rescoring.child)
    decisions: dict[str, int] = {}
    matches: dict[str, int] = {}
    no_more: dict[str, int] = {}
    for old, new in zip(before, after, strict=True):
        was, now = old["animals"], new["animals"]
        if was["decision"] != now["decision"]:
            change = f"{was['decision']} -> {now['decision']}"
            decisions[change] = decisions.get(change, 0) + 1
        for label in set(now["matched"]) - set(was["matched"]):
            matches[label] = matches.get(label, 0) + 1
        for label in set(was["matched"]) - set(now["matched"]):
            no_more[label] = no_more.get(label, 0) + 1
    assert decisions
    assert matches.keys() >= {"owl"}
    assert {name: change.rows for name, change in told.decisions.items()} == decisions
    assert {name: change.rows for name, change in told.matches.items()} == matches
    assert {name: change.rows for name, change in told.matches_no_more.items()} == no_more
    sample = told.matches["cat"].samples[0]
    (row,) = [row for row in after if f"s3://photos/{row['key']}" == sample.uri]
    assert sample.after == row["animals"]["scores"]["cat"]
    assert sample.row == row["row"]
    assert told.matches["owl"].samples[0].before is None
    written = rescoring.child.read(layout.CHANGES)
    assert written is not None
    assert json.loads(written.body)["label_sets"]["animals"]["rows"] == 2 * LAST_FAILS


def test_a_label_that_is_gone_is_told_as_matching_no_more(rescoring: Rescoring) -> None:
    write_job(rescoring.parent, compiled(NEW))
    told = rescoring.run(label_set("animals", 0.2, "dog")).label_sets["animals"]
    assert {"owl", "cat"} <= told.matches_no_more.keys()


def test_failed_rows_are_carried_over_with_the_action_of_the_new_label_sets(
    rescoring: Rescoring,
) -> None:
    write_job(rescoring.parent, compiled(OLD))
    rescoring.run(NEW)
    names = [_metadata(rescoring.child, layout.data_file(shard))["errors_file"] for shard in (0, 1)]
    failures = [row for name in names for row in table_of(rescoring.child, name)]
    assert [(row["row"], row["code"]) for row in failures] == [
        (row, "fetch.not_found") for row in [*range(LAST_FAILS, SHARD_ROWS)] * 2
    ]
    assert {row["unclassified_action"] for row in failures} == {"block"}
    assert [row["label_sets"] for row in failures] == [["animals"]] * 4


def test_a_failed_row_asks_for_what_it_asked_for_before_and_for_new_label_sets(
    rescoring: Rescoring,
) -> None:
    write_job(rescoring.parent, compiled(ELSE, OLD), asked={"animals": 100})
    rescoring.run(NEW, ELSE, label_set("plants", 0.9))
    name = _metadata(rescoring.child, layout.data_file(0))["errors_file"]
    failures = table_of(rescoring.child, name)
    assert [row["label_sets"] for row in failures] == [["things", "plants"]] * 2
    assert {row["unclassified_action"] for row in failures} == {"review"}


def test_shards_that_are_done_stay_and_the_others_follow(rescoring: Rescoring) -> None:
    write_job(rescoring.parent, compiled(OLD), shards=3)
    rescoring.rescorer(NEW).shard(1)
    before = rescoring.child.read(layout.data_file(1))
    rescoring.run(NEW)
    assert rescoring.rescorer(NEW).committed(rescoring.child) == {0, 1, 2}
    assert rescoring.child.read(layout.data_file(1)) == before
    assert len(rows(rescoring.child)) == 3 * LAST_FAILS


def test_the_child_is_a_job_of_its_own_that_names_its_parent(rescoring: Rescoring) -> None:
    parent = write_job(rescoring.parent, compiled(OLD))
    rescoring.run(NEW)
    found = rescoring.child.read(layout.JOB)
    assert found is not None
    child = Job.of_bytes(found.body, layout.JOB)
    assert (child.parent, child.source.kind, child.rows) == (URI, "rescore", parent.rows)
    assert child.id != parent.id
    plans = [list(folder.names(layout.PLAN)) for folder in (rescoring.parent, rescoring.child)]
    assert plans[0] == plans[1]


def test_the_model_is_loaded_for_new_prompts_alone(rescoring: Rescoring) -> None:
    write_job(rescoring.parent, compiled(OLD))
    rescoring.run(NEW)
    assert rescoring.loaded == 1
    rescoring.run(NEW)
    assert rescoring.loaded == 1


def test_prompts_of_another_model_are_refused(rescoring: Rescoring, tmp_path: Path) -> None:
    class Other(MemoryEncoder):
        @property
        def model(self) -> ModelIdentity:
            return replace(super().model, revision="2")

    write_job(rescoring.parent, compiled(OLD))
    parent = open_parent(rescoring.parent, URI)
    with pytest.raises(Halt) as refused:
        rules_for(parent, rescoring.settings, rescoring.files(NEW), lambda settings: Other(64))
    assert refused.value.code == "backfill.another_model"


def test_a_job_without_embeddings_is_refused(rescoring: Rescoring) -> None:
    write_job(rescoring.parent, compiled(OLD), embeddings=False)
    with pytest.raises(Halt) as refused:
        rescoring.run(NEW)
    assert refused.value.code == "backfill.no_embeddings"


def test_an_output_with_another_rescoring_is_refused(rescoring: Rescoring) -> None:
    write_job(rescoring.parent, compiled(OLD))
    rescoring.run(NEW)
    with pytest.raises(Halt) as refused:
        rescoring.run(ELSE)
    assert refused.value.code == "backfill.another_rescore"


def test_an_output_without_a_job_is_refused() -> None:
    with pytest.raises(Halt) as refused:
        open_parent(MemoryFolder(), URI)
    assert refused.value.code == "backfill.no_job"


def test_a_request_to_stop_ends_after_the_shards_in_work(rescoring: Rescoring) -> None:
    write_job(rescoring.parent, compiled(OLD), shards=5)
    stopping = threading.Event()
    done = []
    for summary in rescored(rescoring.rescorer(NEW), range(5), 1, stopping, lambda: None):
        done.append(summary)
        stopping.set()
    assert len(done) == len(list(rescoring.child.names(layout.DATA))) == 1


def _metadata(folder: MemoryFolder, name: str) -> dict[str, Any]:
    found = folder.read(name)
    assert found is not None
    return CommittedFile(found.body, name).footer.model_dump(mode="json")


def test_parents_model_is_that_of_its_identity(rescoring: Rescoring) -> None:
    write_job(rescoring.parent, compiled(OLD))
    parent: Parent = open_parent(rescoring.parent, URI)
    model = parent.identity.of_model
    assert (model.name, model.precision) == ("memory", "bf16")
