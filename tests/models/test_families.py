"""Families: found by file name; cells, signals and regions against the model and the processor themselves."""

import copy

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPImageProcessor

from wordsight.errors import UsageError
from wordsight.models import families
from wordsight.models.families.base import Grid, VisionContext, square_of
from wordsight.models.vlm import VLM

QUESTION = "what is the background?"
SIGNALS = frozenset({"cls_attention", "cls_similarity", "features"})
every_family = pytest.mark.parametrize("name", families.names())
# What is projected, as vision_feature_layer counts it, and the layer of the tower that computes it.
layers = pytest.mark.parametrize(("chosen", "layer"), [(-1, 1), (-2, 0), (1, 0), (2, 1)])


def with_layer(vlm, chosen):
    model = copy.deepcopy(vlm.model)
    model.config.vision_feature_layer = chosen
    return VLM(model, vlm.processor, "another layer")


def tower_outputs(vlm, pictures):
    """What the vision tower itself says it attends to and computes, with eager attention."""
    model = copy.deepcopy(vlm.model)
    model.set_attn_implementation("eager")
    pixels = vlm.processor.image_processor(pictures, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        return model.model.vision_tower(pixels, output_attentions=True, output_hidden_states=True)


def hooks(model):
    return [
        (name, hook)
        for name, module in model.named_modules()
        for hook in (*module._forward_hooks.values(), *module._forward_pre_hooks.values())
    ]


@pytest.fixture
def pictures(picture):
    return [picture, picture.rotate(90), Image.new("RGB", (192, 192), "red")]


def test_llava_is_found():
    assert "llava" in families.names()


def test_the_base_class_is_no_family():
    assert "base" not in families.names()


@every_family
def test_a_family_is_found_by_its_model_type(name):
    assert isinstance(families.family(name), families.Family)


@pytest.mark.parametrize("name", ["lava", "", "base", "llava.llava"])
def test_an_unknown_model_type_prunes_without_a_picture_map_and_says_so(name):
    with pytest.warns(UserWarning, match=f"'{name}' has no picture map .*llava"):
        assert not families.family(name).has_picture_map


def test_a_prompt_has_a_cell_for_every_token_of_several_images(tiny, pictures):
    cell = tiny.encode(pictures, QUESTION).visual.cell
    expected = [[image, 0, row, column] for image in range(3) for row in range(12) for column in range(12)]
    assert cell.tolist() == expected


def test_the_projector_makes_visual_tokens_of_vision_features(tiny, prompt, picture):
    features = tower_outputs(tiny, picture).hidden_states[-1][0, 1:]
    with torch.no_grad():
        projected = tiny.family.projector(tiny.model)(features)
    torch.testing.assert_close(prompt.visual.embeds, projected, rtol=1e-4, atol=1e-4)


@layers
def test_cls_attention_is_what_the_tower_says_it_attends_to(tiny, pictures, chosen, layer):
    prompt = with_layer(tiny, chosen).encode(pictures, QUESTION, signals=frozenset({"cls_attention"}))
    weights = tower_outputs(tiny, pictures).attentions[layer]  # (images, heads, 1 + patches, 1 + patches)
    slow = [row[head, 0, 1:] for row in weights for head in range(4)]
    means = torch.cat([torch.stack(slow[i : i + 4]).mean(0) for i in (0, 4, 8)])
    torch.testing.assert_close(prompt.visual.signals["cls_attention"], means, rtol=1e-5, atol=1e-6)


@layers
def test_cls_similarity_is_the_cosine_of_the_towers_own_features(tiny, pictures, chosen, layer):
    prompt = with_layer(tiny, chosen).encode(pictures, QUESTION, signals=frozenset({"cls_similarity"}))
    states = tower_outputs(tiny, pictures).hidden_states[layer + 1].double()
    slow = [patch @ one[0] / (patch.norm() * one[0].norm()) for one in states for patch in one[1:]]
    torch.testing.assert_close(
        prompt.visual.signals["cls_similarity"], torch.stack(slow).float(), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("names", [[], ["cls_attention"], ["cls_similarity"], sorted(SIGNALS)])
def test_only_the_signals_asked_for_are_collected(tiny, picture, names):
    prompt = tiny.encode(picture, QUESTION, signals=frozenset(names))
    assert sorted(prompt.visual.signals) == names


def test_collecting_does_not_change_the_visual_tokens(tiny, prompt, picture):
    assert torch.equal(tiny.encode(picture, QUESTION, signals=SIGNALS).visual.embeds, prompt.visual.embeds)


def test_signals_are_there_in_half_precision(tiny, picture):
    half = VLM(copy.deepcopy(tiny.model).bfloat16(), tiny.processor, "half")
    rough = half.encode(picture, QUESTION, signals=SIGNALS).visual.signals
    exact = tiny.encode(picture, QUESTION, signals=SIGNALS).visual.signals
    torch.testing.assert_close(dict(rough), dict(exact), rtol=0.1, atol=0.05)


def test_collecting_leaves_no_hooks_behind(tiny, picture):
    before = hooks(tiny.model)
    tiny.encode(picture, QUESTION, signals=SIGNALS)
    assert hooks(tiny.model) == before


def test_a_tower_that_fails_leaves_no_hooks_behind(tiny):
    before, tower = hooks(tiny.model), tiny.family.tower(tiny.model)
    with pytest.raises(RuntimeError, match="no"), tower.collect_signals(tower.signals):
        raise RuntimeError("no")
    assert hooks(tiny.model) == before


@pytest.mark.parametrize(
    "option", [{"vision_feature_layer": [-2, -1]}, {"vision_feature_select_strategy": "full"}]
)
def test_signals_of_a_model_without_one_layer_and_cls_are_refused(tiny, picture, option):
    model = copy.deepcopy(tiny.model)
    for name, value in option.items():
        setattr(model.config, name, value)
    with pytest.raises(UsageError, match="cls_attention"):
        VLM(model, tiny.processor, "other").encode(picture, QUESTION, signals=frozenset({"cls_attention"}))


def test_a_model_with_several_feature_layers_encodes_without_signals(tiny, picture):
    model = copy.deepcopy(tiny.model)
    model.config.vision_feature_layer = [-2, -1]
    model.model.multi_modal_projector.linear_1 = torch.nn.Linear(64, 32)
    assert len(VLM(model, tiny.processor, "several").encode(picture, QUESTION).visual) == 144


class Cropping:
    """A processor that scales the short side and crops the middle, as the one of LLaVA 1.5 does."""

    image_processor = CLIPImageProcessor(
        size={"shortest_edge": 48},
        crop_size={"height": 48, "width": 48},
        image_mean=[0, 0, 0],
        image_std=[1, 1, 1],
    )


SIZES = pytest.mark.parametrize("size", [(192, 192), (300, 200), (200, 300), (640, 96)])


def region(vlm, processor, size):
    """What the grid of a picture covers, in its pixels."""
    context = VisionContext(vlm.model.config, processor, {}, [torch.zeros(144, 8)], [size], False)
    (grid,) = vlm.family.grids(context)
    return tuple(share * edge for share, edge in zip(grid.region, size * 2, strict=True))


@SIZES
def test_without_a_crop_the_grid_covers_the_whole_picture(tiny, size):
    assert region(tiny, tiny.processor, size) == (0, 0, *size)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((192, 192), (0, 0, 192, 192)),
        ((300, 200), (50, 0, 250, 200)),
        ((200, 300), (0, 50, 200, 250)),
        ((101, 100), (0.5, 0, 100.5, 100)),
    ],
)
def test_with_a_center_crop_the_grid_covers_the_middle_square(tiny, size, expected):
    assert region(tiny, Cropping, size) == pytest.approx(expected)


