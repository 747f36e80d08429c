"""Faster imports of torch and transformers."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Disable garbage collection during imports, where it takes time and finds no garbage."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()  # the collector never checks the loaded modules
        gc.enable()
