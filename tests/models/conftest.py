import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """CPU results are bit-identical only at a fixed number of threads."""
    torch.set_num_threads(1)
