"""Jobs that need torch and transformers are ready sooner if Python does not tidy up while it loads them."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def loading() -> Iterator[None]:
    """Disable garbage collection during imports: there is no garbage, and the collector costs much of their time."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()  # what was loaded stays to the end, and is never looked through
        gc.enable()
