"""Patches, films and what is measured of a receptive field, on fields and images whose answer is known; and a toy run."""

import numpy as np
import pytest
import torch

from neurosim.neurons import identity
from neurosim.receptive import FREQUENCIES, gabor, gabor_fit, gratings, rectified, selectivity
from neurosim.rules import Oja, Sanger
from neurosim.tasks.patches import films, on_off, patches, photographs, standardised
from studies import receptive_fields as study

SIZE = 12


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def images():
    return photographs()


# ---------------------------------------------------------------------------------------------- patches
def test_photographs_are_the_difference_of_gaussians_in_the_frequency_domain(images):
    """Away from the borders, against filters exp(-2 (pi s f)^2) on the spectrum of the whole picture."""
    from sklearn.datasets import load_sample_image

    g = np.log1p(load_sample_image("flower.jpg").astype(float) @ [0.299, 0.587, 0.114])
    f2 = np.fft.fftfreq(427)[:, None] ** 2 + np.fft.fftfreq(640)[None] ** 2
    gain = np.exp(-2 * np.pi**2 * f2) - np.exp(-2 * np.pi**2 * 4 * f2)
    want, got = np.fft.ifft2(np.fft.fft2(g) * gain).real[20:-20, 20:-20], images[1].numpy()[20:-20, 20:-20]
    assert np.corrcoef(want.ravel(), got.ravel())[0, 1] > 1 - 1e-6
    for image in images:
        assert image.shape == (427, 640) and image.std(correction=0).item() == pytest.approx(1, abs=1e-5)


def test_patches_are_windows_of_the_images(images):
    raw = torch.arange(40.0).square()[:, None] + torch.arange(50.0).sin()[None] * 30
    windows = standardised(raw.unfold(0, 5, 1).unfold(1, 5, 1).reshape(-1, 25))
    found = patches([raw], 60, 5, generator())
    nearest = (found[:, None] - windows[None]).abs().amax(-1).min(1)
    assert nearest.values.max() < 1e-4 and len(nearest.indices.unique()) > 50
    x = patches(images, 300, SIZE, generator())
    assert x.mean(1).abs().max() < 1e-5 and (x.std(1, correction=0) < 1).all()
    assert torch.equal(x, patches(images, 300, SIZE, generator())) and not torch.equal(
        x, patches(images, 300, SIZE, generator(1))
    )


