"""LoadOptions: what is given is checked before the model is loaded, holds once it is, and is recorded."""

import numpy as np
import pytest
import torch

from wordsight import GenerationOptions, LoadOptions
from wordsight._utils.notes import listen_to_notes
from wordsight.errors import ModelError, ModelNote, UsageError
from wordsight.media.inputs import MediaInput
from wordsight.models import loading, placement
from wordsight.models.conversation import Conversation
from wordsight.models.load_options import named_values
from wordsight.models.processing import prompt_text
from wordsight.models.vlm import VLM

QUESTION = "what is the background?"
THINKING = "{% if enable_thinking is defined and enable_thinking is false %}no thought. {% endif %}"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"device": "gpu"}, "device must be auto, cpu, mps or cuda, or one of several as cuda:1, got 'gpu'"),
        ({"device": "cpu", "device_map": "auto"}, "device is cpu and there is a device_map"),
        ({"dtype": "int8"}, "dtype must be 'auto' or 'float32' or 'bfloat16' or 'float16', got 'int8'"),
        ({"quantization": "gptq"}, "quantization must be 'bnb-8bit' or .*, got 'gptq'"),
    ],
)
def test_what_no_model_can_be_loaded_by_is_refused(given, words):
    with pytest.raises(UsageError, match=words):
        LoadOptions(**given)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"temperature": -1.0}, "temperature must be a number from 0 on"),
        ({"top_p": 0.5}, "top_p and top_k are of sampling; give a temperature"),
        ({"max_new_tokens": 0}, "max_new_tokens must be"),
        ({"stop": ("",)}, "stop must be texts that are not empty"),
    ],
)
def test_what_no_answer_can_be_generated_by_is_refused(given, words):
    with pytest.raises(UsageError, match=words):
        GenerationOptions(**given)


def test_texts_give_values_of_their_kinds():
    assert named_values("--processor", ["max_pixels=501760", "do_resize=false", "x=a=b", "size={}"]) == {
        "max_pixels": 501760,
        "do_resize": False,
        "x": "a=b",
        "size": {},
    }
    texts = ["max_new_tokens=9", "temperature=0.5", "stop=.", "stop=END"]
    expected = GenerationOptions(max_new_tokens=9, temperature=0.5, stop=(".", "END"))
    assert GenerationOptions.parse(texts) == expected
    with pytest.raises(UsageError, match=r"--template must be NAME=VALUE, got 'thinking'"):
        named_values("--template", ["thinking"])
    with pytest.raises(UsageError, match="unknown option of generation 'top_': did you mean 'top_"):
        GenerationOptions.parse(["top_=1"])


def test_only_what_is_unusual_is_recorded_and_never_a_token():
    assert LoadOptions().as_json() == {}
    options = LoadOptions(
        device="cpu", dtype="bfloat16", token="secret", generation=GenerationOptions(stop=(".",))
    )
    assert options.as_json() == {"dtype": "bfloat16", "generation": {"stop": ["."]}}
    assert "secret" not in repr(options)


