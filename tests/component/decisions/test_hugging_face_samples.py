"""Samples that Hugging Face's datasets writes."""

from __future__ import annotations

from pathlib import Path

from datasets import ClassLabel, Dataset, Features
from datasets import Image as ImageFeature

from pipeline.adapters.samples.reading import read_sample

LABELS = ("cat", "dog")


def test_a_data_set_of_hugging_face_holds_its_images_and_the_names_of_its_classes(
    tmp_path: Path,
) -> None:
    features = Features({"image": ImageFeature(), "label": ClassLabel(names=["dog", "cat"])})
    rows = [{"image": {"bytes": bytes([n]), "path": f"{n}.png"}, "label": n % 2} for n in range(5)]
    data = Dataset.from_list(rows, features=features)
    data.to_parquet(tmp_path / "data.parquet", batch_size=2)
    sample = read_sample(tmp_path / "data.parquet", LABELS)
    assert [(image.name, *image.labels) for image in sample.images] == [
        (f"{n}.png", ("dog", "cat")[n % 2]) for n in range(5)
    ]
    assert [image.read() for image in sample.images] == [bytes([n]) for n in range(5)]
    assert sample.images[1].read() == b"\x01"  # again, out of order
