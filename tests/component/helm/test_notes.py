"""What Helm tells a person after an installation."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.rigs.charts import EXAMPLES, SMALL, example, notes, one


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_notes_name_objects_that_are_there(path: Path) -> None:
    text, manifest = notes({}, files=[path]), example(path)
    for word in text.split():
        kind, _, name = word.partition("/")
        if kind == "svc":
            assert one(manifest, "Service", name)
        if kind.startswith("statefulset"):
            assert one(manifest, "StatefulSet", name)


def test_the_notes_say_where_to_look() -> None:
    text = notes({**SMALL, "settings": {"kafka": {"group": "mine"}}})
    assert "/readyz" in text
    assert "--group mine --describe" in text
    assert "helm test live -n images" in text
    assert "kubectl drain NODE" in text
    assert "within 30 s" in text


def test_the_notes_of_a_server_alone_say_how_to_prove_it() -> None:
    alone = {
        **SMALL,
        "stream": {"enabled": False},
        "serve": {"enabled": True},
        "secrets": {"httpKeys": {"name": "keys"}},
    }
    text = notes(alone)
    assert "helm test live -n images" in text
    assert "set test.httpKey.name first" in text
    assert "set test" not in notes({**alone, "test": {"httpKey": {"name": "plain"}}})


def test_the_notes_say_how_to_upgrade_beside_rays_autoscaler() -> None:
    scaled = {**SMALL, "ray": {"autoscaler": {"enabled": True}}}
    assert "--server-side=false" in notes({**scaled, "mode": "kuberay"})
    assert "--server-side" not in notes(scaled)
