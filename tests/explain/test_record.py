"""The record of a prompt, against the experiments themselves, slow loops, and what pruners choose."""

import io
import json
from base64 import b64decode
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from wordsight import DivPrune, UsageError, picture_digest, pruners
from wordsight._utils.numbers import exact
from wordsight._utils.progress import report_progress
from wordsight._utils.records import checked
from wordsight.algorithms.divergence import jensen_shannon
from wordsight.explain.nearest_prototypes import nearest_prototypes
from wordsight.explain.pruner_choices import agreement, pruner_choices
from wordsight.explain.record import ExplainRecord, ExplainRequest, by_word, explain_tokens
from wordsight.media.inputs import MediaInput
from wordsight.models.text_attention import text_attention
from wordsight.pruners.base import ScorePruner
from wordsight.pruners.codebook import CodebookPruner
from wordsight.pruners.fastv import FastV
from wordsight.pruners.layerwise import LayerPruner
from wordsight.redundancy import ablation, probe
from wordsight.redundancy.codebook import Codebook
from wordsight.redundancy.origins import SIDE, Origins
from wordsight.redundancy.scorer import fit_scorer

QUESTION = "what is the background?"
KEEPS = (0.05, 0.25, 1.0)
LENGTH = 3  # of an answer
INSIDE = ("dart", "fastv", "pyramiddrop", "sparsevlm")


@pytest.fixture(scope="module", autouse=True)
def brief():
    """A model of random weights never ends an answer by itself."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("wordsight.models.vlm.NEW_TOKENS", LENGTH)
        yield


@pytest.fixture(scope="module")
def book(tmp_path_factory, tiny, prompt):
    """The folder of a book for the tiny model: some of a picture's tokens, turned a little."""
    random = torch.Generator().manual_seed(5)
    embeds = prompt.visual.embeds[::9] + torch.randn(16, 32, generator=random) * 0.5
    folder = tmp_path_factory.mktemp("books") / "book"
    config = {"format": 1, "model": "tiny", "fingerprint": tiny.fingerprint}
    Codebook(embeds, config).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def scorer(tmp_path_factory, evidence_of):
    """The folder of a scorer of embeddings as wide as the tiny model's."""
    embeds = torch.randn(40, 32, generator=torch.Generator().manual_seed(6))
    folder = tmp_path_factory.mktemp("scorers") / "scorer"
    fit_scorer(evidence_of({"blind_divergence": embeds[:, 0].sigmoid() / 2}, embeds)).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def needed(tmp_path_factory, book, scorer, picture):
    """The options of the pruners that need a file."""
    scores = tmp_path_factory.mktemp("scores") / "scores.safetensors"
    save_file({picture_digest(picture): torch.rand(144, generator=torch.Generator().manual_seed(7))}, scores)
    return {"codebook": f":codebook={book}", "learned": f":scorer={scorer}", "scores": f":file={scores}"}


@pytest.fixture(scope="module")
def record(tiny, picture, book):
    asked = ExplainRequest(names=["scene.png"], question=QUESTION, keeps=KEEPS, book=book)
    return explain_tokens(tiny, MediaInput.of(picture), asked)


