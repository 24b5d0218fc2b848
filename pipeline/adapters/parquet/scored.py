"""A label set's column, from its values."""

from __future__ import annotations

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
    probabilities: Floats | None,
) -> pa.Array:
    """A column of the type ``columns.result_of(labels)``, null where ``present`` is false.

    All values have a row for each row of the column. ``scores`` and ``similarities`` are
    [rows, labels], and finite. So are ``probabilities``, with NaN for null; None: all are null.
    """
    per_label = kind.field("scores").type
    fields = [per_label.field(index) for index in range(per_label.num_fields)]
    if probabilities is None:
        probabilities = np.full(scores.shape, np.nan)
    own, cosines, told = (
        pa.StructArray.from_arrays(
            # A NaN becomes null.
            [
                pa.array(np.ascontiguousarray(values[:, each]), from_pandas=True)
                for each in range(len(fields))
            ],
            fields=fields,
        )
        for values in (scores, similarities, probabilities)
    )
    return pa.StructArray.from_arrays(
        [decisions, matched, own, cosines, raised, labels_decisions, shadows, told],
        fields=[kind.field(index) for index in range(kind.num_fields)],
        mask=pa.array(~present),
    )
