"""Garbage is left alone while modules load, and no longer."""

import gc

import pytest

from skipclm.runtime.startup import loading


def test_garbage_is_left_alone_within_the_block():
    assert gc.isenabled()
    with loading():
        assert not gc.isenabled()
    assert gc.isenabled()
    assert gc.get_freeze_count()
    gc.unfreeze()


def test_garbage_is_collected_again_after_an_error():
    with pytest.raises(ImportError), loading():
        raise ImportError
    assert gc.isenabled()
    gc.unfreeze()
