"""What a receptive field is like: its answers to gratings, its orientation selectivity, its fit by a Gabor function.

A field is a row of size x size weights. Frequencies are in cycles per pixel, angles in radians; orientation theta is the
direction in which a grating varies.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import least_squares

Array = NDArray[np.float64]

FREQUENCIES = tuple(np.linspace(0.04, 0.32, 8))
ORIENTATIONS, PHASES = 16, 16


def gratings(size: int) -> Array:
    """cos(2 pi f (X cos theta + Y sin theta) + phase): [F, O, P, size^2], X and Y from the centre of the patch."""
    theta = np.arange(ORIENTATIONS) * np.pi / ORIENTATIONS
    phase = np.arange(PHASES) * 2 * np.pi / PHASES
    X, Y = _grid(size)
    along = X * np.cos(theta)[:, None] + Y * np.sin(theta)[:, None]  # [O, size^2]
    f = np.asarray(FREQUENCIES)[:, None, None, None]
    return np.cos(2 * np.pi * f * along[:, None] + phase[:, None])


def rectified(w: ArrayLike) -> Callable[[Array], Array]:
    """The cells max(0, w x): x [..., n] -> [..., cells]."""
    w = np.asarray(w, dtype=float)
    return lambda x: np.maximum(x @ w.T, 0)


def selectivity(answer: Array) -> tuple[Array, Array]:
    """(orientation selectivity, F1/F0) of each cell, from its answers r >= 0 to drifting gratings, [F, O, P, cells].

        F0 = <r> over phases,   F1 = 2 |<r exp(i phase)>|
        selectivity = |sum over theta of F0 exp(2 i theta)| / sum F0 = 1 - circular variance, at the frequency of the largest
        F1/F0 there, at the best orientation: pi/2 (1.59 at 16 phases) of max(0, w x), 0 of an energy; above 1: a simple cell

    Both are nan for a cell that never answers. Sources: Ringach, Shapley & Hawken 2002, J Neurosci 22:5639; Skottun et al.
    1991, Vision Res 31:1079.
    """
    theta = np.arange(answer.shape[1]) * np.pi / answer.shape[1]
    phase = np.arange(answer.shape[2]) * 2 * np.pi / answer.shape[2]
    f0 = answer.mean(2)  # [F, O, cells]
    f1 = 2 * np.abs(np.tensordot(np.exp(1j * phase), answer, (0, 2))) / len(phase)
    cells = np.arange(answer.shape[-1])
    f = f0.max(1).argmax(0)
    tuning = f0[f, :, cells]  # [cells, O]
    best = tuning.argmax(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        selective = np.abs(tuning @ np.exp(2j * theta)) / tuning.sum(1)
        return selective, f1[f, best, cells] / tuning[cells, best]


def gabor_fit(field: ArrayLike) -> tuple[float, Array]:
    """(R^2, fit) of the best  exp(-(u/su)^2/2 - (v/sv)^2/2) (a cos(2 pi f u) + b sin(2 pi f u)):  least squares.

    (u, v) is (x - x0, y - y0) turned by theta; R^2 = 1 - |field - fit|^2 / |field - mean|^2. a and b are solved exactly
    for each (x0, y0, theta, f, su, sv); these are searched from the peak of the field's spectrum and its centre of mass,
    with a narrow and a wide start. 8 parameters fit some of any noise: compare with random fields.
    """
    w = np.asarray(field, dtype=float).ravel()
    size = int(round(len(w) ** 0.5))
    X, Y = _grid(size)
    mass = w**2 / (w**2).sum()
    x0, y0 = mass @ X, mass @ Y
    padded = np.abs(np.fft.fft2(w.reshape(size, size), (64, 64)))[:33]
    fy, fx = np.meshgrid(np.fft.fftfreq(64)[:33], np.fft.fftfreq(64), indexing="ij")
    k = padded.argmax()
    f, theta = np.hypot(fx, fy).flat[k], np.arctan2(fy, fx).flat[k]

    def basis(p: Array) -> Array:
        dx, dy = X - p[0], Y - p[1]
        u, v = dx * np.cos(p[2]) + dy * np.sin(p[2]), -dx * np.sin(p[2]) + dy * np.cos(p[2])
        envelope = np.exp(-((u / p[4]) ** 2 + (v / p[5]) ** 2) / 2)
        return np.stack((envelope * np.cos(2 * np.pi * p[3] * u), envelope * np.sin(2 * np.pi * p[3] * u)), 1)

    def fitted(p: Array) -> Array:
        e = basis(p)
        return e @ np.linalg.lstsq(e, w, rcond=1e-10)[0]

    edge = size / 2
    low, high = [-edge, -edge, -np.inf, 0.0, 0.6, 0.6], [edge, edge, np.inf, 0.5, 2.0 * size, 2.0 * size]
    best, r2 = np.zeros_like(w), -np.inf
    for width in (size / 5, size / 3):
        start = np.clip([x0, y0, theta, f, width, width], np.array(low) + 1e-3, np.array(high) - 1e-3)
        found = least_squares(
            lambda p: fitted(p) - w, start, bounds=(low, high), x_scale=[1, 1, 0.3, 0.05, 1, 1], max_nfev=60
        )
        score = 1 - (found.fun**2).sum() / ((w - w.mean()) ** 2).sum()
        if score > r2:
            best, r2 = fitted(found.x), score
    return float(r2), best


def gabor(size: int, theta: float, f: float, phase: float, width: float) -> Array:
    """exp(-(X^2 + Y^2) / (2 width^2)) cos(2 pi f (X cos theta + Y sin theta) + phase), mean 0, length 1: [size^2]."""
    X, Y = _grid(size)
    w = np.exp(-(X**2 + Y**2) / (2 * width**2)) * np.cos(
        2 * np.pi * f * (X * np.cos(theta) + Y * np.sin(theta)) + phase
    )
    w = w - w.mean()
    return w / np.linalg.norm(w)


def _grid(size: int) -> tuple[Array, Array]:
    at = np.arange(size) - (size - 1) / 2
    Y, X = np.meshgrid(at, at, indexing="ij")
    return X.ravel(), Y.ravel()
