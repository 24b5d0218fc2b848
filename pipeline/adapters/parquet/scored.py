"""A label set's column, from its values."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Floats = npt.NDArray[np.float64]


def scored(
    kind: pa.DataType,
    present: npt.NDArray[np.bool_],
    decisions: pa.Array,
    matched: pa.Array,
    scores: Floats,
    similarities: Floats,
    raised: pa.Array,
    labels_decisions: pa.Array,
    shadows: pa.Array,
    probabilities: Floats | None = None,
    views: npt.NDArray[np.int32] | None = None,
) -> pa.Array:
    """A column of the type ``columns.result_of(labels)``, null where ``present`` is false.

    All values have a row for each row of the column. ``scores``, ``similarities`` and ``views`` are
    [rows, labels], and finite. So are ``probabilities``, with NaN for null; None: all are null.
    Without ``views``, the type has none.
    """
    if probabilities is None:
        probabilities = np.full(scores.shape, np.nan)
    by_label: dict[str, npt.NDArray[Any]] = {
        "scores": scores,
        "similarities": similarities,
        "probabilities": probabilities,
    }
    if views is not None:
        by_label["views"] = views
    structs = {}
    for name, values in by_label.items():
        fields = list(kind.field(name).type)
        structs[name] = pa.StructArray.from_arrays(
            # A NaN becomes null.
            [
                pa.array(np.ascontiguousarray(values[:, each]), from_pandas=True)
                for each in range(len(fields))
            ],
            fields=fields,
        )
    plain = {
        "decision": decisions,
        "matched": matched,
        "raised": raised,
        "labels_decision": labels_decisions,
        "shadow": shadows,
    }
    return pa.StructArray.from_arrays(
        [(structs | plain)[field.name] for field in kind],
        fields=[kind.field(index) for index in range(kind.num_fields)],
        mask=pa.array(~present),
    )
