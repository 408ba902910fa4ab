"""Quantized weights of bitsandbytes and torchao, for real: `make test-extras` installs them."""

import pytest
import torch
from transformers import AutoModelForImageTextToText, BitsAndBytesConfig

from wordsight import LoadOptions
from wordsight.models.vlm import VLM
from wordsight.redundancy.experiments import measure_tokens

pytestmark = pytest.mark.filterwarnings("ignore")  # of bitsandbytes and torchao
QUESTION = "what is the background?"


@pytest.mark.parametrize("kind", ["bnb-8bit", "bnb-4bit", "torchao-8bit"])
def test_a_quantized_load_keeps_tokens_and_fingerprint(saved, picture, kind):
    base, quantized = (
        VLM.from_pretrained(str(saved), LoadOptions(dtype="bfloat16", quantization=each))
        for each in (None, kind)
    )
    weights = [vlm.model.get_decoder().layers[0].self_attn.q_proj.weight for vlm in (base, quantized)]
    assert type(weights[0]) is not type(weights[1])
    assert (quantized.fingerprint, quantized.parts) == (base.fingerprint, base.parts)
    tokens = [vlm.encode(picture, QUESTION).visual.embeds for vlm in (base, quantized)]
    assert torch.equal(*tokens)


def test_a_folder_in_8_bits_has_a_fingerprint_and_its_tokens_can_be_measured(saved, tmp_path, picture):
    """All of its layers are, the projector too."""
    config = BitsAndBytesConfig(load_in_8bit=True)
    model = AutoModelForImageTextToText.from_pretrained(saved, quantization_config=config)
    model.save_pretrained(tmp_path)
    base = VLM.from_pretrained(str(saved))
    base.processor.save_pretrained(tmp_path)
    folder = VLM.from_pretrained(str(tmp_path))
    assert folder.model.model.multi_modal_projector.linear_1.weight.dtype == torch.int8
    assert folder.fingerprint == VLM(folder.model, folder.processor, "in memory").fingerprint
    assert folder.fingerprint != base.fingerprint
    columns = measure_tokens(folder, picture.resize((32, 32)), (QUESTION,))
    assert all(column.isfinite().all() for column in columns.values())
