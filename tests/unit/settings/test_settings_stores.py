"""Several stores in the settings: which one has a bucket, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipeline.adapters.s3.answers import Answers
from pipeline.errors import Halt
from tests.rigs.root import ROOT
from workers.settings.loading import Settings, load_settings

STORES = """
s3: {allowed_buckets: [photos, "*"], region: us-east-1}
stores:
  - {name: eu, allowed_buckets: ["eu-*"], region: eu-central-1, requester_pays: true}
  - {name: minio, allowed_buckets: [lab], endpoint: "http://minio:9000", profile: minio}
"""


def load(text: str, tmp_path: Path) -> Settings:
    file = tmp_path / "settings.yaml"
    file.write_text(text, encoding="utf-8")
    return load_settings(file, environment={})


def refusal(text: str, tmp_path: Path) -> list[str]:
    with pytest.raises(Halt) as caught:
        load(text, tmp_path)
    assert caught.value.code == "settings.invalid"
    _, *lines = caught.value.message.replace(f"{tmp_path}/", "").splitlines()
    return [line.strip() for line in lines]


def test_the_section_s3_alone_is_the_one_store(tmp_path: Path) -> None:
    settings = load("s3: {allowed_buckets: [photos]}", tmp_path)
    assert settings.s3_stores == (settings.s3,)
    assert settings.s3_store_of("photos") is settings.s3
    assert settings.s3_store_of("other") is None


def test_the_first_store_that_allows_a_bucket_has_it_and_s3_is_the_last(tmp_path: Path) -> None:
    settings = load(STORES, tmp_path)
    eu, minio = settings.stores
    assert settings.s3_stores == (eu, minio, settings.s3)
    assert settings.s3_store_of("eu-west") is eu
    assert settings.s3_store_of("lab") is minio
    assert settings.s3_store_of("photos") is settings.s3
    assert (eu.region, eu.requester_pays, minio.profile) == ("eu-central-1", True, "minio")


def test_s3_may_be_left_out_beside_other_stores(tmp_path: Path) -> None:
    settings = load("stores: [{name: eu, allowed_buckets: [photos]}]", tmp_path)
    assert settings.s3_stores == settings.stores
    assert settings.s3_store_of("other") is None


def test_the_example_of_the_documentation_says_what_its_remarks_say(tmp_path: Path) -> None:
    page = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```yaml\n(s3:.*?)```", page, re.DOTALL)
    settings = load(example, tmp_path)
    assert [store.store_name for store in settings.s3_stores] == ["eu", "partner", "lab", "s3"]
    for bucket, name in (("uploads-eu-1", "eu"), ("lab", "lab"), ("archive-2020", "s3")):
        store = settings.s3_store_of(bucket)
        assert store is not None
        assert store.store_name == name


def test_messages_name_the_settings_of_the_store_that_they_are_about(tmp_path: Path) -> None:
    settings = load(STORES, tmp_path)
    said = [
        Answers(store.section).failure(301, "PermanentRedirect", versioned=False).message
        for store in settings.s3_stores
    ]
    assert said == [
        f"{section}: the store answered 301 PermanentRedirect; set {section}.region to the bucket's"
        for section in ("stores[eu]", "stores[minio]", "s3")
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "stores: [{name: eu}]",
            (
                "stores[eu].allowed_buckets: is empty, so nothing is read from store eu; name its "
                "buckets, or leave the store out [settings.yaml:1]"
            ),
        ),
        (
            "s3: {region: eu-west-1}\nstores: [{name: eu, allowed_buckets: [a-1]}]",
            (
                "s3.allowed_buckets: is empty, so nothing may be read; name the buckets that "
                'references may use, for example ["uploads", "archive-*"]'
            ),
        ),
        (
            "stores:\n- {name: eu, allowed_buckets: [a-1]}\n- {name: eu, allowed_buckets: [b-1]}",
            "stores[1].name: eu is taken by another; write another name [settings.yaml:3]",
        ),
        (
            "stores: [{name: s3, allowed_buckets: [a-1]}]",
            "stores[0].name: s3 is that of the section s3; write another name [settings.yaml:1]",
        ),
        (
            "stores: [{name: EU West, allowed_buckets: [a-1]}]",
            (
                "stores[0].name: 'EU West' is not a store's name; write 1 to 40 lower-case "
                "letters, digits and hyphens [settings.yaml:1]"
            ),
        ),
        (
            "stores: [{allowed_buckets: [a-1]}]",
            (
                "stores[0].name: '' is not a store's name; write 1 to 40 lower-case letters, "
                "digits and hyphens [settings.yaml:1]"
            ),
        ),
        (
            "s3: {allowed_buckets: [photos]}\nstores: [{name: eu, allowed_buckets: ['*']}]",
            (
                "s3.allowed_buckets: photos never matches, for * of stores[eu] comes first; order "
                "the stores from narrow patterns to wide ones, or leave one of the two out "
                "[settings.yaml:1]"
            ),
        ),
        (
            (
                "stores:\n- {name: a, allowed_buckets: ['up-*']}\n"
                "- {name: b, allowed_buckets: [x-1, 'up-*-eu']}"
            ),
            (
                "stores[b].allowed_buckets: up-*-eu never matches, for up-* of stores[a] comes "
                "first; order the stores from narrow patterns to wide ones, or leave one of the "
                "two out [settings.yaml:3]"
            ),
        ),
        (
            "stores: [{name: eu, allowed_buckets: [a-1]}, {name: lab, allowed_buckets: b}]",
            (
                'stores[lab].allowed_buckets: is "b"; write a list of texts, as in ["b"] '
                "[settings.yaml:1]"
            ),
        ),
        (
            "stores: [{name: eu, allowed_buckets: [a-1], reigon: x}]",
            "stores[eu].reigon: no such setting; did you mean stores[].region? [settings.yaml:1]",
        ),
    ],
)
def test_a_store_that_could_not_be_read_is_refused(text: str, line: str, tmp_path: Path) -> None:
    assert refusal(text, tmp_path) == [line]


def test_an_entry_without_a_name_of_its_own_is_named_by_its_index(tmp_path: Path) -> None:
    text = """
stores:
- {allowed_buckets: [a-1], reigon: x}
- {name: eu, allowed_buckets: [b-1], reigon: x}
- {name: eu, allowed_buckets: [c-1], reigon: x}
- {name: S3, allowed_buckets: [d-1], reigon: x}
- {name: lab, allowed_buckets: [e-1], reigon: x}
"""
    keys = [line.partition(":")[0] for line in refusal(text, tmp_path) if "reigon" in line]
    assert keys == [
        "stores[0].reigon",
        "stores[1].reigon",
        "stores[2].reigon",
        "stores[3].reigon",
        "stores[lab].reigon",
    ]


def test_patterns_that_overlap_in_part_are_told_apart_by_their_order(tmp_path: Path) -> None:
    settings = load(
        "s3: {allowed_buckets: ['*-eu']}\nstores: [{name: up, allowed_buckets: ['up-*']}]", tmp_path
    )
    (up,) = settings.stores
    assert settings.s3_store_of("up-eu") is up
    assert settings.s3_store_of("down-eu") is settings.s3
