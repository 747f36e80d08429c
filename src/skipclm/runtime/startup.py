"""Jobs that need torch and transformers are ready sooner if Python does not tidy up while it loads them."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def loading() -> Iterator[None]:
    """Look for no garbage while the block imports: there is none, and to look takes longer than one thinks."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()  # what was loaded stays to the end, and is never looked through
        gc.enable()
