"""Weights brought to a sum: one pass over a dense projection."""

from __future__ import annotations

from typing import Any

from neurosim.engine.integrate import kept


@kept
def scaled(w: Any, factor: Any, total: Any, w_min: Any, w_max: Any) -> None:
    """w [pre, post] <- w total / sum over pre of w, clipped at w_min and w_max; a column whose sum is not above 0 stays.

    factor [post] of zeros: what each column was multiplied by, afterwards.
    """
    for i in range(w.shape[0]):
        for j in range(w.shape[1]):
            factor[j] += w[i, j]
    for j in range(w.shape[1]):
        factor[j] = total / factor[j] if factor[j] > 0 else factor.dtype.type(1)
    for i in range(w.shape[0]):
        for j in range(w.shape[1]):
            x = w[i, j] * factor[j]
            w[i, j] = w_min if x < w_min else w_max if x > w_max else x  # what is not a number stays one