def test_a_device_that_is_not_there_is_refused_before_the_model_is_read(saved, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(loading, "load_processor", lambda *given: pytest.fail("it was read"))
    with pytest.raises(ModelError, match=r"there is no device cuda:1: .* sees 1 cuda device; take cpu"):
        VLM.from_pretrained(str(saved), device="cuda:1")
    with pytest.raises(ModelError, match=r"there is no device mps: .* sees no mps device"):
        VLM.from_pretrained(str(saved), device="mps")


def test_auto_is_a_gpu_where_there_is_one_and_is_said(monkeypatch):
    assert placement.find_device(LoadOptions()) == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Some GPU")
    device = placement.find_device(LoadOptions())
    assert device == torch.device("cuda")
    assert placement.find_device(LoadOptions(device="cpu")) == torch.device("cpu")
    notes = []
    with listen_to_notes(notes.append):
        placement.tell_device("a model", LoadOptions(), device)
        placement.tell_device("a model", LoadOptions(device="cuda"), device)
    assert notes == ["a model runs on Some GPU (cuda); --device cpu keeps it off"]


def test_processor_options_become_those_of_the_processor(saved):
    wide = np.zeros((64, 256, 3), np.uint8)
    wide[:, :64] = 255
    square = {"height": 192, "width": 192}
    squeezed, cropped = (
        VLM.from_pretrained(str(saved), LoadOptions(processor=given)).processor.image_processor
        for given in (
            {"size": square},
            {"size": {"shortest_edge": 192}, "do_center_crop": True, "crop_size": square},
        )
    )
    white = [
        float((each(wide, return_tensors="pt")["pixel_values"] > 0).float().mean())
        for each in (squeezed, cropped)
    ]
    assert white == pytest.approx([0.25, 0], abs=0.02)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_pixels": 9}, "unknown option of LlavaProcessor 'max_pixels': choose from crop_size, .* size$"),
        ({"return_tensors": "np"}, "unknown option of LlavaProcessor 'return_tensors'"),
        ({"image_mean": "much"}, "LlavaProcessor cannot prepare pictures with image_mean=much: "),
    ],
)
def test_processor_options_that_it_does_not_take_are_refused_before_weights_are_read(folder, options, words):
    (folder / "model.safetensors").unlink()
    with pytest.raises(UsageError, match=words):
        VLM.from_pretrained(str(folder), LoadOptions(processor=options))


def thoughtful(tiny, folder):
    """The folder with a template that can leave thoughts out."""
    (folder / "chat_template.jinja").write_text(THINKING + tiny.processor.chat_template)
    return str(folder)


def text_of(vlm, picture):
    return prompt_text(vlm.processor, Conversation.about(MediaInput.of(picture), QUESTION))


def test_thinking_is_off_by_default_where_the_template_knows_it_and_that_is_said(tiny, folder, picture):
    name, notes = thoughtful(tiny, folder), []
    with listen_to_notes(notes.append):
        off, on, stated = (
            VLM.from_pretrained(name, LoadOptions(template=given))
            for given in ({}, {"enable_thinking": True}, {"enable_thinking": False})
        )
    assert text_of(off, picture) == text_of(stated, picture) == f"no thought. {text_of(tiny, picture)}"
    assert text_of(on, picture) == text_of(tiny, picture)
    assert notes == [
        "thinking is off (enable_thinking=false), since first words are read; "
        "--template enable_thinking=true turns it on"
    ]


def test_what_a_call_gives_to_the_template_wins(tiny, folder):
    processor = VLM.from_pretrained(thoughtful(tiny, folder)).processor
    messages = [{"role": "user", "content": [{"type": "text", "text": "hello"}]}]
    assert "no thought" in processor.apply_chat_template(messages)
    assert "no thought" not in processor.apply_chat_template(messages, enable_thinking=True)


def test_a_variable_that_the_template_does_not_read_is_refused(saved):
    with pytest.raises(UsageError, match="chat template of LlavaProcessor does not read 'thinking'"):
        VLM.from_pretrained(str(saved), LoadOptions(template={"thinking": False}))


@pytest.mark.parametrize("name", ["messages", "add_generation_prompt"])
def test_what_every_call_gives_to_the_template_is_no_option(saved, name):
    with pytest.raises(UsageError, match=f"{name} of the chat template is said by wordsight"):
        VLM.from_pretrained(str(saved), LoadOptions(template={name: False}))


def test_a_revision_of_a_folder_is_refused(saved):
    with pytest.raises(UsageError, match="revision is of a model on the hub"):
        VLM.from_pretrained(str(saved), LoadOptions(revision="v2"))


def test_a_folder_of_the_cache_may_be_a_path(saved, tmp_path):
    options = LoadOptions(cache_dir=tmp_path)
    assert options.hub["cache_dir"] == tmp_path
    assert VLM.from_pretrained(str(saved), options).options.as_json() == {}


