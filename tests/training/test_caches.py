"""Parts are made in other processes, and what one of them raises is told."""

import os
from functools import partial

import pytest


def test_parts_are_made_until_one_of_them_fails(training, tmp_path):
    with pytest.raises(FileNotFoundError):
        training.caches._at_once([partial(os.mkdir, tmp_path / name) for name in ("one", "no/two")])
    assert (tmp_path / "one").is_dir()
