"""Settings: sources and their order, what can be set, and the shipped examples."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import ValidationError

from pipeline.adapters.label_files import load_label_sets
from pipeline.errors import Halt
from pipeline.policy import Policy, Tier
from pipeline.routes import Router
from tests.rigs.root import ROOT
from workers.settings.catalogue import Catalogue, variable_of
from workers.settings.loading import CATALOGUE, Settings, load_settings, read_settings, validated
from workers.settings.problems import general

BUCKETS = {"CLIPSTREAM_S3__ALLOWED_BUCKETS": '["images"]'}


def load(
    text: str = "", tmp_path: Path | None = None, /, *, flags: Any = None, **variables: str
) -> Settings:
    """Settings of a file's text, of flags and of variables (without their prefix)."""
    file = None
    if tmp_path is not None:
        file = tmp_path / "settings.yaml"
        file.write_text(text, encoding="utf-8")
    environment = BUCKETS | {f"CLIPSTREAM_{name}": value for name, value in variables.items()}
    return load_settings(file, flags, environment)


# -- sources ----------------------------------------------------------------------------------


def test_without_anything_set_only_the_buckets_are_missing_and_only_where_they_are_read() -> None:
    says = r"settings:\n  s3\.allowed_buckets: is empty, so nothing may be read; [^\n]*$"
    with pytest.raises(Halt, match=says) as caught:
        validated(read_settings(environment={}), must_read=True)
    assert caught.value.code == "settings.invalid"
    own_stores = load_settings(environment={})
    assert own_stores.s3_stores == ()
    with pytest.raises(Halt) as later:
        own_stores.require_stores()
    assert later.value.message == caught.value.message


def test_the_environment_is_over_the_file_and_flags_are_over_both(tmp_path: Path) -> None:
    text = "kafka: {group: file, instance: file, transactional_id_prefix: file}"
    flags = {"kafka.group": "flag"}
    kafka = load(text, tmp_path, flags=flags, KAFKA__GROUP="env", KAFKA__INSTANCE="env").kafka
    assert (kafka.group, kafka.instance, kafka.transactional_id_prefix) == ("flag", "env", "file")


def test_a_flag_without_a_value_sets_nothing() -> None:
    assert load(flags={"workers.count": None}, WORKERS__COUNT="3").workers.count == 3


def test_sections_are_merged_and_lists_replaced(tmp_path: Path) -> None:
    text = """
        kafka: {group: live, input_topics: [a, b]}
        routes: [{skip: true}, {skip: true}]
    """
    settings = load(text, tmp_path, KAFKA__INPUT_TOPICS='["c"]', ROUTES='[{"skip": true}]')
    assert (settings.kafka.group, settings.kafka.input_topics) == ("live", ("c",))
    assert len(settings.routes) == 1


def test_a_variable_names_the_file(tmp_path: Path) -> None:
    file = tmp_path / "named.yaml"
    file.write_text("kafka: {group: named}")
    variables = BUCKETS | {"CLIPSTREAM_CONFIG": str(file)}
    assert load_settings(environment=variables).kafka.group == "named"
    assert load_settings(environment=BUCKETS | {"CLIPSTREAM_CONFIG": ""}).kafka.group == (
        "clipstream"
    )


def test_a_whole_section_can_be_one_variable() -> None:
    kafka = load(KAFKA='{"group": "json"}', KAFKA__INSTANCE="a").kafka
    assert (kafka.group, kafka.instance) == ("json", "a")


@pytest.mark.parametrize(
    ("variable", "text", "path", "value"),
    [
        ("BATCH__MAX_SIZE", "8", "batch.max_size", 8),
        ("EVENTS__EMBEDDINGS", "false", "events.embeddings", False),
        ("LABEL_SETS__TEXT_CACHE_DIR", "null", "label_sets.text_cache_dir", None),
        ("KAFKA__GROUP", "null", "kafka.group", "null"),  # may not be null, so it is a text
        ("KAFKA__GROUP", "", "kafka.group", "clipstream"),
        ("KAFKA__SECURITY__KERBEROS_SERVICE", "[1]", "kafka.security.kerberos_service", "[1]"),
    ],
)
def test_variables_are_read_by_the_type_of_their_setting(
    variable: str, text: str, path: str, value: object
) -> None:
    found: Any = load(**{variable: text})
    for part in path.split("."):
        found = getattr(found, part)
    assert found == value


def test_flags_are_read_like_variables() -> None:
    assert load(flags={"kafka.input_topics": '["a"]'}).kafka.input_topics == ("a",)