def test_options_that_are_none_are_refused(saved):
    with pytest.raises(UsageError, match=r"options must be LoadOptions\(...\), got {'device': 'cpu'}"):
        VLM.from_pretrained(str(saved), {"device": "cpu"})


@pytest.fixture
def generating(tiny):
    """A function that gives the tiny model options of generation."""
    return lambda **given: VLM(
        tiny.model, tiny.processor, "tiny", options=LoadOptions(generation=GenerationOptions(**given))
    )


def test_generation_options_hold_for_answers(tiny, generating, picture):
    usual = tiny.answer(picture, QUESTION, max_new_tokens=8)
    assert generating(max_new_tokens=8).answer(picture, QUESTION).text == usual.text
    assert generating(max_new_tokens=2).answer(picture, QUESTION, max_new_tokens=8).text == usual.text
    assert generating(max_new_tokens=2).answer(picture, QUESTION).text != usual.text
    penalized = generating(repetition_penalty=1e6, max_new_tokens=8).answer(picture, QUESTION)
    assert penalized.text != usual.text


def test_sampled_answers_depend_on_the_seed_alone(generating, picture):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first, again, other = (
        generating(temperature=2.0, seed=seed, max_new_tokens=8).answer(picture, QUESTION).text
        for seed in (0, 0, 1)
    )
    assert first == again != other
    assert torch.equal(torch.get_rng_state(), before)


def test_sampled_answers_of_a_cpu_leave_the_generators_of_gpus_alone(generating, picture, monkeypatch):
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: pytest.fail("GPUs were seeded"))
    generating(temperature=2.0, max_new_tokens=1).answer(picture, QUESTION)


def test_an_answer_that_would_go_on_is_cut(tiny, generating, picture):
    whole = tiny.answer(picture, QUESTION, max_new_tokens=8)
    assert whole.cut
    word = whole.text[:3]
    stopped = generating(stop=(word,), max_new_tokens=8).answer(picture, QUESTION)
    assert (stopped.text, stopped.cut) == ("", False)


def test_an_answer_that_ends_by_itself_is_not_cut(tiny, picture, monkeypatch):
    """Every token ends it."""
    monkeypatch.setattr(tiny.model.generation_config, "eos_token_id", list(range(256)))
    assert not tiny.answer(picture, QUESTION, max_new_tokens=8).cut


def test_a_checkpoint_that_changes_greedy_answers_is_told_once(
    tiny, generating, prompt, monkeypatch, recwarn
):
    monkeypatch.setattr(tiny.model.generation_config, "repetition_penalty", 1.3)
    vlm = generating()
    with pytest.warns(ModelNote, match=r"generation_config\.json has repetition_penalty=1\.3, which changes"):
        vlm.generate([prompt], max_new_tokens=1)
    vlm.generate([prompt], max_new_tokens=1)
    generating(repetition_penalty=1.0).generate([prompt], max_new_tokens=1)
    assert not recwarn.list


def test_extras_that_are_missing_are_named_before_anything_is_read(saved, monkeypatch):
    for room, options, words in (
        ("adapters", {"adapter": "x"}, r"needs peft; `pip install 'wordsight\[adapters\]'`"),
        ("quantization", {"quantization": "bnb-4bit"}, r"bitsandbytes and accelerate; .*\[quantization\]'`"),
    ):
        monkeypatch.setattr(f"wordsight.models.{room}.find_spec", lambda name: None)
        with pytest.raises(ModelError, match=words):
            VLM.from_pretrained(str(saved), LoadOptions(**options))


def test_a_folder_that_is_no_adapter_is_told(saved, monkeypatch):
    monkeypatch.setattr("wordsight.models.adapters.find_spec", lambda name: name)
    with pytest.raises(ModelError, match=r"is no adapter: there is no adapter_config\.json in it"):
        VLM.from_pretrained(str(saved), LoadOptions(adapter=str(saved)))
