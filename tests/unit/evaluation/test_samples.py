"""Labelled images in folders, CSV and Parquet files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.adapters.samples.embeddings import EmbeddingFile
from pipeline.adapters.samples.reading import read_sample
from pipeline.errors import Halt
from pipeline.evaluation.sample import Sample

LABELS = ("cat", "dog", "old dog")


def shown(sample: Sample) -> dict[str, set[str]]:
    return {image.name: {*image.labels} for image in sample.images}


def csv(folder: Path, text: str) -> Path:
    file = folder / "list.csv"
    file.write_text(text, encoding="utf-8")
    return file


def refusal(source: Path, group_by: str | None = None) -> str:
    with pytest.raises(Halt) as caught:
        read_sample(source, LABELS, group_by)
    assert caught.value.code == "sample.invalid"
    return caught.value.message


def test_a_folder_of_folders_names_the_labels(tmp_path: Path) -> None:
    for name in ("cat/1.jpg", "cat/deep/2.jpg", "old dog/3.jpg", "none/4.jpg", "cat/.hidden"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    sample = read_sample(tmp_path, LABELS)
    assert shown(sample) == {
        "cat/1.jpg": {"cat"},
        "cat/deep/2.jpg": {"cat"},
        "old dog/3.jpg": {"old dog"},
        "none/4.jpg": set(),
    }
    assert sample.judged == LABELS
    assert sample.images[0].read() == b"cat/1.jpg"
    assert sample.groups((0, 1, 3), ("a", "b", "a")).tolist() == [0, 1, 0]
    assert read_sample(tmp_path).judged == ("cat", "none", "old dog")


def test_a_folder_whose_name_is_no_label_is_refused_with_the_nearest_one(tmp_path: Path) -> None:
    (tmp_path / "dgo").mkdir()
    (tmp_path / "dgo/1.jpg").write_bytes(b"")
    assert "'dgo' is no label of the set" in refusal(tmp_path)
    assert "dog" in refusal(tmp_path).partition("is no label")[2]


def test_folders_without_images_are_refused(tmp_path: Path) -> None:
    assert "has no folders" in refusal(tmp_path)
    (tmp_path / "cat").mkdir()
    assert "have no files" in refusal(tmp_path)
    assert "no such file or folder" in refusal(tmp_path / "missing")
    (tmp_path / "list.txt").write_text("")
    assert ".txt is no form of a sample" in refusal(tmp_path / "list.txt")


@pytest.mark.parametrize("column", ["path", "file_name", "filepath"])
def test_a_list_with_a_column_of_labels(tmp_path: Path, column: str) -> None:
    (tmp_path / "1.jpg").write_bytes(b"one")
    text = f"{column},labels\n1.jpg,cat| old dog\n2.jpg,\n3.jpg,none\n"
    sample = read_sample(csv(tmp_path, text), LABELS)
    assert shown(sample) == {"1.jpg": {"cat", "old dog"}, "2.jpg": set(), "3.jpg": set()}
    assert sample.judged == LABELS
    assert sample.images[0].read() == b"one"
    with pytest.raises(OSError, match=r"2\.jpg"):
        sample.images[1].read()


def test_a_list_with_a_column_for_each_label_judges_these_alone(tmp_path: Path) -> None:
    sample = read_sample(
        csv(tmp_path, "path,old dog,cat,size\n1.jpg,1,0,9\n2.jpg,no,TRUE,9\n"), LABELS
    )
    assert shown(sample) == {"1.jpg": {"old dog"}, "2.jpg": {"cat"}}
    assert sample.judged == ("cat", "old dog")
    truth = sample.truth(LABELS, kept=[1])
    assert truth.tolist() == [[True, False, False]]


def test_images_of_a_group_share_it_and_others_are_alone_but_for_copies(tmp_path: Path) -> None:
    text = "path,label,scene\n1.jpg,cat,a\n2.jpg,dog,a\n3.jpg,dog,\n4.jpg,dog,\n"
    sample = read_sample(csv(tmp_path, text), LABELS, "scene")
    numbers = sample.groups(range(4), ("x", "y", "z", "z")).tolist()
    assert numbers[0] == numbers[1]
    assert numbers[2] == numbers[3]
    assert len({*numbers}) == 2


@pytest.mark.parametrize(
    ("text", "group_by", "says"),
    [
        ("path,label\n1.jpg,bird\n", None, "list.csv:2: 'bird' is no label of the set"),
        ("path,cat\n1.jpg,0\n2.jpg,maybe\n", None, "list.csv:3: cat: 'maybe' is neither 1 nor 0"),
        ("name,label\n1.jpg,cat\n", None, "none of the columns path, file_name"),
        ("path,size\n1.jpg,9\n", None, "labels, label, nor one named as a label"),
        ("path,label\n", None, "has no rows"),
        ("path,label\n,cat\n", None, "list.csv:2: path is empty"),
        ("path,label\ns3://a/1.jpg,cat\n", None, "copy the images to this machine"),
        ("path,label\n1.jpg,cat\n", "scene", "no column 'scene' to group by; it has path, label"),
    ],
)
def test_a_list_that_cannot_be_used_is_refused(
    tmp_path: Path, text: str, group_by: str | None, says: str
) -> None:
    assert says in refusal(csv(tmp_path, text), group_by)


def test_a_folder_has_no_column_to_group_by(tmp_path: Path) -> None:
    assert "write a CSV file" in refusal(tmp_path, "scene")


def test_columns_to_compare_by_are_read_and_an_empty_cell_is_no_value(tmp_path: Path) -> None:
    text = "path,label,age,place\n1.jpg,cat,young,\n2.jpg,dog,old,here\n"
    sample = read_sample(csv(tmp_path, text), LABELS, None, ("age", "place"))
    assert [dict(image.attributes) for image in sample.images] == [
        {"age": "young"},
        {"age": "old", "place": "here"},
    ]
    assert sample.judged == LABELS
    with pytest.raises(Halt, match="has no column 'sex' to group by; it has path, label, age"):
        read_sample(csv(tmp_path, text), LABELS, None, ("age", "sex"))
    with pytest.raises(Halt, match="a folder has no column 'age'"):
        read_sample(tmp_path, LABELS, None, ("age",))


def test_a_list_to_compare_by_needs_no_labels_and_then_judges_none(tmp_path: Path) -> None:
    sample = read_sample(csv(tmp_path, "path,age\n1.jpg,young\n"), LABELS, None, ("age",))
    assert shown(sample) == {"1.jpg": set()}
    assert sample.judged == ()
    assert sample.images[0].attributes == {"age": "young"}


def test_a_list_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_bytes(b"path,label\n\xff\xfe")
    assert "cannot be read as CSV" in refusal(tmp_path / "list.csv")
    (tmp_path / "list.parquet").write_bytes(b"no Parquet")
    assert "cannot be read as Parquet" in refusal(tmp_path / "list.parquet")


def test_a_table_of_paths_and_lists_of_labels(tmp_path: Path) -> None:
    table = pa.table({"path": ["1.jpg", "2.jpg"], "labels": [["cat", "dog"], []], "scene": [7, 7]})
    pq.write_table(table, tmp_path / "list.parquet")
    sample = read_sample(tmp_path / "list.parquet", LABELS, "scene")
    assert shown(sample) == {"1.jpg": {"cat", "dog"}, "2.jpg": set()}
    assert sample.images[0].group == sample.images[1].group


def test_numbers_of_a_table_to_compare_by_are_groups(tmp_path: Path) -> None:
    table = pa.table({"path": ["1.jpg", "2.jpg"], "label": ["cat", "dog"], "age": [0, None]})
    pq.write_table(table, tmp_path / "list.parquet")
    sample = read_sample(tmp_path / "list.parquet", LABELS, None, ("age",))
    assert [dict(image.attributes) for image in sample.images] == [{"age": "0"}, {}]


def test_a_row_without_its_bytes_is_an_image_that_cannot_be_read(tmp_path: Path) -> None:
    table = pa.table({"image": [{"bytes": None, "path": "1.png"}], "label": ["cat"]})
    pq.write_table(table, tmp_path / "data.parquet")
    (image,) = read_sample(tmp_path / "data.parquet", LABELS).images
    with pytest.raises(OSError, match="holds no bytes"):
        image.read()


# -- embeddings kept on disk


KEY, OTHER = "ab" * 32, "cd" * 32
VECTOR = np.array([[0.6, -0.8]], np.float32)


def written(folder: Path, *keys: str) -> Path:
    file = EmbeddingFile(folder, "a model", 2)
    for key in keys:
        file.add(key, VECTOR)
    file.close()
    (path,) = folder.iterdir()
    return path


def test_an_embedding_is_found_again_bit_by_bit(tmp_path: Path) -> None:
    written(tmp_path, KEY)
    written(tmp_path, OTHER)
    again = EmbeddingFile(tmp_path, "a model", 2)
    for key in (KEY, OTHER):
        found = again.get(key)
        assert found is not None
        assert found.tobytes() == VECTOR.tobytes()
    assert EmbeddingFile(tmp_path, "another model", 2).get(KEY) is None


def test_the_views_of_an_image_are_found_together(tmp_path: Path) -> None:
    views = np.arange(6, dtype=np.float32).reshape(3, 2)
    file = EmbeddingFile(tmp_path, "a model", 2)
    file.add(KEY, views)
    file.add(OTHER, VECTOR)
    file.close()
    found = EmbeddingFile(tmp_path, "a model", 2).get(KEY)
    assert found is not None
    assert found.tobytes() == views.tobytes()
    (path,) = tmp_path.iterdir()
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 4] + content[len(content) // 2 :])
    again = EmbeddingFile(tmp_path, "a model", 2)
    assert again.get(KEY) is None  # one of its views is missing
    assert again.get(OTHER) is not None


def test_a_damaged_record_and_a_cut_one_are_passed_over(tmp_path: Path) -> None:
    path = written(tmp_path, KEY, OTHER)
    content = bytearray(path.read_bytes())
    content[40] ^= 1  # in the first embedding
    path.write_bytes(bytes(content[:-1]))
    again = EmbeddingFile(tmp_path, "a model", 2)
    assert again.get(KEY) is again.get(OTHER) is None
    # What is written behind a cut record is found.
    written(tmp_path, OTHER)
    assert EmbeddingFile(tmp_path, "a model", 2).get(OTHER) is not None


def test_a_folder_that_cannot_be_written_costs_only_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    file = EmbeddingFile(tmp_path / "file/folder", "a model", 2)
    file.add(KEY, VECTOR)
    file.close()
    assert "embedded again next time" in caplog.text


def test_a_user_without_a_home_keeps_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_home(path: Path) -> Path:
        raise RuntimeError("no home")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Path, "expanduser", no_home)
    file = EmbeddingFile(Path("~/kept"), "a model", 2)
    file.add(KEY, VECTOR)
    file.close()
    assert list(tmp_path.iterdir()) == []
