"""Loading: what the hub, transformers or a damaged folder says is one sentence, and no code of it runs."""

import json
import random
import shutil
import sys
from types import SimpleNamespace

import huggingface_hub.constants
import pytest
import torch
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
)
from safetensors.torch import load_file, save_file

from wordsight.errors import ModelError
from wordsight.models import loading, processor_options
from wordsight.models.load_options import LoadOptions
from wordsight.models.vlm import VLM

QUESTION = "what is the background?"
NAME = "some-owner/some-model"
VALUES = [None, -1, 0, 10**9, 1e308, "", "x", [], {}, [None], {"a": 1}, True, 0.5, float("nan"), [1, 2]]
TEMPLATES = [
    "{{",
    "{% for x in y %}",
    "{{ 1 / 0 }}",
    "",
    "{{ messages[9].content }}",
    "{{ messages[0].a.b }}",
]


def change(path, **values):
    """The JSON file with other values; None takes one out."""
    changed = json.loads(path.read_text()) | values
    path.write_text(json.dumps({name: value for name, value in changed.items() if value is not None}))


def answered(kind, message="401 Client Error"):
    """What the hub's client raises for an answer of the hub."""
    return kind(message, response=SimpleNamespace(headers={}, request=None))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (answered(GatedRepoError), "gated: ask for access and accept its license .*`hf auth login`"),
        (answered(RepositoryNotFoundError), "nothing of this name, or it is private: .*`hf auth login`"),
        (
            answered(HfHubHTTPError, "401 Client Error\n\nInvalid credentials in Authorization header"),
            "does not accept the token .*HF_TOKEN",
        ),
        (answered(HfHubHTTPError, "503 Server Error\n\nBusy.\n"), "503 Server Error Busy$"),
        (OfflineModeIsEnabled("Cannot reach it"), "HF_HUB_OFFLINE is set, .*`hf download`"),
        (ConnectionError("proxy\nrefused"), r"hub cannot be reached \(proxy refused\); .*HTTPS_PROXY"),
        (TimeoutError(), r"hub cannot be reached \(TimeoutError\)"),
    ],
    ids=lambda given: type(given).__name__ if isinstance(given, Exception) else "",
)
def test_what_the_hub_says_is_one_sentence_after_one_request(monkeypatch, error, words):
    asked = []

    def refuse(url, token):
        asked.append(url)
        raise error

    monkeypatch.setattr(loading, "get_hf_file_metadata", refuse)
    with pytest.raises(ModelError, match=words) as raised:
        VLM.from_pretrained(NAME)
    assert str(raised.value).startswith(f"cannot load model '{NAME}': ")
    assert "\n" not in str(raised.value)
    assert len(asked) == 1


@pytest.fixture
def cached(saved, tmp_path, monkeypatch):
    """The tiny model in the hub's cache."""
    commit = "0" * 40
    repository = tmp_path / "hub" / f"models--{NAME.replace('/', '--')}"
    shutil.copytree(saved, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return repository / "snapshots" / commit


def out_of_reach(url, token):
    raise ConnectionError("no route")


def test_a_model_in_the_cache_is_read_without_the_hub_and_with_a_word(
    tiny, prompt, cached, monkeypatch, caplog
):
    monkeypatch.setattr(loading, "get_hf_file_metadata", out_of_reach)
    assert torch.equal(VLM.from_pretrained(NAME).logits([prompt]), tiny.logits([prompt]))
    assert "only its files in the cache are read: no route" in caplog.text


def test_a_file_that_the_cache_lacks_is_told_as_such(cached, monkeypatch):
    monkeypatch.setattr(loading, "get_hf_file_metadata", out_of_reach)
    (cached / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"model\.safetensors"):
        VLM.from_pretrained(NAME)


def test_a_repository_without_config_is_asked_for_the_rest(monkeypatch):
    def without(url, token):
        raise answered(RemoteEntryNotFoundError)

    monkeypatch.setattr(loading, "get_hf_file_metadata", without)
    assert not loading._only_cached(NAME, LoadOptions())


def test_a_revision_behind_the_name_is_told_how_it_is_given():
    with pytest.raises(ModelError, match=f"give {NAME} and --revision v2"):
        VLM.from_pretrained(f"{NAME}@v2")


def test_a_file_is_told_apart_from_a_folder(tmp_path):
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF")
    with pytest.raises(ModelError, match=r"model.gguf': it is a file; expected a folder"):
        VLM.from_pretrained(str(file))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            ImportError("\nQwen2VLVideoProcessor requires the Torchvision library but it was not found.\n"),
            "needs torchvision; `pip install torchvision`",
        ),
        (
            RuntimeError("Failed to import it:\noperator torchvision::nms does not exist"),
            "torchvision does not fit the installed torch; .*--upgrade torch torchvision",
        ),
        (
            ImportError("X requires the num2words library\nbut not found."),
            "needs another package .*num2words library but not found.*; .*wordsight.models",
        ),
        (RecursionError(), ": RecursionError$"),
    ],
)
def test_a_library_that_is_missing_or_does_not_fit_is_told(saved, monkeypatch, error, words):
    def fail(*given, **options):
        raise error

    monkeypatch.setattr(processor_options.AutoProcessor, "from_pretrained", fail)
    with pytest.raises(ModelError, match=words) as raised:
        VLM.from_pretrained(str(saved))
    assert "\n" not in str(raised.value)


