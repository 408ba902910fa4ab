"""What vLLM lays out of a prompt, without a server."""

import pytest
from vllm.config import ModelConfig
from vllm.exceptions import VLLMValidationError
from vllm.multimodal import MULTIMODAL_REGISTRY

from wordsight.demo import MODEL
from wordsight.integrations.vllm import register
from wordsight.integrations.vllm.command import PRUNES_FILMS, config_overrides

# What vLLM imports warns of itself.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture(scope="module")
def processors():
    """Those of two servers, whose first pruners differ."""
    register()
    found = []
    for specs in (["divprune:tokens=29", "uniform:tokens=29"], ["uniform:tokens=29"]):
        config = ModelConfig(
            model=str(MODEL),
            hf_overrides=config_overrides(str(MODEL), specs),
            video_pruning_rate=float(PRUNES_FILMS),
            dtype="float32",
            max_model_len=1024,
        )
        found.append(MULTIMODAL_REGISTRY.create_processor(config))
    return found


def test_pictures_that_are_pruned_another_way_are_not_found_again(processors, noise):
    asked = [{}, {"pruner": "uniform"}, {"keep": 0.2}, {"keep": 0.3}, {"positions": "contiguous"}]
    hashes = set()
    for processor in processors:
        ids = processor.info.get_tokenizer().encode("user: <image> what is this? assistant:")
        for says in asked:
            items = processor.info.parse_mm_data({"image": [noise(0, 48, 48)]})
            made = processor(ids, items, hf_processor_mm_kwargs={"wordsight": says} if says else {})
            hashes.update(made["mm_hashes"]["image"])
    assert len(hashes) == len(processors) * len(asked)


def test_no_more_pictures_are_taken_than_have_positions(processors, noise):
    # vLLM has positions for 4 * 4,096 tokens, of which a prompt takes 1,024 and a picture 144.
    info, picture = processors[0].info, noise(0, 48, 48)
    assert len(info.parse_mm_data({"image": [picture] * 106})["image"]) == 106
    with pytest.raises(VLLMValidationError, match="At most 106"):
        info.parse_mm_data({"image": [picture] * 107})
