"""neurosim: brain-inspired learning rules side by side with backpropagation. Read `neurosim.plasticity` first."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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


def __getattr__(name: str) -> Any:
    """The names above, fetched when first used: so the command line starts at once, and answers Ctrl-C from the start."""
    if name not in __all__:
        raise AttributeError(f"module 'neurosim' has no attribute {name!r}")
    from neurosim import plasticity

    return getattr(plasticity, name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