def test_an_adapter_is_told_apart_from_a_model(tmp_path):
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "a/b"}')
    with pytest.raises(
        ModelError, match=r"give it as --adapter .* the model that it adapts \(a/b\) as the model$"
    ):
        VLM.from_pretrained(str(tmp_path))


def test_a_model_that_peft_has_wrapped_is_unwrapped(tiny, picture):
    class Adapter(torch.nn.Module):  # as peft.PeftModel holds a LoraModel, and that the model
        def __init__(self, **inside):
            super().__init__()
            for name, module in inside.items():
                setattr(self, name, module)

    wrapped = Adapter(base_model=Adapter(model=tiny.model))
    assert VLM(wrapped, tiny.processor, "adapted").model is tiny.model


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"model_type": "llama"}, "'llama' is none of image-text-to-text models"),
        (
            {"model_type": "of_tomorrow"},
            "'of_tomorrow' is unknown to transformers .* a later one may know it",
        ),
        ({"model_type": None}, "no config.json that names a model_type"),
        (
            {"model_type": "internvl_chat", "auto_map": {"AutoModel": "code.Model"}},
            "runs code of its own, .*that of InternVL is called model-hf$",
        ),
    ],
)
def test_a_type_that_cannot_be_read_is_told_by_its_config(folder, values, words):
    change(folder / "config.json", **values)
    with pytest.raises(ModelError, match=words):
        VLM.from_pretrained(str(folder))


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("file", ["config.json", "processor_config.json", "tokenizer_config.json"])
def test_code_that_a_checkpoint_brings_never_runs_and_is_never_asked_about(folder, monkeypatch, file, known):
    (folder / "code.py").write_text(f"open({str(folder / 'it_ran')!r}, 'w')\nclass Own: pass\n")
    kinds = ("Config", "ModelForImageTextToText", "Processor", "ImageProcessor")
    code = {f"Auto{kind}": "code.Own" for kind in kinds} | {"AutoTokenizer": ["code.Own", "code.Own"]}
    change(folder / file, auto_map=code)
    if not known:
        gone = {"config.json": {"model_type": "own"}, "processor_config.json": {"processor_class": None}}
        change(folder / file, **gone.get(file, {"tokenizer_class": "Own"}))
    monkeypatch.setattr("builtins.input", lambda *given: pytest.fail("it asked"))
    try:
        VLM.from_pretrained(str(folder))
    except ModelError as error:
        assert not known
        assert "code of its own" in str(error)  # noqa: PT017  # either is right
    assert not (folder / "it_ran").exists()
    assert not [name for name in sys.modules if name.endswith(".code") and "transformers_modules" in name]


