"""Release unused memory, and recognize errors that mean a lack of memory."""

import ctypes
from contextlib import suppress

import torch

# Messages of CUDA and of the CPU allocator in errors other than `OutOfMemoryError`.
MESSAGES = ("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "can't allocate memory")


def return_large_blocks() -> None:
    """Make glibc return blocks of 16 MiB and more to the system when they are freed; do nothing without glibc.

    By default glibc retains large blocks after a while. Batches of many sizes then fragment the memory.
    """
    mmap_threshold, trim_threshold = -3, -1  # M_MMAP_THRESHOLD and M_TRIM_THRESHOLD of malloc.h
    with suppress(AttributeError, OSError):
        glibc = ctypes.CDLL(None)
        glibc.mallopt(mmap_threshold, 16 * 2**20)
        glibc.mallopt(trim_threshold, 2**30)  # small blocks are retained for the next step


def is_out_of_memory(error: RuntimeError) -> bool:
    """Return whether an error means a lack of memory, of the machine or of the accelerator."""
    return isinstance(error, torch.OutOfMemoryError) or any(message in str(error) for message in MESSAGES)


def release() -> None:
    """Release the memory that the allocator of the accelerator caches."""
    if torch.accelerator.is_available():
        torch.accelerator.empty_cache()
