"""neurosim: brain-inspired learning rules side by side with backpropagation. Read `neurosim.plasticity` first."""

from neurosim.plasticity import (
    Batch,
    Credit,
    Gradient,
    Layer,
    Learner,
    Rate,
    Recipe,
    Record,
    Rule,
    Trial,
    alignment,
    outer,
    play,
)

__version__ = "0.1.0"
__all__ = [
    "Batch", "Credit", "Gradient", "Layer", "Learner", "Rate", "Recipe", "Record", "Rule", "Trial", "alignment",
    "outer", "play",
]  # fmt: skip