def test_a_shard_that_is_missing_is_named(folder, tiny):
    tiny.model.save_pretrained(folder, max_shard_size="50KB")
    (folder / "model.safetensors").unlink(missing_ok=True)
    lost = sorted(folder.glob("model-*.safetensors"))[1]
    lost.unlink()
    with pytest.raises(ModelError, match=lost.name):
        VLM.from_pretrained(str(folder))


def test_a_processor_of_an_unknown_class_is_told(folder):
    change(folder / "processor_config.json", processor_class="Unknown")
    with pytest.raises(ModelError, match="not a processor of pictures and text; is its processor_config"):
        VLM.from_pretrained(str(folder))


def test_a_processor_without_patch_size_is_told(folder, picture):
    change(folder / "processor_config.json", patch_size=None)
    with pytest.raises(ModelError, match="as its patch_size is not set"):
        VLM.from_pretrained(str(folder)).encode(picture, QUESTION)


@pytest.mark.parametrize(
    ("template", "words"),
    [
        (
            "{{ 'user: ' + messages[0]['content'] }}",
            "chat template of LlavaProcessor cannot lay out a question",
        ),
        ("user: {{ messages[0]['content'][-1]['text'] }}", "Found total 0 <image> tokens"),
    ],
)
def test_a_chat_template_for_text_alone_is_told(folder, picture, template, words):
    (folder / "chat_template.jinja").write_text(template)
    with pytest.raises(ModelError, match=words):
        VLM.from_pretrained(str(folder)).encode(picture, QUESTION)


def damaged(path, chance):
    """Change one thing in a file of a checkpoint; what it was."""
    if path.suffix == ".json" and chance.random() < 0.8:
        record = json.loads(path.read_text())
        inner = [record, *(value for value in record.values() if isinstance(value, dict))]
        place = chance.choice([one for one in inner if one])
        name, value = chance.choice(sorted(place)), chance.choice(VALUES)
        place[name] = value
        path.write_text(json.dumps(record))
        return f"{path.name}: {name} = {value}"
    if path.suffix == ".jinja":
        path.write_text(chance.choice(TEMPLATES))
        return path.read_text()
    data = path.read_bytes()
    at = chance.randrange(len(data))
    path.write_bytes(chance.choice([data[:at], data[:at] + b"\xff" + data[at + 1 :], b""]))
    return f"{path.name} at {at}"


def test_damaged_checkpoints_answer_or_end_in_a_sentence(saved, tmp_path, picture):
    chance = random.Random(0)
    refused = 0
    for number in range(40):
        folder = shutil.copytree(saved, tmp_path / str(number))
        what = damaged(chance.choice(sorted(folder.iterdir())), chance)
        try:
            VLM.from_pretrained(str(folder)).answer(picture, QUESTION, max_new_tokens=1)
        except ModelError:
            refused += 1
        except Exception as error:
            raise AssertionError(f"{what} ends in a {type(error).__name__}: {error}") from error
    assert refused > 10


@pytest.fixture
def broken(folder):
    """The tiny model with one weight that is not a number, as a folder, and the weight's name."""
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if "layers.1.mlp.down_proj" in name)
    weights[name][0, 0] = torch.nan
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_a_model_with_a_weight_that_is_no_number_answers_nothing_and_names_it(broken, picture, prompt):
    vlm = VLM.from_pretrained(str(broken))
    words = (
        r"some values of its logits are NaN or infinite, as are some of .*layers\.1\.mlp\.down_proj\.weight"
    )
    with pytest.raises(ModelError, match=words):
        vlm.logits([prompt])
    with pytest.raises(ModelError, match=words):
        vlm.answer(picture, QUESTION)


def test_visual_tokens_that_are_no_numbers_are_refused_with_the_weight(broken, picture):
    vlm = VLM.from_pretrained(str(broken))
    with torch.no_grad():
        vlm.model.model.multi_modal_projector.linear_2.bias[3] = torch.inf
    with pytest.raises(
        ModelError, match=r"visual tokens are NaN or infinite, as are some of .*linear_2\.bias"
    ):
        vlm.encode(picture, QUESTION)