@SIZES
def test_the_crop_is_what_the_image_processor_reads(tiny, size):
    left, top, right, bottom = (round(edge) for edge in region(tiny, Cropping, size))
    picture = Image.new("RGB", size, "black")
    picture.paste((255, 255, 255), (left, top, right, bottom))
    read = np.asarray(Cropping.image_processor(picture)["pixel_values"][0])
    # A pixel at the edge mixes with its neighbor outside.
    assert read[:, 2:-2, 2:-2].min() > 0.99


@SIZES
def test_the_edge_of_the_crop_is_the_edge_of_what_the_image_processor_reads(tiny, size):
    left, top, right, bottom = (round(edge) for edge in region(tiny, Cropping, size))
    picture = Image.new("RGB", size, "white")
    rim = 1 + (right - left) // 24
    picture.paste((0, 0, 0), (left + rim, top + rim, right - rim, bottom - rim))
    read = np.asarray(Cropping.image_processor(picture)["pixel_values"][0])
    edges = [read[:, 0], read[:, -1], read[:, :, 0], read[:, :, -1]]
    assert min(edge.min() for edge in edges) > 0.5


def test_the_square_around_a_picture_begins_outside_of_it():
    assert square_of((200, 100), inside=False) == (0, -0.5, 1, 1.5)
    assert square_of((200, 100), inside=True) == (0.25, 0, 0.75, 1)


def test_the_boxes_of_a_tile_are_its_part_of_the_whole_grid():
    tile = Grid(0, 1, rows=1, columns=2, top=1, left=2, whole=(2, 4), row_breaks=True)
    assert tile.cells() == [(0, 1, 1, 2), (0, 1, 1, 3), (0, 1, 1, -1)]
    assert tile.boxes() == [(0.5, 0.5, 0.75, 1), (0.75, 0.5, 1, 1), (1, 0.5, 1, 1)]
