"""Every family's files say which checkpoint they are, and its processor takes options."""

import pytest

from wordsight import LoadOptions
from wordsight.models.fingerprints import fingerprint_of_files, fingerprint_of_model
from wordsight.models.vlm import VLM

OPTIONS = {  # of those that make fewer tokens of a picture, where a family has one
    "idefics3": {"do_image_splitting": False},
    "internvl": {"max_patches": 1},
    "perception_lm": {"vision_input_type": "vanilla"},
    "qwen2_5_vl": {"max_pixels": 28 * 28 * 2},
    "qwen2_vl": {"max_pixels": 28 * 28 * 2},
    "qwen3_vl": {"max_pixels": 32 * 32 * 2},
    "smolvlm": {"do_image_splitting": False},
}


def test_the_fingerprint_of_its_files_is_that_of_its_weights(vlm):
    assert fingerprint_of_files(vlm.name, LoadOptions()) == fingerprint_of_model(vlm.model, vlm.family)


@pytest.mark.parametrize("name", OPTIONS)
def test_options_of_its_processor_make_fewer_tokens(checkpoint, loaded, picture, name):
    image = picture(180, 120, 0)
    changed = VLM.from_pretrained(str(checkpoint(name)), LoadOptions(processor=OPTIONS[name]))
    whole, fewer = (vlm.encode(image, "what is it?").visual for vlm in (loaded(name), changed))
    assert 0 < len(fewer) < len(whole)
