"""How to do with little memory: what is free is given back, and a lack of it is told from other errors."""

import ctypes
from contextlib import suppress

import torch

# What CUDA and the CPU's allocator say that raises no `OutOfMemoryError`.
LACK = ("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "can't allocate memory")


def return_large_blocks() -> None:
    """Have glibc give memory blocks of 16 MiB and more back as soon as they are free; elsewhere do nothing.

    Left alone it learns to keep them, and batches of ever new sizes leave holes between them.
    """
    large_block, spare_memory = -3, -1  # M_MMAP_THRESHOLD and M_TRIM_THRESHOLD of malloc.h
    with suppress(AttributeError, OSError):
        glibc = ctypes.CDLL(None)
        glibc.mallopt(large_block, 16 * 2**20)
        glibc.mallopt(spare_memory, 2**30)  # what is small stays: the next step wants it again


def is_lacking(error: RuntimeError) -> bool:
    """Tell whether an error means that memory, of the machine or of its accelerator, did not suffice."""
    return isinstance(error, torch.OutOfMemoryError) or any(said in str(error) for said in LACK)


def release() -> None:
    """Give back what the accelerator's allocator keeps, for tries with less."""
    if torch.accelerator.is_available():
        torch.accelerator.empty_cache()