def test_a_password_that_looks_like_json_stays_what_it_is() -> None:
    security = load(
        KAFKA__SECURITY__PROTOCOL="SASL_SSL",
        KAFKA__SECURITY__SASL_MECHANISM="PLAIN",
        KAFKA__SECURITY__USERNAME="u",
        KAFKA__SECURITY__PASSWORD='{"a": 1}',
    ).kafka.security
    assert security.password is not None
    assert security.password.get_secret_value() == '{"a": 1}'


def test_an_empty_file_and_sections_whose_settings_are_commented_out_set_nothing(
    tmp_path: Path,
) -> None:
    assert load("# nothing", tmp_path) == load("kafka:\n  security:\nbatch: {}\n", tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "{workers: {gpus_per_worker: 0.25}, model: {device: cuda}}",
        "{workers: {gpus_per_worker: 1}, model: {device: auto}}",
        "{workers: {gpus_per_worker: '0.5'}, model: {device: auto}}",
        "{workers: {gpus_per_worker: auto}, model: {device: cuda}}",
        "{workers: {gpus_per_worker: auto, cpus_per_worker: null}, batch: {max_size: null}}",
        "model: {device: cpu}",
        "{workers: {count: 3}, endpoints: {health_port: 9403}}",
        "{workers: {count: 3}, endpoints: {health_port: 9399, metrics_port: 65533}}",
        "{workers: {count: 3}, endpoints: {health_port: 0, metrics_port: 0}}",
        "{workers: {max_count: 4}, endpoints: {health_port: 9404}}",
        "workers: {count: 4, max_count: 4}",
        "workers: {count: 4, max_count: null}",
        "events: {embeddings: false}",
    ],
)
def test_combinations_that_fit_are_taken(text: str, tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(text)
    load_settings(file, environment={"CLIPSTREAM_S3__ALLOWED_BUCKETS": '["images"]'})


def test_a_file_may_share_parts_by_anchors_and_merge_keys(tmp_path: Path) -> None:
    text = """
        routes:
          - &all {bucket: a, label_sets: [x]}
          - {<<: *all, bucket: b}
          - {bucket: c, <<: [{label_sets: [y]}, *all]}
    """
    routes = load(text, tmp_path).routes
    assert [route.bucket for route in routes] == ["a", "b", "c"]
    assert [route.label_sets for route in routes] == [("x",), ("x",), ("y",)]


@pytest.mark.parametrize("time", ["2026-11-01T00:00:00Z", "2026-11-01 01:00:00+01:00"])
def test_a_time_needs_no_quotes(tmp_path: Path, time: str) -> None:
    start = load(f"delivery: {{start: {time}}}", tmp_path).delivery.start
    assert start == datetime(2026, 11, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CLIPSTREAM_SERVICE_HOST", "10.0.0.1"),
        ("CLIPSTREAM_SERVICE_PORT_METRICS", "9400"),
        ("CLIPSTREAM_PORT", "tcp://10.0.0.1:9400"),
        ("CLIPSTREAM_PORT_9400_TCP", "tcp://10.0.0.1:9400"),
        ("CLIPSTREAM_PORT_9400_TCP_ADDR", "10.0.0.1"),
        ("CLIPSTREAM_METRICS_PORT", "tcp://10.0.0.1:9400"),
        ("CLIPSTREAM_TEST_DATA", "/data"),
    ],
)
def test_variables_that_kubernetes_makes_of_a_service_are_no_settings(
    name: str, value: str
) -> None:
    assert load_settings(environment=BUCKETS | {name: value}) == load()