@pytest.fixture(scope="module", autouse=True)
def floor():
    """A noise floor between the tokens of the tiny model."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probe, "NOISE_FLOOR", 0.005)
        yield


@pytest.fixture(scope="module")
def probed(tiny, picture):
    return tiny.encode(picture, probe.QUESTION)


def test_a_record_is_plain_json_of_its_type(record):
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert checked(ExplainRecord, record, "the record") == record
    assert record["format"] == 5
    assert {each["name"] for each in record["maps"]} == set(record["tokens"]["values"])


def test_the_words_are_what_the_probe_reads(tiny, probed, record):
    read = probe.probe_tokens(tiny, probed)
    for found, words in zip(record["tokens"]["words"], read.words, strict=True):
        assert [word for word, _ in found] == [word for word, _ in words[:5]]
        assert [chance for _, chance in found] == pytest.approx([chance for _, chance in words[:5]], rel=1e-4)
    assert record["tokens"]["values"]["confidence"] == pytest.approx(read.confidence.tolist(), rel=1e-4)
    assert record["tokens"]["says_nothing"] == (read.blind_divergence < probe.NOISE_FLOOR).tolist()
    assert set(record["tokens"]["says_nothing"]) == {True, False}
    assert record["tokens"]["values"]["certainty"] == pytest.approx(read.certainty.tolist(), rel=1e-4)


def test_the_divergences_are_those_of_leaving_out(tiny, probed, record):
    values = record["tokens"]["values"]
    alone = ablation.ablate_regional(tiny, probed).divergence(jensen_shannon)
    among = ablation.ablate_global(tiny, probed).divergence(jensen_shannon)
    assert values["regional"] == pytest.approx(alone.tolist(), rel=1e-3, abs=1e-9)
    assert values["global"] == pytest.approx(among.tolist(), rel=1e-3, abs=1e-9)


def test_the_effect_on_the_answer_is_that_of_padding_the_neighborhood_in_the_question(tiny, picture, record):
    prompt = tiny.encode(picture, QUESTION)
    intact = tiny.logits([prompt])
    effect = record["tokens"]["values"]["effect"]
    for token in (0, 5, 17, 77, 143):
        row, column = (min(max(place - 1, 0), 9) for place in divmod(token, 12))
        embeds = prompt.visual.embeds.clone()
        for y in range(row, row + 3):
            for x in range(column, column + 3):
                embeds[12 * y + x] = tiny.pad_embedding
        without = tiny.logits([replace(prompt, visual=replace(prompt.visual, embeds=embeds))])
        assert effect[token] == pytest.approx(float(jensen_shannon(intact, without)), rel=1e-3, abs=1e-9)


def test_the_probe_question_has_no_effect_of_its_own(tiny, picture):
    record = explain_tokens(
        tiny, MediaInput.of(picture), ExplainRequest(names=["a"], pruners=[], keeps=(0.5,))
    )
    assert "effect" not in record["tokens"]["values"]


def test_the_signals_are_those_of_the_tower_and_of_the_question(tiny, picture, record):
    names = frozenset({"cls_attention", "cls_similarity"})
    prompt = tiny.encode(picture, QUESTION, signals=names)
    for name in names:
        assert record["tokens"]["values"][name] == pytest.approx(
            prompt.visual.signals[name].tolist(), rel=1e-4
        )
    paid = text_attention(tiny.model, prompt).mean(0)
    assert record["tokens"]["values"]["text_attention"] == pytest.approx(paid.tolist(), rel=1e-4)


def test_early_attention_has_a_map_if_the_model_has_more_layers(deep, picture):
    record = explain_tokens(
        deep, MediaInput.of(picture), ExplainRequest(names=["a"], question=QUESTION, pruners=[], keeps=(0.5,))
    )
    paid = text_attention(deep.model, deep.encode(picture, QUESTION))[1]
    assert record["tokens"]["values"]["text_attention_early"] == pytest.approx(paid.tolist(), rel=1e-4)
    assert "layer 2 of 6" in next(
        each["label"] for each in record["maps"] if each["name"] == "text_attention_early"
    )


def test_the_nearest_prototype_is_the_one_of_the_largest_cosine(prompt, record, book):
    vectors = Codebook.from_pretrained(book).prototypes.double()
    for i, token in enumerate(prompt.visual.embeds.double()):
        cosines = [float(token @ one / token.norm() / one.norm()) for one in vectors]
        assert record["codebook"]["nearest"][i] == int(np.argmax(cosines))
        assert record["codebook"]["similarity"][i] == pytest.approx(max(cosines), rel=1e-4)
        assert record["tokens"]["values"]["redundancy"][i] == pytest.approx(max(cosines), rel=1e-4)


def test_prototypes_that_occur_say_what_they_would_in_a_tokens_place(tiny, probed, record, book):
    vectors = Codebook.from_pretrained(book).prototypes
    assert sorted(map(int, record["codebook"]["says"])) == sorted(set(record["codebook"]["nearest"]))
    for number, words in record["codebook"]["says"].items():
        lone = probe.keep_only(probed, [0])
        lone = replace(lone, visual=replace(lone.visual, embeds=vectors[int(number)][None]))
        (expected,) = probe.probe_tokens(tiny, lone).words
        assert [word for word, _ in words] == [word for word, _ in expected[:3]]
        assert [chance for _, chance in words] == pytest.approx(
            [chance for _, chance in expected[:3]], rel=1e-4
        )
        (far,) = probe.probe_tokens(tiny, lone).blind_divergence.tolist()
        assert (int(number) in record["codebook"]["says_nothing"]) == (far < probe.NOISE_FLOOR)


def test_prototypes_show_what_they_were_in_the_order_of_their_words(tiny, probed, book):
    plain = Codebook.from_pretrained(book)
    assert nearest_prototypes(tiny, probed, plain)["patches"] is None
    count, random = len(plain.prototypes), torch.Generator().manual_seed(8)
    origins = Origins(
        torch.randint(256, (count, SIDE, SIDE, 3), generator=random, dtype=torch.uint8),
        torch.randint(5, 250, (count, 3), generator=random),
        torch.rand(count, 3, generator=random),
        torch.arange(count) % 2 == 1,
    )
    found = nearest_prototypes(tiny, probed, replace(plain, origins=origins))
    tiles = np.array(Image.open(io.BytesIO(b64decode(found["patches"].partition(",")[2]))))
    for i, number in enumerate(map(int, found["says"])):
        left, top = SIDE * (i % found["columns"]), SIDE * (i // found["columns"])
        assert (tiles[top : top + SIDE, left : left + SIDE] == origins.patches[number].numpy()).all()
        words = tiny.processor.tokenizer.batch_decode([[word] for word in origins.words[number]])
        chances = origins.word_probabilities[number].tolist()
        said = (
            None
            if number % 2
            else [[w.strip(), pytest.approx(c, rel=1e-4)] for w, c in zip(words, chances, strict=True)]
        )
        assert found["said"][str(number)] == said


def test_prototypes_are_read_one_by_one(tiny, probed):
    both = probe.probe_tokens(tiny, probe.with_embeddings(probed, probed.visual.embeds[[5, 77]]))
    whole = probe.probe_tokens(tiny, probed)
    torch.testing.assert_close(both.confidence, whole.confidence[[5, 77]])


@pytest.mark.parametrize("name", [name for name in pruners.names() if name not in INSIDE])
def test_what_is_kept_is_what_the_pruner_chooses(name, tiny, picture, needed):
    method = pruners.make(name + needed.get(name.partition("_")[0], ""))
    prompt = tiny.encode(picture, QUESTION, signals=method.required_signals)
    (found,) = pruner_choices(tiny, prompt, [method], KEEPS)["methods"]
    for keep, choice in zip(KEEPS, found["choices"], strict=True):
        expected = replace(method, keep=keep).prune(prompt.visual).slot.tolist()
        assert (choice["keep"], choice["kept"]) == (keep, expected)
    is_scored = isinstance(method, ScorePruner)
    assert (found["scores"] is not None) == is_scored
    if is_scored:
        assert np.array_equal(np.float32(found["scores"]), method.score(prompt.visual).float().numpy())


def test_scores_come_back_exactly():
    scores = torch.cat([torch.randn(2000), torch.tensor([0.1, 1e-38, -3.4e38, 16777217.0])])
    assert np.array_equal(np.float32(json.loads(json.dumps(exact(scores)))), scores.numpy())


def test_fastv_keeps_what_the_attention_before_its_cut_says(deep, picture):
    prompt = deep.encode(picture, QUESTION)
    (found,) = pruner_choices(deep, prompt, [FastV()], (0.25,))["methods"]
    paid = text_attention(deep.model, prompt)[1].tolist()
    best = sorted(range(144), key=lambda token: -paid[token])[:36]
    assert found["choices"][0]["kept"] == sorted(best)
    assert found["scores"] is None
    assert "after layer 2" in found["selection"]


@dataclass(kw_only=True)
class Thirds(LayerPruner):
    """Keeps every third token after layer 2, and of those every second after layer 4."""

    def layers(self, depth):
        return (2, 4)

    def counts(self, tokens):
        return (48, 24)

    def prune_layer(self, state, count):
        return state.take(torch.arange(len(state.visual))[:: 3 if count == 48 else 2])


def test_steps_inside_the_model_add_up(deep, picture):
    (found,) = pruner_choices(deep, deep.encode(picture, QUESTION), [Thirds()], (0.5,))["methods"]
    (choice,) = found["choices"]
    assert choice["kept"] == list(range(0, 144, 6))
    assert choice["tokens_read"] == round((144 + 144 + 48 + 48 + 24 + 24) / 6, 1)


@pytest.mark.parametrize("name", ["divprune", "pool", "fastv", "codebook:codebook=BOOK,threshold=0.6"])
def test_answers_are_those_of_the_model(name, deep, picture, book):
    method = pruners.make(name.replace("BOOK", book))
    if isinstance(method, CodebookPruner):
        method = replace(
            method,
            codebook=Codebook(
                Codebook.from_pretrained(book).prototypes, {"model": "tiny", "fingerprint": None}
            ),
        )
    found = pruner_choices(
        deep, deep.encode(picture, QUESTION, signals=method.required_signals), [method], KEEPS
    )
    assert found["answer"] == deep.answer(picture, QUESTION, max_new_tokens=LENGTH).text
    for choice in found["methods"][0]["choices"]:
        asked = method if choice["keep"] is None else replace(method, keep=choice["keep"])
        answer = deep.answer(picture, QUESTION, pruner=asked, max_new_tokens=LENGTH)
        assert (choice["answer"], choice["tokens_read"]) == (answer.text, answer.tokens_kept)


def test_a_threshold_of_its_own_is_one_choice_whatever_the_keeps(tiny, picture, book):
    method = CodebookPruner(codebook=book, threshold=0.6)
    prompt = tiny.encode(picture, QUESTION)
    (found,) = pruner_choices(tiny, prompt, [method], KEEPS)["methods"]
    (choice,) = found["choices"]
    redundancy = Codebook.from_pretrained(book).redundancy(prompt.visual.embeds)
    assert choice["kept"] == [i for i, value in enumerate(redundancy.tolist()) if value < 0.6]
    assert 0 < len(choice["kept"]) < 144
    assert found["threshold"] == {"label": "redundancy below", "sign": -1, "value": 0.6}


@dataclass(kw_only=True)
class Contrary(ScorePruner):
    """Has scores, and keeps the tokens with the lowest."""

    def score(self, tokens):
        return tokens.embeds[:, 0]

    def select(self, tokens):
        return tokens.take(self.score(tokens).argsort()[: self.count(tokens)])


def test_every_keep_is_of_the_tokens_and_reads_no_book_again(tiny, prompt, book, monkeypatch):
    methods = [CodebookPruner(codebook=book), DivPrune(tokens=3)]
    monkeypatch.setattr(Codebook, "from_pretrained", None)
    record = pruner_choices(tiny, prompt, methods, KEEPS)
    budgets = [round(keep * len(prompt.visual)) for keep in KEEPS]
    for method in record["methods"]:
        assert [len(choice["kept"]) for choice in method["choices"]] == budgets


def test_scores_are_in_the_record_only_if_the_choice_follows_from_them(tiny, prompt):
    (found,) = pruner_choices(tiny, prompt, [Contrary()], (0.25,))["methods"]
    assert found["scores"] is None
    assert found["choices"][0]["kept"] == Contrary(keep=0.25).prune(prompt.visual).slot.tolist()


def test_agreement_counts_the_pruners_that_keep_a_token(record):
    for number, row in enumerate(record["agreement"]):
        assert row["keep"] == KEEPS[number]
        for token, count in enumerate(row["kept_by"]):
            assert count == sum(token in method["choices"][number]["kept"] for method in record["methods"])


def test_a_method_with_one_choice_agrees_at_every_keep():
    methods = [{"choices": [{"kept": [1]}]}, {"choices": [{"kept": [0, 1]}, {"kept": [2]}]}]
    assert [row["kept_by"] for row in agreement(methods, (0.1, 0.2), 3)] == [[1, 2, 0], [0, 1, 1]]


def test_the_table_counts_the_tokens_that_say_a_word_first(record):
    tokens = record["tokens"]
    counted = Counter(
        None if nothing else words[0][0]
        for words, nothing in zip(tokens["words"], tokens["says_nothing"], strict=True)
    )
    assert {row["word"]: row["tokens"] for row in record["words"]} == counted
    assert [row["tokens"] for row in record["words"]] == sorted(counted.values(), reverse=True)


def test_words_are_sorted_by_tokens_and_then_by_name():
    said = [[["sky", 0.5]], [["cat", 1.0]], [["sky", 1.0]], [["ant", 0.25]], *[[["cat", 0.5]]] * 3]
    rows = by_word(said, ["sky", "cat", "sky", "ant", None, None, None])
    assert [(row["word"], row["tokens"], row["confidence"]) for row in rows] == [
        (None, 3, 0.5),
        ("sky", 2, 0.75),
        ("ant", 1, 0.25),
        ("cat", 1, 1.0),
    ]


def test_without_a_pruner_named_some_that_can_run_are_explained_the_best_first(record, book):
    assert [method["name"] for method in record["methods"]] == [
        "scope:alpha=0.0",
        "divprune",
        "cls_topk",
        f"codebook:codebook={book}",
    ]


def test_colors_end_where_all_but_a_few_tokens_lie(record):
    for each in record["maps"]:
        values = sorted(record["tokens"]["values"][each["name"]])
        assert (each["low"], each["high"]) == (values[3], values[-4])  # 2 % of 144 are 3


def test_the_map_of_redundancy_without_a_codebook_is_absent_and_says_why(tiny, picture):
    record = explain_tokens(tiny, MediaInput.of(picture), ExplainRequest(names=["a"], pruners=[]))
    assert record["missing"] == [
        {"label": "redundancy", "why": "no codebook was given; --codebook BOOK adds it"}
    ]
    assert record["codebook"] is None
    assert "redundancy" not in record["tokens"]["values"]


def test_a_tower_without_cls_has_no_such_maps(tiny, picture, monkeypatch):
    tower = replace(tiny.family.tower(tiny.model), has_cls=False)
    monkeypatch.setattr(type(tiny.family), "tower", lambda self, model: tower)
    monkeypatch.setattr(type(tiny.family), "signals", lambda self, model: tower.signals)
    record = explain_tokens(tiny, MediaInput.of(picture), ExplainRequest(names=["a"], pruners=[]))
    why = "the vision tower of tiny (llava) has no [CLS] token"
    assert {"label": "[CLS] attention", "why": why} in record["missing"]
    assert {"label": "[CLS] similarity", "why": why} in record["missing"]
    assert not {"cls_attention", "cls_similarity"} & set(record["tokens"]["values"])


def test_a_duplicate_pruner_is_refused():
    with pytest.raises(UsageError, match="duplicate pruner divprune"):
        ExplainRequest(names=["a"], pruners=[pruners.make("divprune"), pruners.make("divprune:keep=0.5")])


def test_a_model_without_a_picture_map_is_refused_before_the_work(tiny, picture, monkeypatch):
    monkeypatch.setattr(type(tiny.family), "has_picture_map", False)
    with pytest.raises(UsageError, match=r"tiny \(llava\) has no picture map"):
        explain_tokens(tiny, MediaInput.of(picture), ExplainRequest(names=["a"]))


def test_five_named_steps_are_reported(tiny, picture, book):
    reports = []
    request = ExplainRequest(names=["a"], question=QUESTION, pruners=[], book=book)
    with report_progress(reports.append):
        explain_tokens(tiny, MediaInput.of(picture), request)
    names = list(dict.fromkeys(report.description for report in reports))
    assert names == [
        "encoding the picture",
        "asking each of 144 visual tokens what it says, and what its absence changes",
        "asking what the absence of each changes in the answer",
        "asking the prototypes of the codebook what they say",
        "answering the question with all tokens and with fewer",
    ]
    begun = [next(each.overall for each in reports if each.description == name) for name in names]
    assert begun == pytest.approx([0, 0.2, 0.4, 0.6, 0.8])
    assert reports[-1].overall == pytest.approx(1)
