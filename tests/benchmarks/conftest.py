"""The modules of benchmarks and of training/photos, which are no packages."""

import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = [str(ROOT / "benchmarks"), str(ROOT / "training" / "photos")]
MODULES = "bars bench beyond_codebook coverage device_operations everything fresh kinds methods oracle"
MODULES += " over_models photos pool pruned_training rerun rerun_seeds run seeds subjects verdict"


@pytest.fixture(scope="module")
def benchmarks():
    """The modules by name; they are gone afterwards, as other folders have some of the same names."""
    before = set(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        for folder in FOLDERS:
            patch.syspath_prepend(folder)
        yield SimpleNamespace(**{name: import_module(name) for name in MODULES.split()})
    for name in set(sys.modules) - before:
        if any(folder in str(getattr(sys.modules[name], "__file__", "")) for folder in FOLDERS):
            del sys.modules[name]
