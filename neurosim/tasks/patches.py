"""Patches of natural images: scikit-learn's two photographs as the retina sees them, still or as films of a moving gaze.

A patch is a row of size x size numbers, row by row from the top left.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def photographs(centre: float = 1.0, surround: float = 2.0) -> list[Tensor]:
    """china.jpg and flower.jpg, [427, 640] each:  z = G(centre) * g - G(surround) * g,  g = log(1 + grey),  z / sd(z).

    grey = .299 R + .587 G + .114 B in 0..255; G(s) is a Gaussian of s.d. s pixels: a difference of Gaussians on the
    logarithm of intensity, as ganglion cells answer to contrast. ValueError unless 0 < centre < surround. The pictures
    come with scikit-learn, which reads them with Pillow.
    """
    from scipy.ndimage import gaussian_filter
    from sklearn.datasets import load_sample_images

    if not 0 < centre < surround:
        raise ValueError(f"centre, surround: given {centre}, {surround}; needed is 0 < centre < surround")
    found = []
    for image in load_sample_images().images:
        g = np.log1p(image.astype(float) @ [0.299, 0.587, 0.114])
        z = gaussian_filter(g, centre) - gaussian_filter(g, surround)
        found.append(torch.tensor(z / z.std(), dtype=torch.float32))
    return found


def patches(images: Sequence[Tensor], n: int, size: int, generator: torch.Generator) -> Tensor:
    """[n, size^2] windows at random places of random images, each standardised (see `standardised`)."""
    return films(images, n, 1, size, 0, generator)[0]


def films(images: Sequence[Tensor], n: int, frames: int, size: int, speed: float, generator: torch.Generator) -> Tensor:
    """[frames, n, size^2]: windows that move `speed` pixels a frame over an image, straight on in a random direction.

    Places are rounded to pixels and stay inside the image; each window is standardised. ValueError where an image is
    too small for the way.
    """
    way = speed * (frames - 1)
    if frames < 1 or n < 1 or speed < 0:
        raise ValueError(f"n, frames, speed: given {n}, {frames}, {speed}; needed are n, frames >= 1 and speed >= 0")
    if least := [tuple(i.shape) for i in images if min(i.shape) < size + way]:
        raise ValueError(f"size: a window of {size} pixels that moves {way:g} does not fit into an image of {least[0]}")
    which = torch.randint(len(images), (n,), generator=generator)
    angle = 2 * torch.pi * torch.rand(n, generator=generator)
    found = torch.empty(frames, n, size * size, dtype=images[0].dtype)
    steps = torch.arange(frames)[:, None] * speed
    for k, image in enumerate(images):
        mine = which == k
        corner = []
        for length, move in zip(image.shape, (angle.sin(), angle.cos()), strict=True):
            path = steps * move[mine]  # [frames, n]
            room = length - size - (path.amax(0) - path.amin(0)).ceil()
            drawn = torch.rand(int(mine.sum()), generator=generator)
            first = (drawn * (room + 1)).floor().clamp(max=room) - path.amin(0)
            corner.append((first + path).round().long().clamp(0, length - size))
        windows = image.unfold(0, size, 1).unfold(1, size, 1)  # a view [y, x, size, size]
        found[:, mine] = windows[corner[0], corner[1]].flatten(-2)
    return standardised(found)


def standardised(x: Tensor, floor: float = 0.3) -> Tensor:
    """(x - mean) / (sd + floor), over each patch's pixels: contrast gain control that leaves flat patches weak."""
    x = x - x.mean(-1, keepdim=True)
    return x / (x.square().mean(-1, keepdim=True).sqrt() + floor)


def on_off(x: Tensor) -> Tensor:
    """[..., n] -> [..., 2 n], not negative: max(x, 0) of the ON cells, then max(-x, 0) of the OFF cells."""
    return torch.cat((x.clamp(min=0), (-x).clamp(min=0)), -1)
