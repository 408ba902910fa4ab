"""What vLLM lays out of a prompt, without a server."""

from types import SimpleNamespace

import pytest
import torch
from vllm.config import ModelConfig
from vllm.exceptions import VLLMValidationError
from vllm.multimodal import MULTIMODAL_REGISTRY

from wordsight.demo import MODEL
from wordsight.errors import UsageError
from wordsight.integrations.vllm import register
from wordsight.integrations.vllm.command import PRUNES_FILMS, config_overrides

# What vLLM imports warns of itself.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture(scope="module")
def processors():
    """Those of two servers, whose first pruners differ."""
    register()
    return [
        MULTIMODAL_REGISTRY.create_processor(config_of(specs))
        for specs in (["divprune:tokens=29", "uniform:tokens=29"], ["uniform:tokens=29"])
    ]


def config_of(specs, **options):
    return ModelConfig(
        model=str(MODEL),
        hf_overrides=config_overrides(str(MODEL), specs),
        video_pruning_rate=float(PRUNES_FILMS),
        dtype="float32",
        max_model_len=1024,
        **options,
    )


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


def test_what_a_server_says_of_all_requests_is_no_option_of_one():
    register()
    config = config_of(["divprune"], mm_processor_kwargs={"wordsight": {"keep": 0.1}})
    with pytest.raises(UsageError, match="say what holds for all of them by `wordsight serve --pruner`"):
        MULTIMODAL_REGISTRY.create_processor(config)


@pytest.mark.parametrize("pieces", [[0], [0, 4], [0, 2, 5]])
@pytest.mark.parametrize("ends", [True, False])
def test_positions_are_those_of_the_whole_film_however_a_prompt_is_read(pieces, ends):
    """Of a film of two frames, 2 x 3 tokens each, four are kept; the prompt ends in it, or goes on."""
    from wordsight.integrations.vllm.pruning import CHOICE, PrunedModel

    kept = torch.tensor([[0, 0, 1, 2], [0, 1, 0, 2], [1, 0, 0, 2], [1, 1, 1, 2]])
    features = torch.cat([torch.randn(4, 8), kept * 0, kept.float()], 1)
    ids = [5, 5, 9, 9, 9, 9] + [5] * (not ends)
    film = SimpleNamespace(
        modality="video",
        mm_position=SimpleNamespace(offset=2, length=4, is_embed=None),
        data={f"{CHOICE}video": SimpleNamespace(data=torch.tensor([0, 0.3, 0, 0, 4, 3]))},
    )
    model = SimpleNamespace(config=SimpleNamespace(image_token_id=8, video_token_id=9))
    positions, more = PrunedModel.get_mrope_input_positions(model, ids, [film])
    for begin, end in [*zip(pieces, [*pieces[1:], len(ids)], strict=True)] * 2:  # twice: it was preempted
        part = features[max(0, begin - 2) : max(0, end - 2)]
        given = [part] if len(part) else []
        left, positions, delta = PrunedModel.recompute_mrope_positions(model, ids, given, positions, begin)
        assert all(one.shape[1] == 8 for one in left)
    assert delta == more == 2 + 3 + (not ends) - len(ids)
    text = [[5], [5], [5]] if not ends else [[], [], []]
    expected = torch.tensor([[0, 1, 2, 2, 3, 3], [0, 1, 2, 3, 2, 3], [0, 1, 3, 2, 2, 3]])
    assert positions.tolist() == [row + more for row, more in zip(expected.tolist(), text, strict=True)]
