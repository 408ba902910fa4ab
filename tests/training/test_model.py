"""What a training run writes: a checkpoint that transformers, wordsight and vLLM read."""

import pytest
import torch
from safetensors import safe_open

from wordsight import VLM


@pytest.fixture(scope="module")
def written(training, tmp_path_factory):
    """A model that is not trained, and the folder it was saved into."""
    folder = tmp_path_factory.mktemp("written")
    torch.manual_seed(0)
    model = training.model.build_model(128)
    training.model.save(model, folder)
    return model, folder


def test_weights_have_the_names_of_released_checkpoints(written):
    with safe_open(written[1] / "model.safetensors", "pt") as file:
        rooms = {name.rpartition(".layers.")[0] or name.partition(".")[0] for name in file.keys()}  # noqa: SIM118
    assert "vision_tower.vision_model.encoder" in rooms
    assert "language_model.model" in rooms


def test_what_is_written_is_read_whole(written):
    model, folder = written
    read = VLM.from_pretrained(str(folder), dtype=torch.float16).model.state_dict()
    for name, weight in model.state_dict().items():
        torch.testing.assert_close(read[name], weight, msg=name)


def test_the_template_begins_with_the_token_that_begins_a_text(written, picture):
    vlm = VLM.from_pretrained(str(written[1]))
    messages = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "a cat?"}]}]
    text = vlm.processor.apply_chat_template(messages, add_generation_prompt=True)
    assert text == "<s>user: <image> a cat? assistant:"
    ids = vlm.encode(picture, "a cat?").sequence["input_ids"]
    assert ids.tolist().count(1) == 1
