"""Weights that a device_map offloads are read as those that are there; those of quantized models are, too."""

import copy
import sys
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch

from wordsight.models.offloading import input_device
from wordsight.models.vlm import VLM
from wordsight.pruners.cdpruner import CDPruner
from wordsight.pruners.embedlens import EmbedLens
from wordsight.pruners.mmtok import MMTok

QUESTION = "what is the background?"


@pytest.fixture
def offloaded(tiny, monkeypatch):
    """The tiny model with its embeddings on the meta device, but while accelerate, here made up, puts them
    back: in their own pass, and when it is asked to.
    """
    model = copy.deepcopy(tiny.model)
    embeddings = model.get_input_embeddings()
    there = embeddings.weight
    away = torch.nn.Parameter(there.to("meta"))
    embeddings.weight = away

    @contextmanager
    def align_module_device(module):
        if module is embeddings:
            module.weight = there
        yield
        if module is embeddings:
            module.weight = away

    def put(value):
        embeddings.weight = value

    embeddings.register_forward_pre_hook(lambda *given: put(there))
    embeddings.register_forward_hook(lambda *given: put(away))
    utils = SimpleNamespace(align_module_device=align_module_device)
    monkeypatch.setitem(sys.modules, "accelerate", SimpleNamespace(utils=utils))
    monkeypatch.setitem(sys.modules, "accelerate.utils", utils)
    return VLM(model, tiny.processor, "offloaded")


def test_offloaded_embeddings_give_the_same_signals_and_choices(tiny, offloaded, picture):
    for pruner in (MMTok(tokens=9), CDPruner(tokens=9), EmbedLens(tokens=9)):
        here, there = (
            vlm.encode(picture, QUESTION, signals=pruner.required_signals) for vlm in (tiny, offloaded)
        )
        assert torch.equal(pruner(there).visual.slot, pruner(here).visual.slot)


def test_offloaded_embeddings_have_the_same_fingerprint_and_padding(tiny, offloaded):
    assert offloaded.fingerprint == tiny.fingerprint
    assert torch.equal(offloaded.pad_embedding, tiny.pad_embedding)
    assert offloaded.model.get_input_embeddings().weight.is_meta


def test_inputs_of_a_model_that_is_all_away_go_where_it_computes(tiny):
    assert input_device(tiny.model) == torch.device("cpu")
    away = copy.deepcopy(tiny.model).to("meta")
    assert input_device(away) == torch.device("cpu")
    away.model.vision_tower._hf_hook = SimpleNamespace(execution_device="cuda:1")
    assert input_device(away) == torch.device("cuda:1")


def test_a_projector_with_a_number_among_its_tensors_has_a_fingerprint(tiny):
    """As one in 8 bits has: a tensor without dimensions that names its format."""
    model = copy.deepcopy(tiny.model)
    model.model.multi_modal_projector.register_buffer("weight_format", torch.tensor(0, dtype=torch.uint8))
    assert len(VLM(model, tiny.processor, "int8").fingerprint) == 16
