"""Garbage collection is off while modules load."""

import gc

import pytest

from skipclm.runtime.startup import without_garbage_collection


def test_garbage_collection_is_off_within_the_block():
    assert gc.isenabled()
    with without_garbage_collection():
        assert not gc.isenabled()
    assert gc.isenabled()
    assert gc.get_freeze_count()
    gc.unfreeze()


def test_garbage_collection_is_on_again_after_an_error():
    with pytest.raises(ImportError), without_garbage_collection():
        raise ImportError
    assert gc.isenabled()
    gc.unfreeze()
