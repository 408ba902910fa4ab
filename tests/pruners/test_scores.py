"""Scores that another program gave: looked up by the picture, and refused in a sentence where none fit."""

from hashlib import sha256

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from wordsight import UsageError, Video, picture_digest, pruners
from wordsight.errors import FileError
from wordsight.media.inputs import MediaInput
from wordsight.models.picture_keys import picture_key, with_picture_keys
from wordsight.models.tokens import VisualTokens
from wordsight.pruners.scores import Scores

QUESTION = "what is the background?"


@pytest.fixture
def file(tmp_path):
    """A function that writes scores of pictures."""

    def written(scores):
        save_file(scores, tmp_path / "scores.safetensors")
        return str(tmp_path / "scores.safetensors")

    return written


def test_a_digest_is_that_of_the_pixels(picture, tmp_path):
    picture.save(tmp_path / "1.png")
    data = f"{picture.mode} {picture.size} ".encode() + np.asarray(picture).tobytes()
    expected = sha256(data).hexdigest()
    assert picture_digest(picture) == picture_digest(tmp_path / "1.png") == expected
    turned = Image.fromarray(np.asarray(picture)[::-1])
    assert picture_digest(turned) != expected


def test_the_highest_scores_of_the_picture_are_kept(tiny, picture, file):
    scores = torch.rand(144, generator=torch.Generator().manual_seed(1))
    pruner = pruners.make(f"scores:file={file({picture_digest(picture): scores, 'a' * 64: torch.ones(7)})}")
    prompt = tiny.encode(picture, QUESTION, signals=pruner.required_signals)
    kept = pruner(prompt).visual.slot.tolist()
    assert kept == sorted(scores.argsort(descending=True)[:29].tolist())
    assert tiny.answer(picture, QUESTION, pruner=pruner, max_new_tokens=1).tokens_kept == 29


def test_a_function_of_the_tokens_needs_no_picture(tiny, picture):
    pruner = Scores(tokens=3, file=lambda tokens: tokens.slot.float())
    assert pruner(tiny.encode(picture, QUESTION)).visual.slot.tolist() == [141, 142, 143]


def test_a_chat_and_tokens_pruned_before_have_their_own_scores(tiny, picture, file):
    pruner = Scores(tokens=2, file=file({picture_digest(picture): torch.arange(144.0)}))
    tokens = tiny.encode(picture, QUESTION, signals=pruner.required_signals).visual
    assert pruner.prune(tokens.take(torch.tensor([3, 90, 12, 40]))).slot.tolist() == [40, 90]
    chat = tiny.chat(picture, pruner=pruner)
    assert chat.ask(QUESTION, max_new_tokens=1).tokens_kept == 2
    assert chat.ask(QUESTION, max_new_tokens=1).tokens_kept == 2


def test_the_frames_of_films_have_one_row_of_scores_after_the_pictures(picture):
    small = [Image.fromarray(np.full((4, 4, 3), value, dtype=np.uint8)) for value in (0, 9, 99)]
    media = MediaInput(pictures=(picture,), videos=(Video.of(small, fps=1),))
    cells = [(0, 0, 0, 0), (0, 0, 0, -1), (0, 0, 1, 0), (1, 0, 0, 0), (2, 0, 0, 0), (-1, 0, -1, -1)]
    tokens = VisualTokens(torch.zeros(6, 4), torch.arange(6), torch.tensor(cells))
    keys = with_picture_keys(tokens, media).signals["picture"]
    film = sha256("".join(map(picture_digest, small)).encode()).hexdigest()
    nothing = "0" * 64
    expected = [picture_digest(picture), nothing, picture_digest(picture), film, film, nothing]
    assert [picture_key(row) for row in keys] == expected
    assert keys[:, 4:].tolist() == [[0, 2], [0, 0], [1, 2], [0, 2], [1, 2], [0, 0]]


def test_scores_that_do_not_fit_the_picture_are_refused(tiny, picture, file):
    def prune(scores):
        pruner = Scores(file=file(scores))
        pruner(tiny.encode(picture, QUESTION, signals=pruner.required_signals))

    with pytest.raises(UsageError, match=f"has scores of 1 picture, but none of {picture_digest(picture)}"):
        prune({"a" * 64: torch.ones(144)})
    with pytest.raises(
        UsageError, match=r"has 576 scores of the picture .* reads 144 tokens: expected one for"
    ):
        prune({picture_digest(picture): torch.ones(576)})


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ({"cat.png": torch.ones(3)}, "holds 'cat.png', which is no digest of a picture: expected a safe"),
        ({"a" * 64: torch.ones(3, 2)}, r"what are no scores, a tensor of shape \(3, 2\): expected"),
        ({"a" * 64: torch.tensor([1.0, float("nan")])}, r"of shape \(2,\) that is not all finite: expected"),
        ({}, "is empty: expected"),
    ],
)
def test_a_file_of_something_else_is_refused_before_a_model_is_loaded(scores, message, file):
    with pytest.raises(FileError, match=message):
        Scores(file=file(scores))


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    (tmp_path / "text").write_text("no")
    for name in ("text", "nowhere"):
        with pytest.raises(FileError, match=f"{name} is no safetensors file that can be read .*expected"):
            Scores(file=str(tmp_path / name))


def test_a_spec_without_a_file_says_that_it_needs_one():
    with pytest.raises(UsageError, match="'scores': scores needs file="):
        pruners.make("scores")
    with pytest.raises(UsageError, match="file must be text or a function of VisualTokens, got 3"):
        Scores(file=3)


def test_what_a_processor_returned_has_no_picture_to_look_up(tiny, picture, file):
    pruner = Scores(file=file({picture_digest(picture): torch.ones(144)}))
    inputs = tiny.processor(text=["<image> hi"], images=[[picture]], return_tensors="pt")
    with pytest.raises(UsageError, match="does not tell which picture it is of"):
        tiny.read(inputs, signals=pruner.required_signals)
