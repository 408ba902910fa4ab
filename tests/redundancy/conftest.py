"""Evidence of three rendered pictures, a shard each."""

import pytest

from wordsight.redundancy import collecting
from wordsight.redundancy.collecting import collect_evidence
from wordsight.synthetic.scenes import render

NUMBER = 3


@pytest.fixture
def one_picture_per_shard(monkeypatch):
    monkeypatch.setattr(collecting, "SHARD_PICTURES", 1)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for seed in range(NUMBER):
        render(seed).image.save(folder / f"{seed}.png")
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def whole(tiny, pictures, tmp_path_factory):
    """The folder of a run of all experiments that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(collecting, "SHARD_PICTURES", 1)
        collect_evidence(tiny, pictures, folder)
    return folder
