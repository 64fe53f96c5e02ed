"""One thread, float64 and a fixed seed for every test: exactness is asserted all over."""

import pytest
import torch


@pytest.fixture(autouse=True)
def exact_and_seeded():
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def single_precision(exact_and_seeded):
    """torch's own default type, for tests of what takes it: `pytestmark = pytest.mark.usefixtures("single_precision")`."""
    torch.set_default_dtype(torch.float32)


def pytest_collection_modifyitems(items):
    if not torch.cuda.is_available():
        for item in items:
            if "gpu" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="no CUDA device on this machine"))
