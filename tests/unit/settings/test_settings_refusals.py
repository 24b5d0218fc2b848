"""Settings that are refused: in which words, and without showing a secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.rigs.refused_settings import SECRET, problems


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("kafka: {grup: a}", 1, "kafka.grup: no such setting; did you mean kafka.group?"),
        ("log: {zzz: a}", 1, "log.zzz: no such setting; known are format, level"),
        (
            "kafka: {password: a}",
            1,
            "kafka.password: no such setting; did you mean kafka.security.password?",
        ),
        (
            "fetch: {mode: a}",
            1,
            "fetch.mode: no such setting; did you mean delivery.mode or decode.mode?",
        ),
        (
            "batch:\n  max_wait_ms: 20",
            2,
            "batch.max_wait_ms: no such setting; did you mean batch.max_wait_s?",
        ),
        ("kafak: {a: 1}", 1, "kafak: no such setting; did you mean kafka?"),
        ("kafka.group: a", 1, "kafka.group: a dotted key; write group in the section kafka"),
        (
            "routes:\n  - skip: true\n  - labelset: [x]",
            3,
            "routes[1].labelset: no such setting; did you mean routes[].label_sets?",
        ),
        (
            "batch: {max_wait_s: 20ms}",
            1,
            'batch.max_wait_s: is "20ms"; write a number of seconds, at least 0, at most 60',
        ),
        (
            "batch: {max_size: 0}",
            1,
            "batch.max_size: is 0; write a whole number or null, above 0, at most 4,096",
        ),
        (
            "batch: {max_wait_s: }",
            1,
            "batch.max_wait_s: is null; write a number of seconds, at least 0, at most 60",
        ),
        ("log: {format: a}", 1, 'log.format: is "a"; write `auto`, `text` or `json`'),
        ("kafka: {group: 5}", 1, "kafka.group: is 5; put it in quotes, to be a text"),
        (
            "kafka: {bootstrap_servers: 'a:1,b:2'}",
            1,
            (
                'kafka.bootstrap_servers: is "a:1,b:2"; write a list of texts, not empty, as in '
                '["a:1", "b:2"]'
            ),
        ),
        (
            "kafka: {bootstrap_servers: [a, 5]}",
            1,
            (
                "kafka.bootstrap_servers[1]: is 5; kafka.bootstrap_servers is a list of texts, not "
                "empty"
            ),
        ),
        ("routes: {skip: true}", 1, "routes: is a mapping; write a list of mappings"),
        (
            "routes: [x]",
            1,
            (
                "routes[0]: is a text; write a section of topic, bucket, key, headers, "
                "skip, label_sets, allowed_label_sets, tenant, allowed_tenants"
            ),
        ),
        ("routes: [{}]", 1, "routes[0]: a route needs `label_sets`, or `skip: true`"),
        (
            "delivery: {start: tomorrow}",
            1,
            (
                'delivery.start: is "tomorrow"; write `earliest`, `latest` or `none` or an RFC '
                "3339 time with its zone"
            ),
        ),
        (
            "delivery: {start: 2026-99-99}",
            1,
            (
                'delivery.start: is "2026-99-99"; write `earliest`, `latest` or `none` or an RFC '
                "3339 time with its zone"
            ),
        ),
        (
            "delivery:\n  delivery_timeout_s: 5",
            2,
            (
                "delivery.request_timeout_s: 5 s must be below delivery.delivery_timeout_s (5 s); "
                "lower it or raise the other"
            ),
        ),
        (
            "delivery: {transaction_timeout_s: 20}",
            1,
            (
                "delivery.transaction_timeout_s: is 20; write a number of seconds, above 0, at "
                "most 15"
            ),
        ),
        (
            "delivery: {max_poll_interval_s: 30}",
            1,
            (
                "delivery.session_timeout_s: 45 s must be below delivery.max_poll_interval_s "
                "(30 s); lower it or raise the other"
            ),
        ),
        ("log: text", 1, "log: is a text; write a section of format, level"),
        (
            "retry: {longest_wait_s: 0.1}",
            1,
            (
                "retry.longest_wait_s: is below first_wait_s (0.1 against 0.2); raise it, or lower "
                "first_wait_s"
            ),
        ),
    ],
)
def test_a_refusal_names_the_key_what_to_write_and_the_place(
    text: str, line: int, message: str, tmp_path: Path
) -> None:
    assert problems(text, tmp_path) == [f"{message} [settings.yaml:{line}]"]


def test_every_problem_is_named_at_once(tmp_path: Path) -> None:
    lines = problems("kafka: {grup: a}\nbatch: {max_size: x}", tmp_path, LOG__LEVEL="loud")
    assert [line.split(":")[0] for line in lines] == ["kafka.grup", "batch.max_size", "log.level"]


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("KAFKA__GRUP", "CLIPSTREAM_KAFKA__GROUP"),
        ("KAFKA_GROUP", "CLIPSTREAM_KAFKA__GROUP"),
        ("FETCH_MAXBYTES", "CLIPSTREAM_FETCH__MAX_BYTES"),
    ],
)
def test_a_mistyped_variable_is_an_error_that_names_both(
    variable: str, meant: str, tmp_path: Path
) -> None:
    (line,) = problems("", tmp_path, **{variable: "1"})
    assert f"did you mean {meant}?" in line
    assert line.endswith(f"[CLIPSTREAM_{variable}]")


def test_a_list_in_a_variable_must_be_json(tmp_path: Path) -> None:
    assert problems("", tmp_path, KAFKA__INPUT_TOPICS="a") == [
        (
            'kafka.input_topics: is "a"; write a list of texts, not empty, as in ["a"] '
            "[CLIPSTREAM_KAFKA__INPUT_TOPICS]"
        )
    ]
    (line,) = problems("", tmp_path, KAFKA__INPUT_TOPICS="[a]")
    assert 'is "[a]", which is not valid JSON at character 2; write a list of texts, ' in line
    assert "not empty, as JSON" in line


def test_a_cut_off_variable_of_a_section_is_not_valid_json(tmp_path: Path) -> None:
    (line,) = problems("", tmp_path, KAFKA=f'{{"group": "{SECRET}')
    assert line.startswith("kafka: is a text, which is not valid JSON at character 11; write a ")
    (line,) = problems("", tmp_path, ROUTES='[{"skip": true}')
    assert "which is not valid JSON at character 16; write a list of mappings" in line


def test_no_variable_is_suggested_for_what_is_in_a_list(tmp_path: Path) -> None:
    (line,) = problems("", tmp_path, KAFKA__TOPIC="a")
    assert "[]" not in line
    (line,) = problems("kafka: {topic: a}", tmp_path)
    assert "did you mean routes[].topic or serve.topic?" in line


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("workers: {count: true}", "workers.count: is true; write a whole number, above 0"),
        ("batch: {max_wait_s: false}", "batch.max_wait_s: is false; write a number of seconds"),
        ("model: {threads: true}", "model.threads: is true; write a whole number or null"),
        (
            "workers: {gpus_per_worker: 2}",
            "workers.gpus_per_worker: is 2 and a worker uses one GPU; write 1, and more workers (w",
        ),
        (
            "workers: {gpus_per_worker: 1.5}",
            "workers.gpus_per_worker: is 1.5 and a worker uses one GPU; write 1, and more workers",
        ),
        (
            "workers: {gpus_per_worker: -1}",
            "workers.gpus_per_worker: is -1; write auto, or a number from 0 to 1",
        ),
        (
            "workers: {gpus_per_worker: all}",
            'workers.gpus_per_worker: is "all"; write `auto` or a number',
        ),
        (
            "workers: {gpus_per_worker: true}",
            "workers.gpus_per_worker: is true; write `auto` or a number",
        ),
        (
            "{model: {device: cuda}, workers: {gpus_per_worker: 0}}",
            "workers.gpus_per_worker: is 0, so that a worker sees no GPU, and model.device is c",
        ),
        (
            "{model: {device: cpu}, workers: {gpus_per_worker: 0.5}}",
            "workers.gpus_per_worker: is 0.5 and model.device is cpu, so that the GPU would be res",
        ),
        (
            "{model: {precision: int8, calibration: /c}, workers: {gpus_per_worker: 1}}",
            "workers.gpus_per_worker: is 1 and model.precision is int8, so that the GPU would be r",
        ),
        (
            "priority: {lower: [uploads]}",
            "priority.lower: uploads is none of kafka.input_topics (clipstream.references); mend",
        ),
        (
            "{kafka: {input_topics: [a, b]}, priority: {lower: [a, b], min_share: 0.3}}",
            "priority.min_share: 0.3 for each of 2 topics is more than half of the work; write",
        ),
        (
            "{kafka: {input_topics: [a, b]}, priority: {lower: [a, a]}}",
            "priority.lower: a topic is named twice; name it once",
        ),
        (
            "flow: {max_in_flight: 64}",
            "failure_budget.window: is 100 and flow.max_in_flight is 64, so that no commit would",
        ),
        (
            "{workers: {count: 3}, endpoints: {health_port: 9402}}",
            "endpoints.metrics_port: 9400 to 9402 for workers.count = 3 takes in endpoints.health",
        ),
        (
            "{workers: {count: 3}, endpoints: {metrics_port: 65534}}",
            "endpoints.metrics_port: 65534 to 65536 for workers.count = 3 exceeds 65535; write a",
        ),
        (
            "{workers: {max_count: 5}, endpoints: {health_port: 9404}}",
            "endpoints.metrics_port: 9400 to 9404 for workers.max_count = 5 takes in endpoints.hea",
        ),
        (
            "workers: {count: 4, max_count: 2}",
            "workers.max_count: is 2 and workers.count is 4, the least; write 4 or more, or leave",
        ),
        ("workers: {max_count: 0}", "workers.max_count: is 0; write a whole number or null, above"),
        (
            "workers: {drain_target_s: 5}",
            "workers.drain_target_s: is 5; write a number of seconds, at least 30",
        ),
        (
            "model: {name: a/b, revision: main}",
            "model.revision: is 'main'; write the 40-digit commit hash, of lower-case hexadecimal",
        ),
        ("model: {name: a/b}", "model: `revision` is missing for a/b; write the 40-digit commit"),
        (
            "kafka: {bootstrap_servers: ['kafka://a:1']}",
            "kafka.bootstrap_servers: entry 1 is not host:port; write it as broker-1:9092 or",
        ),
        (
            "kafka: {output_topics: {embeddings: a/b}}",
            "kafka.output_topics.embeddings: 'a/b' is not a topic's name; use 1 to 249 letters,",
        ),
        (
            "kafka: {security: {ca_file: /ca.pem}}",
            "kafka.security.ca_file: has no use with protocol PLAINTEXT; write SSL for ",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(text: str, says: str, tmp_path: Path) -> None:
    (line,) = problems(text, tmp_path)
    assert line.startswith(says)


def test_two_documents_in_the_file_are_named(tmp_path: Path) -> None:
    assert problems("log: {level: info}\n---\nkafka: {group: a}", tmp_path) == [
        "settings: settings.yaml:2: a second document begins here (---); write a single document"
    ]


def test_a_flag_that_names_no_setting_is_refused(tmp_path: Path) -> None:
    (line,) = problems("", tmp_path, flags={"workers.cont": "2"})
    assert "did you mean workers.count?" in line
    assert line.endswith("[flag workers.cont]")


def test_a_variable_inside_what_is_no_section_changes_nothing(tmp_path: Path) -> None:
    (line,) = problems("log: text", tmp_path, LOG__LEVEL="info")
    assert line.startswith("log: is a text; write a section")


@pytest.mark.parametrize(
    "text",
    [
        f"kafka: {{security: {{password: [{SECRET}]}}}}",
        f"kafka: {{security: {{password: {{{SECRET}: x}}}}}}",
        f"kafka: {{security: {{passwrod: {SECRET}}}}}",
        f"kafka: {{security: {SECRET}}}",
        f"kafka: {{security: [{SECRET}]}}",
        f"kafka: {{password: {SECRET}}}",
        f"kafka: {{security: {{password: *{SECRET}}}}}",
        f"kafka: {{security: {{password: !{SECRET}}}}}",
        f"kafka: {{security: {{password: !{SECRET}!x}}}}",
        f"kafka: {{security: {{password: &{SECRET} x, username: &{SECRET} y}}}}",
        f"kafka: {{security: {{password: !!int {SECRET}}}}}",
        f"kafka: {{security: {{password: ! {SECRET}, <<: {SECRET}}}}}",
        f"kafka: {{security: {{password: '{SECRET}}}}}",
        f"s3: {{proxy_url: 'http://user:{SECRET}@proxy'}}",
    ],
)
def test_a_secret_in_a_wrong_place_is_not_shown(text: str, tmp_path: Path) -> None:
    assert problems(text, tmp_path)  # which looks for the secret in all that a traceback holds


def test_a_wrong_variable_of_a_section_with_secrets_is_not_shown(tmp_path: Path) -> None:
    assert problems("", tmp_path, KAFKA__SECURITY=f"password={SECRET}")


@pytest.mark.parametrize(
    "topic", ["clipstream.references", "clipstream.classifications", "clipstream.dead-letters"]
)
def test_events_of_requests_never_come_among_those_of_the_stream(
    topic: str, tmp_path: Path
) -> None:
    (line,) = problems(f"serve:\n  publish: kafka\n  topic: {topic}\n", tmp_path)
    assert line.startswith(f"serve.topic: {topic} is a topic of the stream too")


def test_the_topic_of_requests_is_a_legal_name(tmp_path: Path) -> None:
    (line,) = problems("serve:\n  topic: no topic\n", tmp_path)
    assert "serve.topic" in line