def test_sources_know_file_and_line_variable_and_flag(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text("batch:\n  max_size: 8\n\nroutes:\n  - skip: true\n")
    given = read_settings(file, {"log.level": "info"}, BUCKETS)
    where = {path: source.where for path, source in given.sources.items()}
    assert where == {
        "batch.max_size": f"{file}:2",
        "routes": f"{file}:4",
        "routes[0]": f"{file}:5",
        "routes[0].skip": f"{file}:5",
        "s3.allowed_buckets": "CLIPSTREAM_S3__ALLOWED_BUCKETS",
        "log.level": "flag log.level",
    }


# -- the catalogue ----------------------------------------------------------------------------


def test_every_setting_and_every_section_is_described() -> None:
    assert [path for path, each in CATALOGUE.settings.items() if not each.description] == []
    assert [path for path, about in CATALOGUE.sections.items() if not about] == []


def test_everyday_settings_are_few_and_include_all_that_must_be_set() -> None:
    everyday = {
        path
        for path, setting in CATALOGUE.settings.items()
        if setting.tier is Tier.EVERYDAY and "[]" not in path
    }
    assert 25 <= len(everyday) <= 43
    assert "s3.allowed_buckets" in everyday


def test_a_section_without_a_tier_is_refused() -> None:
    class Untiered(Policy):
        odd: int = 1

    with pytest.raises(TypeError, match=r"odd has no tier; write .* in Untiered"):
        Catalogue.of(Untiered)


def test_every_setting_can_be_set_by_its_variable() -> None:
    """Each variable is taken for its own setting: with a wrong value, that one is refused."""
    settings = [each for each in CATALOGUE.settings.values() if each.variable]
    assert len(settings) > 70
    for setting in settings:
        variables = BUCKETS | {str(setting.variable): "[" if setting.structured else "\x00"}
        if setting.type in ("a text", "a text or null", "a path or null", "a secret text or null"):
            assert read_settings(environment=variables).sources[setting.path]
            continue
        with pytest.raises(Halt, match=re.escape(f"  {setting.path}: ")):
            load_settings(environment=variables)


def test_defaults_are_within_their_own_bounds() -> None:
    dumped = load().model_dump()
    assert Settings.model_validate(dumped) == load()


def test_names_of_variables_are_unambiguous() -> None:
    variables = [variable_of(path) for path in CATALOGUE.settings]
    assert len(set(variables)) == len(variables)


def test_a_type_without_words_is_refused() -> None:
    class Odd(Settings):
        odd: Annotated[complex, Tier.EXPERT] = 1j

    with pytest.raises(KeyError, match="complex"):
        Catalogue.of(Odd)


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        load().kafka.group = "other"  # type: ignore[misc]


# -- the shipped examples ---------------------------------------------------------------------

EXAMPLES = sorted((ROOT / "deploy/examples").glob("*.yaml"))


def test_there_are_examples() -> None:
    assert [path.name for path in EXAMPLES] == [
        "containers.yaml",
        "local.yaml",
        "moderation.yaml",
        "serve.yaml",
    ]


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_loads_and_its_routes_name_its_label_sets(file: Path) -> None:
    password = {"CLIPSTREAM_KAFKA__SECURITY__PASSWORD": "x"}
    settings = load_settings(file, environment=password if "SASL" in file.read_text() else {})
    folder = ROOT / "deploy/examples/label-sets"
    shipped = {path.name: path for path in (folder, *folder.iterdir())}
    paths = [shipped.get(path.name, ROOT / path) for path in settings.label_sets.paths]
    Router(settings.routes, [label_set.name for label_set in load_label_sets(paths)])


@pytest.mark.parametrize("file", [*EXAMPLES, ROOT / "README.md"], ids=lambda path: path.stem)
def test_examples_use_everyday_settings_alone(file: Path, tmp_path: Path) -> None:
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".md":
        (text,) = re.findall(r"```yaml\n(# settings\.yaml.*?)```", text, re.DOTALL)
    example = tmp_path / "example.yaml"
    example.write_text(text, encoding="utf-8")
    named = {general(path) for path in read_settings(example, environment={}).sources}
    tiers = {path: CATALOGUE.settings[path].tier for path in named & CATALOGUE.settings.keys()}
    assert set(tiers.values()) == {Tier.EVERYDAY}, tiers


@pytest.mark.parametrize("word", ["on", "off"])
def test_a_word_that_other_readers_of_yaml_take_for_a_boolean_is_a_text(
    tmp_path: Path, word: str
) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(
        f"model: {{compile: {word}}}\n"
        f"kafka: {{group: {word}}}\n"
        f"routes: [{{headers: {{moderate: {word}}}, label_sets: [{word}]}}]\n"
    )

    settings = load_settings(file, environment=BUCKETS)

    assert settings.model.compile == settings.kafka.group == word
    assert dict(settings.routes[0].headers) == {"moderate": word}
    assert settings.routes[0].label_sets == (word,)


@pytest.mark.parametrize(
    ("word", "meaning"),
    [("yes", True), ("on", True), ("True", True), ("No", False), ("OFF", False), ("false", False)],
)
def test_a_flag_takes_every_word_for_a_boolean(tmp_path: Path, word: str, meaning: bool) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(f"model: {{offline: {word}}}\n")
    assert load_settings(file, environment=BUCKETS).model.offline is meaning
