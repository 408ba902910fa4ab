"""What `wordsight info` says of a checkpoint agrees with what its prompts hold."""

import facts
import pytest
from PIL import Image

from wordsight.analysis.model_info import describe_model
from wordsight.redundancy.probe import QUESTION

RUN_ANYWHERE = {"divprune", "random", "uniform"}


@pytest.mark.parametrize("size", [(64, 64), (90, 40)])
def test_info_counts_what_a_prompt_holds(vlm, size):
    found = describe_model(vlm, size)
    prompt = vlm.encode(Image.new("RGB", size), QUESTION)
    assert found["family"] == vlm.model.config.model_type
    assert found["visual_tokens"] == len(prompt.visual) == int(prompt.is_visual.sum())
    if facts.kind(vlm) in facts.NO_MAP:
        assert not found["grids"]
        return
    in_grids = sum(grid["rows"] * grid["columns"] for grid in found["grids"])
    assert in_grids + found["line_breaks"] == found["visual_tokens"]
    assert found["positions"] == ("M-RoPE" if facts.kind(vlm) in facts.M_ROPE else "1-D")
    assert found["pad_embedding"] == "<pad>"
    assert "QUESTION" in found["prompt"]


def test_info_names_the_pruners_that_can_run_and_why_others_cannot(vlm):
    found = describe_model(vlm)["pruners"]
    assert all(found[name] is None for name in RUN_ANYWHERE)
    kind = facts.kind(vlm)
    assert (found["cls_topk"] is None) == (kind not in facts.NO_SIGNALS)
    has_cls = kind in facts.CLS_SIGNALS
    assert (found["cls_similarity"] is None) == has_cls
    if not has_cls:
        assert "cls_similarity" in found["cls_similarity"]


def test_info_says_whether_the_tower_has_a_cls_token(vlm):
    assert describe_model(vlm)["cls"] == (facts.kind(vlm) in facts.HAVE_CLS)
