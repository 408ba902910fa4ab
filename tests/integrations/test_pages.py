"""The code of the pages about programs that are not installed here runs, against stand-ins of them."""

import pickle
import re
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from wordsight import VLM, DivPrune, demo

DOCS = Path(__file__).parents[2] / "docs"
PICTURE = demo.MODEL.parent / "pictures" / "garden.png"
QUESTION = "What is this?"


def run(page, **replaced):
    """The names that the Python block of a page defines, with other texts in the place of some."""
    source = re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)[0]
    for old, new in replaced.values():
        assert old in source
        source = source.replace(old, new)
    names = {"__name__": page}
    exec(compile(source, page, "exec"), names)
    return names


@pytest.fixture
def here(tmp_path, monkeypatch):
    shutil.copy(PICTURE, tmp_path / "picture.png")
    monkeypatch.chdir(tmp_path)


class BaseModel:
    """What VLMEvalKit calls of its class of this name, and what that does before `generate_inner`."""

    allowed_types = ("text", "image", "video")

    def __init__(self):
        self.dump_image_func = None

    def generate(self, message, dataset=None):
        assert all(each["type"] in self.allowed_types for each in message)
        return self.generate_inner(message, dataset)


@pytest.fixture
def supported(monkeypatch):
    """The dictionary of models of a stand-in of VLMEvalKit."""
    modules = {
        name: ModuleType(name) for name in ("vlmeval", "vlmeval.config", "vlmeval.vlm", "vlmeval.vlm.base")
    }
    modules["vlmeval.config"].supported_VLM = {}
    modules["vlmeval.vlm.base"].BaseModel = BaseModel
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    return modules["vlmeval.config"].supported_VLM


def test_the_entry_of_vlmevalkit_answers_as_the_library(here, supported):
    run("vlmevalkit.md", model=("llava-hf/llava-1.5-7b-hf", str(demo.MODEL)))
    (build,) = supported.values()
    model = build()
    message = [{"type": "image", "value": "picture.png"}, {"type": "text", "value": QUESTION}]
    expected = VLM(model.model, model.processor, "demo").answer(
        "picture.png", QUESTION, pruner=DivPrune(keep=0.2), max_new_tokens=512
    )
    assert model.generate(message, dataset="MME") == expected.text.strip()
    assert (expected.tokens_kept, expected.tokens_total) == (29, 144)


def test_a_request_for_sglang_has_a_placeholder_for_every_embedding(here):
    names = run("sglang.md", model=("google/gemma-3-4b-it", "demo"))
    request, vlm = pickle.loads(pickle.dumps(names["request"])), names["vlm"]
    (item,) = request["image_data"]
    assert item["format"] == "precomputed_embedding"
    assert item["feature"].shape == (29, vlm.pad_embedding.shape[-1])
    assert item["feature"].dtype == vlm.model.dtype
    assert request["input_ids"].count(vlm.model.config.image_token_id) == 29
    whole = vlm.encode("picture.png", QUESTION)
    text = whole.sequence["input_ids"][~whole.is_visual].tolist()
    assert [token for token in request["input_ids"] if token != vlm.model.config.image_token_id] == text


def test_a_request_for_sglang_says_what_the_library_generates(here):
    names = run("sglang.md", model=("google/gemma-3-4b-it", "demo"))
    request, vlm = names["request"], names["vlm"]
    ids = torch.tensor(request["input_ids"])
    embeds = vlm.model.get_input_embeddings()(ids)
    embeds[ids == vlm.model.config.image_token_id] = request["image_data"][0]["feature"]
    with torch.no_grad():
        said = vlm.model.generate(
            inputs_embeds=embeds[None],
            attention_mask=torch.ones(1, len(ids), dtype=torch.long),
            max_new_tokens=8,
            do_sample=False,
        )
    prompt = DivPrune(keep=0.2)(vlm.encode("picture.png", QUESTION)).contiguous()
    answer = vlm.processor.decode(said[0], skip_special_tokens=True)
    assert [answer.strip()] == [each.strip() for each in vlm.generate([prompt], max_new_tokens=8)]
