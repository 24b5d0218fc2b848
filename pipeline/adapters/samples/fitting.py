"""Learns from labelled images with scikit-learn. Needs `clipstream[evaluate]`.

The results are plain numbers: nothing that scores images imports scikit-learn.
"""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import numpy.typing as npt

from pipeline.errors import Halt
from pipeline.evaluation.sample import Scores, Truth
from pipeline.labels.learnt.calibration import Isotonic, Platt
from pipeline.labels.learnt.logistic import log_odds

_DIGITS = 6
"""Significant digits of a number that is written into a label set."""
_STRENGTHS = (1.0, 10.0, 100.0, 1_000.0)
"""Inverse strengths of the regularisation of weights on embeddings of unit length."""
_FOLDS = 3


def require_scikit_learn(what: str) -> None:
    """
    Raises:
        Halt: ``evaluate.lacks_package``.
    """
    if find_spec("sklearn") is None:
        raise Halt(
            "evaluate.lacks_package", f"{what}: needs scikit-learn; install clipstream[evaluate]"
        )


def fit_platt(scores: Scores, truth: Truth, sample: str) -> Platt | None:
    """Logistic regression of the truth on the scores' log-odds, with Platt's targets: an image that
    shows the label counts as one by ``(n + 1) / (n + 2)``, where ``n`` images show it. So the fit
    is finite where the scores separate the images.

    None if the probability would not rise with the score. ``scores`` and ``truth`` are [images],
    and some images show the label and some do not.
    """
    from sklearn.linear_model import LogisticRegression

    odds = log_odds(scores)
    middle, spread = float(odds.mean()), float(odds.std())
    if not spread:
        return None
    shown, others = int(truth.sum()), int((~truth).sum())
    target = np.where(truth, (shown + 1) / (shown + 2), 1 / (others + 2))
    # Each image stands here twice: as one that shows the label, and as one that does not.
    inputs = np.tile((odds - middle) / spread, 2)[:, np.newaxis]
    outcomes = np.repeat([1, 0], len(odds))
    model = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1_000)
    model.fit(inputs, outcomes, sample_weight=np.concatenate((target, 1 - target)))
    slope = float(model.coef_[0, 0]) / spread
    intercept = float(model.intercept_[0]) - slope * middle
    return Platt(_rounded(slope), _rounded(intercept), sample) if _rounded(slope) > 0 else None


def fit_isotonic(scores: Scores, truth: Truth, sample: str) -> Isotonic | None:
    """Isotonic regression of the truth on the scores. None if no probability but one was found.
    ``scores`` and ``truth`` are as for ``fit_platt``."""
    from sklearn.isotonic import IsotonicRegression

    model = IsotonicRegression(y_min=0, y_max=1).fit(scores, truth.astype(np.float64))
    knots: dict[float, float] = {}
    for score, value in zip(model.X_thresholds_, model.y_thresholds_, strict=True):
        # Scores that are one when rounded have the higher probability.
        knots[_rounded(score)] = _rounded(value)
    if len(set(knots.values())) < 2:
        return None
    return Isotonic(tuple(knots.items()), sample)


def _rounded(number: float) -> float:
    return float(f"{float(number):.{_DIGITS}g}")


def fit_linear(
    embeddings: npt.NDArray[np.floating], truth: Truth, *, exclusive: bool, balanced: bool
) -> tuple[Scores, Scores]:
    """A linear probe by logistic regression: weights [labels, dimension] and bias [labels].

    ``embeddings`` are [images, dimension], ``truth`` is [images, labels]. ``exclusive`` learns all
    labels together, of images that show one each; else each label is learnt by itself. Of the
    strengths in ``_STRENGTHS``, the one with the best log loss in cross-validation is taken.
    ``balanced`` weights images so that each class counts the same.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedKFold

    def fit(outcomes: npt.NDArray[np.intp]) -> tuple[Scores, Scores]:
        model = LogisticRegression(class_weight="balanced" if balanced else None, max_iter=5_000)
        folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=0)
        search = GridSearchCV(model, {"C": _STRENGTHS}, scoring="neg_log_loss", cv=folds)
        search.fit(embeddings.astype(np.float64), outcomes)
        best = search.best_estimator_
        return best.coef_, best.intercept_

    if exclusive and truth.shape[1] > 2:
        return fit(truth.argmax(axis=1))
    if exclusive:  # scikit-learn has one row for two classes
        (row,), (shift,) = fit(truth.argmax(axis=1))
        return np.stack([-row / 2, row / 2]), np.array([-shift / 2, shift / 2])
    each = [fit(label.astype(np.intp)) for label in truth.T]
    return np.concatenate([row for row, _ in each]), np.concatenate([shift for _, shift in each])
