"""Which label sets a request gets: those that it names, if its key may use them."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.adapters.memory.encoder import MemoryEncoder
from pipeline.labels.parsing import parse_label_set
from pipeline.labels.scoring import compile_label_sets
from pipeline.records import JsonValue
from workers.label_sets import ScoringRules
from workers.serve.caller import ANYBODY, Caller, Scope
from workers.serve.errors import ApiError
from workers.serve.label_sets import named_label_sets, own_label_set

ENCODER = MemoryEncoder()
IMAGE = np.zeros(ENCODER.model.dimension, np.float32)


def rules(*names: str) -> ScoringRules:
    label_sets = [parse_label_set(own_label_set(["cat", "dog"], {"name": it})) for it in names]
    compiled = compile_label_sets(label_sets, ENCODER.encode_texts, ENCODER.model)
    return ScoringRules(compiled, {each.name: each.version for each in label_sets})


def key_for(*label_sets: str) -> Caller:
    return Caller("a key", frozenset({Scope.CLASSIFY}), label_sets=label_sets)


def chosen(*names: str, caller: Caller = ANYBODY, default: str | None = None) -> list[str]:
    in_force = rules("animals", "moderation", "tenant-a")
    label_sets = named_label_sets(names, in_force, caller, default)
    return [each.label_set.name for each in label_sets]


def refusal(*names: str, caller: Caller, default: str | None = None) -> ApiError:
    with pytest.raises(ApiError) as caught:
        chosen(*names, caller=caller, default=default)
    return caught.value


def test_label_sets_come_in_the_order_of_the_request_each_once() -> None:
    assert chosen("tenant-a", "animals", "tenant-a") == ["tenant-a", "animals"]


def test_without_names_the_default_counts_and_else_the_first_that_the_key_may_use() -> None:
    assert chosen(default="moderation") == ["moderation"]
    assert chosen() == ["animals"]
    assert chosen(caller=key_for("tenant-*", "moderation")) == ["moderation"]


def test_no_request_gets_a_label_set_that_is_tried_out_unless_it_names_it() -> None:
    document = own_label_set(["cat", "dog"], {"name": "a-new-one", "shadow": True})
    tried, live = parse_label_set(document), parse_label_set(own_label_set(["cat", "dog"]))
    compiled = compile_label_sets([tried, live], ENCODER.encode_texts, ENCODER.model)
    in_force = ScoringRules(compiled, {each.name: each.version for each in (tried, live)})
    (chosen_one,) = named_label_sets((), in_force, ANYBODY, None)
    assert chosen_one.label_set.name == "labels"
    (named,) = named_label_sets(("a-new-one",), in_force, ANYBODY, None)
    assert named.label_set.shadow


def test_a_key_uses_only_its_own_label_sets_and_is_told_which() -> None:
    refused = refusal("animals", caller=key_for("tenant-*"))
    assert (refused.status, refused.code) == (403, "label_set_not_allowed")
    assert "use one of: tenant-a" in refused.message
    assert "moderation" not in refused.message
    # Not even by default.
    assert refusal(caller=key_for("tenant-*"), default="animals").status == 403
    assert refusal(caller=key_for("nothing")).status == 403


def test_a_name_that_is_not_loaded_is_told_from_one_that_is_not_allowed() -> None:
    unknown = refusal("tenant-b", caller=key_for("tenant-*"))
    assert (unknown.status, unknown.code) == (404, "unknown_label_set")
    assert refusal("secret", caller=key_for("tenant-*")).status == 403


def test_a_label_is_its_name_in_clips_own_template() -> None:
    label_set = parse_label_set(own_label_set(["cat", {"name": "dog", "prompts": ["a hound"]}]))
    assert [label.prompts for label in label_set.labels] == [("a photo of a cat",), ("a hound",)]
    assert label_set.decision == "exclusive"
    assert label_set.decide([1.0, 0.0]) == ((), "none")


def test_thresholds_of_a_label_call_for_actions() -> None:
    label: JsonValue = {"name": "cat", "act_threshold": 0.9, "review_threshold": 0.5}
    label_set = parse_label_set(own_label_set([label, "dog"]))
    assert [label_set.decide([score, 0.0])[1] for score in (0.95, 0.6, 0.1)] == [
        "act",
        "review",
        "none",
    ]