def test_films_move_straight_at_their_speed():
    """On images of noise the place of every window is known: it is the only one that fits."""
    noise = [torch.randn(60, 70, generator=generator(k)) for k in (0, 1)]
    windows = torch.cat([standardised(i.unfold(0, 6, 1).unfold(1, 6, 1).reshape(-1, 36)) for i in noise])
    film = films(noise, 20, 7, 6, 2.0, generator())
    place = torch.cdist(film, windows).argmin(-1)
    assert torch.cdist(film, windows).amin(-1).max() < 1e-2
    per_image = 55 * 65
    at = torch.stack((place % per_image // 65, place % 65), -1).float()  # [T, n, (y, x)]
    assert (place // per_image == place[:1] // per_image).all() and len((place[0] // per_image).unique()) == 2
    end = (at[-1] - at[0]).norm(dim=-1)
    assert (end - 12).abs().max() <= 1.5 and ((at[1:] - at[:-1]).norm(dim=-1) - 2).abs().max() <= 1.5
    straight = at[0] + (at[-1] - at[0]) * (torch.arange(7) / 6)[:, None, None]
    assert (at - straight).abs().max() <= 1.5
    angle = torch.atan2(*(at[-1] - at[0]).unbind(-1))
    assert len(((angle + torch.pi) // (torch.pi / 2)).unique()) >= 4  # all quadrants
    still = films(noise, 5, 3, 6, 0.0, generator())
    assert torch.equal(still[0], still[2])


def test_on_and_off_cells():
    x = torch.randn(4, 3)
    on, off = on_off(x).chunk(2, 1)
    assert torch.equal(on - off, x) and (on >= 0).all() and (off >= 0).all() and not (on * off).any()


def test_errors_of_patches(images):
    with pytest.raises(ValueError, match="given 2.0, 1.0; needed is 0 < centre < surround"):
        photographs(2.0, 1.0)
    with pytest.raises(ValueError, match="a window of 400 pixels that moves 30 does not fit"):
        films(images, 2, 4, 400, 10.0, generator())
    with pytest.raises(ValueError, match="n, frames, speed: given 2, 0, 1.0"):
        films(images, 2, 0, 5, 1.0, generator())


# ---------------------------------------------------------------------------------------------- measures
def test_a_rectified_linear_cell_is_simple_and_an_energy_is_complex():
    g, f = gratings(SIZE), FREQUENCIES[3]
    pair = np.stack([gabor(SIZE, 0.0, f, phase, 3.0) for phase in (0, np.pi / 2)])
    selective, modulation = selectivity(rectified(pair)(g))
    assert modulation == pytest.approx(
        8 * np.tan(np.pi / 16), rel=1e-6
    )  # max(0, cos) at 16 phases; pi / 2 in the limit
    energy, invariant = selectivity(((g @ pair.T) ** 2).sum(-1, keepdims=True))
    assert invariant[0] < 0.1 and energy[0] > 0.6
    blob = np.exp(-((np.arange(SIZE) - 5.5) ** 2) / 8)
    assert selectivity(rectified(np.outer(blob, blob).reshape(1, -1))(g))[0][0] < 0.02  # no orientation
    assert np.isnan(selectivity(np.zeros((*g.shape[:3], 1)))[0][0])  # never answers


def test_selectivity_is_one_less_the_circular_variance():
    """r = 1 + cos 2 (theta - theta0): the sum over theta of r exp(2 i theta) is half the sum of r, at every theta0."""
    theta = np.arange(16) * np.pi / 16
    answer = np.tile((1 + np.cos(2 * (theta - 0.7)))[None, :, None, None], (3, 1, 8, 1))
    answer[1] *= 2  # the frequency of the largest answer decides
    answer[0] = 1.0
    assert selectivity(answer)[0] == pytest.approx([0.5])


@pytest.mark.parametrize("theta, f, phase, width", ((0.3, 0.12, 0.5, 2.5), (1.9, 0.2, 2.0, 3.0), (2.8, 0.1, 4.0, 2.0)))
def test_a_gabor_function_is_found(theta, f, phase, width):
    """Written down anew, off the centre and longer than wide."""
    y, x = np.mgrid[:SIZE, :SIZE] - 5.5
    u, v = (x - 1) * np.cos(theta) + y * np.sin(theta), y * np.cos(theta) - (x - 1) * np.sin(theta)
    field = np.exp(-(u**2 + v**2 / 1.5) / (2 * width**2)) * np.cos(2 * np.pi * f * u + phase)
    assert gabor_fit(field)[0] > 0.999
    noisy = field + 0.1 * np.random.default_rng(0).standard_normal(field.shape)
    r2, fit = gabor_fit(noisy)
    assert r2 == pytest.approx(1 - ((noisy.ravel() - fit) ** 2).sum() / (noisy.var() * SIZE**2))
    assert ((fit - field.ravel()) ** 2).sum() < 0.3 * ((noisy - field) ** 2).sum()


def test_noise_is_no_gabor_function():
    rng = np.random.default_rng(1)
    assert np.mean([gabor_fit(rng.standard_normal(SIZE**2))[0] for _ in range(6)]) < 0.25


# ---------------------------------------------------------------------------------------------- the study
def test_poisson_trains_have_the_rates_of_on_and_off_cells(monkeypatch):
    monkeypatch.setattr(study, "T", 2000)
    x = torch.tensor([[0.5, -1.0, 0.0, 4.0]])
    spikes = next(iter(study.trains(study.rates(x), 1, generator()))).x
    counts = spikes.mean((0, 1)) / study.DT * 1000  # spikes in a bin or none: 1 - exp(-r dt) a bin
    want = -torch.expm1(-torch.tensor([25.0, 0, 0, 100, 0, 50, 0, 0]) * study.DT / 1000) / study.DT * 1000
    assert torch.allclose(counts, want, rtol=0.05)


def test_one_complex_cell_wins_and_simple_cells_divide():
    net = study.visual_cortex(torch.rand(study.COMPLEX, study.ANGLES * study.SHIFTS))
    x = patches([torch.randn(40, 40)], 9, study.SIZE, generator()).double()
    y = net(x)
    assert torch.equal(y.sum(-1), torch.ones(9)) and set(y.unique().tolist()) == {0.0, 1.0}
    r = study.divided(torch.tensor([[3.0, -5.0, 4.0]]))[0]
    want = np.array([9, 0, 16]) / (337**0.5 + 0.1)
    assert r.tolist() == pytest.approx(want - want.mean())


@pytest.mark.parametrize("rule", (Oja(), Sanger()))
def test_the_rows_of_r_stand_for_all_patches(rule):
    x, W0 = torch.randn(500, 6) @ torch.randn(6, 6) / 3, torch.randn(4, 6)
    few = study.same_covariance(x)
    assert few.x.shape == (6, 6)
    one, other = (study.learned(study.recipe("it", rule, 0.05), identity, W0, [b] * 5) for b in (study.Batch(x), few))
    assert (one - W0).norm() > 0.1 and torch.allclose(one, other, rtol=1e-10, atol=1e-12)


def test_rows_claims_and_figure(monkeypatch):
    """A toy of the whole: two seeds, hardly trained; Sanger is the eigenvectors, and the figure comes from rows alone."""
    torch.set_default_dtype(torch.float32)
    monkeypatch.setattr(study, "gabor_fit", lambda w: (0.5, w))
    small = {
        "PATCHES": 400,
        "UNITS": 5,
        "SHOWN": 4,
        "LANES": 4,
        "FILMS": 3,
        "FRAMES": 4,
        "STEPS_STILL": 3,
    }
    for name, value in (small | {"STEPS_WHOLE": 3000, "STEPS_SPIKES": (2, 0), "STEPS_FILMS": (2, 0)}).items():
        monkeypatch.setattr(study, name, value)
    rows, claims = study.run(study.Mode(seeds=2, quick=True))
    held = {c["name"]: c["holds"] for c in claims}
    assert len(held) == len(claims) and all(h for n, h in held.items() if n.startswith(("oja", "F1/F0: simple")))
    drawn = {r["recipe"] for r in rows if r["quantity"] == "weight"}
    assert drawn == {*study.FIELDS, *study.COMPLEX_CELLS} and {r["seed"] for r in rows} == {0, 1}
    assert len(study.draw(rows, {"seeds": [0, 1]}).axes) == 10 * 4 + 4
