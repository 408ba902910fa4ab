"""What wordsight does with tokens works in every family: probes, leave-one-out, codebooks, pruners, chats."""

import re
from dataclasses import replace

import facts
import pytest
import torch
from safetensors.torch import save_file

from wordsight import UsageError, picture_digest, pruners
from wordsight._utils.registry import find
from wordsight.analysis.intermediate_states import analyze
from wordsight.analysis.model_info import Trials
from wordsight.analysis.prototypes import inspect_codebook
from wordsight.explain.nearest_prototypes import nearest_prototypes
from wordsight.models.text_attention import text_attention
from wordsight.models.vision import encode_images
from wordsight.models.vlm import VLM
from wordsight.pruners.base import Pruner
from wordsight.pruners.book import BookPruner
from wordsight.pruners.codebook import CodebookPruner
from wordsight.pruners.scorer import ScorerPruner
from wordsight.pruners.scores import Scores
from wordsight.redundancy import ablation, probe
from wordsight.redundancy.build import Clustering, build_codebook
from wordsight.redundancy.codebook import Codebook
from wordsight.redundancy.collecting import collect_evidence
from wordsight.redundancy.criteria import Condition
from wordsight.redundancy.scorer import Fitting, fit_scorer

QUESTION = "what color is the cat?"
FITTED = (BookPruner, ScorerPruner, Scores)
FREE = [name for name in pruners.names() if not issubclass(find(pruners, name, Pruner), FITTED)]


@pytest.fixture(scope="session")
def folder(tmp_path_factory, picture):
    found = tmp_path_factory.mktemp("pictures")
    for i in range(3):
        picture(40, 40, i).save(found / f"{i}.png")
    return found


@pytest.fixture(scope="session")
def evidence_of(tmp_path_factory, folder):
    """A function that collects the evidence of a model, once."""
    found = {}

    def evidence(vlm):
        if vlm.name not in found:
            pictures = sorted(folder.iterdir())
            found[vlm.name] = collect_evidence(vlm, pictures, tmp_path_factory.mktemp("evidence") / "e")
        return found[vlm.name]

    return evidence


@pytest.fixture(scope="session")
def book(mapped, evidence_of):
    evidence = evidence_of(mapped)
    half = evidence.signals["confidence"].median()
    return build_codebook(
        evidence,
        Condition(confidence=float(half)),
        Clustering(image_clusters=2, largest=999, clusters=2, images=0),
    )


@pytest.mark.shows("probe")
def test_a_probe_is_what_the_model_says_of_one_token_alone(vlm, picture):
    prompt = vlm.encode(picture(40, 40, 0), QUESTION)
    reading = probe.probe_tokens(vlm, prompt, top=5)
    for i in (0, len(prompt.visual) - 1):
        alone = vlm.logits([probe.keep_only(prompt, [i])])[0]
        best, tokens = alone.topk(5)
        assert reading.tokens[i].tolist() == tokens.tolist()
        torch.testing.assert_close(reading.probabilities[i], best.softmax(-1), rtol=1e-4, atol=1e-5)


def with_padding_as_text(vlm, prompt, places):
    """The prompt in which the placeholders at `places` are really the padding token, read as text."""
    at = prompt.is_visual.nonzero()[places, 0]
    ids, is_visual = prompt.sequence["input_ids"].clone(), prompt.is_visual.clone()
    ids[at], is_visual[at] = vlm.processor.tokenizer.pad_token_id, False
    others = [i for i in range(len(prompt.visual)) if i not in places]
    rest = replace(prompt.visual.take(torch.tensor(others, dtype=torch.long)), slot=torch.arange(len(others)))
    sequence = {**prompt.sequence, "input_ids": ids}
    return replace(prompt, sequence=sequence, is_visual=is_visual, visual=rest)


@pytest.mark.shows("probe")
def test_leaving_out_puts_padding_in_the_place_of_tokens(mapped, picture):
    """Against prompts that hold the padding token itself, which no visual token replaces."""
    prompt = mapped.encode(picture(40, 40, 0), QUESTION)
    found = ablation.ablate_global(mapped, prompt)
    around = ablation.neighborhoods(prompt.visual.cell)
    for i in (0, len(prompt.visual) // 2):
        places = [place for place in around[i].tolist() if place >= 0]
        expected = mapped.logits([with_padding_as_text(mapped, prompt, places)])[0]
        torch.testing.assert_close(found.ablated[i], expected, rtol=0, atol=1e-4)
    assert ablation.ablate_regional(mapped, prompt).intact.shape == found.intact.shape


@pytest.mark.shows("probe")
def test_a_neighborhood_keeps_its_rows_and_columns_where_positions_tell_them(vlm, picture):
    prompt = vlm.encode(picture(64, 64, 0), QUESTION)
    places = [place for place in ablation.neighborhoods(prompt.visual.cell)[0].tolist() if place >= 0]
    positions = probe.keep_only(prompt, places).inputs()["position_ids"]
    if positions.ndim == 2:
        assert positions[0].diff().unique().tolist() == [1]
    else:
        whole = prompt.sequence["position_ids"][:, prompt.is_visual.nonzero()[places, 0]]
        kept = probe.keep_only(prompt, places)
        assert torch.equal(positions[1:, 0, kept.is_visual[kept.is_kept()]], whole[1:])


@pytest.mark.shows("codebook")
def test_evidence_is_of_tokens_that_show_something(mapped, evidence_of, folder):
    evidence = evidence_of(mapped)
    media = [mapped.encode(path, probe.QUESTION).visual for path in sorted(folder.iterdir())]
    assert len(evidence) == sum(int((~tokens.is_break).sum()) for tokens in media)
    assert (evidence.cell[:][:, 3] >= 0).all()


@pytest.mark.shows("codebook")
@pytest.mark.parametrize("options", [{"keep": 0.3}, {"tokens": 3}, {"keep": 0.3, "threshold": 0.9}])
def test_a_codebook_prunes_by_share_by_count_and_by_threshold(vlm, book, picture, options):
    media = picture(40, 40, 7)
    tokens = vlm.encode(media, QUESTION).visual
    pruner = CodebookPruner(codebook=book, budget="prompt", **options)
    kept = pruner.prune(tokens)
    redundancy = book.redundancy(tokens.embeds)
    content = kept.slot[~kept.is_break]
    if "threshold" in options:
        assert torch.equal(
            redundancy < 0.9, torch.isin(tokens.slot, content) | (tokens.is_break & (redundancy < 0.9))
        )
    else:
        dropped = [i for i in tokens.slot[~tokens.is_break].tolist() if i not in content.tolist()]
        assert redundancy[content].max() <= redundancy[dropped].min()
    assert vlm.answer(media, QUESTION, pruner=pruner, max_new_tokens=2).tokens_kept == len(kept)


def test_tokens_of_whole_pictures_have_no_neighborhood(loaded, picture):
    vlm = loaded("idefics2")
    prompt = vlm.encode(picture(40, 40, 0), QUESTION)
    with pytest.raises(UsageError, match="no neighbors: each of them is read from a whole picture"):
        ablation.ablate_regional(vlm, prompt)


def test_prototypes_are_read_without_the_deepstack_features_of_a_token(loaded, folder):
    """Against a prompt whose first placeholder alone is filled, by hand."""
    vlm, path = loaded("qwen3_vl"), folder / "0.png"
    prompt = vlm.encode(path, probe.QUESTION)
    first = prompt.visual.take(torch.tensor([0]))
    book = Codebook(prompt.visual.embeds[[3, 7]], {"format": 1, "model": "x", "fingerprint": vlm.fingerprint})

    def confidence(embeds, deep):
        alone = replace(prompt, visual=replace(first, embeds=embeds[None], deep=deep))
        return float(vlm.logits([alone])[0].topk(50).values.softmax(-1)[0])

    nothing = tuple(torch.zeros_like(layer) for layer in first.deep)
    expected = [confidence(embeds, nothing) for embeds in book.prototypes]
    kept = [confidence(embeds, first.deep) for embeds in book.prototypes]
    assert nothing
    assert all(abs(a - b) > 1e-3 for a, b in zip(expected, kept, strict=True))  # or nothing is tested
    says = nearest_prototypes(vlm, prompt, book)["says"]
    assert [says[number][0][1] for number in ("0", "1")] == pytest.approx(expected, abs=1e-4)
    found = inspect_codebook(vlm, book, [path])["prototypes"]
    assert [prototype["confidence"] for prototype in found] == pytest.approx(expected, abs=1e-4)


@pytest.mark.shows("pruners")
def test_every_pruner_runs_or_names_what_is_missing(vlm, media):
    trials = Trials(vlm)
    for name in FREE:
        pruner = pruners.make(f"{name}:tokens=3")
        if obstacle := trials.of_pruner(name):
            why = "carry a state" if vlm.family.is_recurrent else "(deepstack)"
            why = "share keys and values" if facts.kind(vlm) in facts.SHARED_KEYS else why
            assert min(pruner.required_signals - vlm.signals, default=why) in obstacle
            with pytest.raises(UsageError, match=re.escape(obstacle)):
                vlm.answer(media, QUESTION, pruner=pruner)
        else:
            answer = vlm.answer(media, QUESTION, pruner=pruner, max_new_tokens=2)
            assert 3 <= answer.tokens_kept < answer.tokens_total, name


def scores_of(pictures, tokens, folder):
    """A file of scores of the pictures that these tokens are of: the later in a picture, the higher."""
    counts = tokens.without_breaks().cell[:, 0].bincount().tolist()
    digests = [picture_digest(picture) for picture in pictures]
    scores = {key: torch.arange(n) + i / 2 for i, (key, n) in enumerate(zip(digests, counts, strict=True))}
    save_file(scores, folder / "scores.safetensors")
    return folder / "scores.safetensors"


def test_scores_are_of_the_tokens_of_their_pictures(vlm, picture, tmp_path):
    media = [picture(64, 64, 1), picture(96, 64, 5)]
    prompt = vlm.encode(media, QUESTION, signals=frozenset({"picture"}))
    file = scores_of(media, prompt.visual, tmp_path)
    shown = prompt.visual.without_breaks()
    first, second = (shown.slot[shown.cell[:, 0] == image].tolist() for image in (0, 1))
    # A token of the second picture beats the one as late in the first by a half.
    rank = {slot: i for slots in (first, second) for i, slot in enumerate(slots)}
    order = sorted(rank, key=lambda slot: (rank[slot], slot in second))
    kept = Scores(tokens=4, file=str(file)).prune(prompt.visual)
    assert kept.slot[~kept.is_break].tolist() == sorted(order[-4:])


def test_only_a_pruner_that_reads_the_question_chooses_by_it(vlm, book, evidence_of, picture, tmp_path):
    media, questions = picture(64, 64, 1), (QUESTION, "how many dogs are in the garden?")
    asked = [vlm.encode(media, question, signals=vlm.signals).visual for question in questions]
    file = scores_of([media], asked[0], tmp_path)
    for name in pruners.names():
        needs = f",file={file}" if name == "scores" else ""
        pruner = pruners.make(f"{name}:tokens=4{needs}")
        if isinstance(pruner, BookPruner):
            pruner = replace(pruner, codebook=book)
        if isinstance(pruner, ScorerPruner):
            pruner = replace(pruner, scorer=fit_scorer(evidence_of(vlm), Fitting(passes=1)))
        if pruner.required_signals <= vlm.signals:
            kept = [pruner.prune(tokens).slot for tokens in asked]
            assert pruner.reads_question or torch.equal(*kept), name


@pytest.mark.shows("chat")
def test_a_chat_encodes_its_pictures_once(vlm, picture, record_property):
    media, pruner = picture(64, 64, 1), pruners.make("divprune:tokens=4")
    chat, encoded = vlm.chat(media, pruner=pruner), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "wordsight.models.vlm.encode_images", lambda *inputs: encoded.append(1) or encode_images(*inputs)
        )
        if not vlm.processor.chat_template:
            chat.ask(QUESTION, max_new_tokens=2)
            with pytest.raises(UsageError, match="no chat template"):
                chat.ask("and the dog?")
            record_property("cannot", "it takes one question")
            return
        first = chat.ask(QUESTION, max_new_tokens=2)
        second = chat.ask("and the dog?", max_new_tokens=2)
    assert len(encoded) == 1
    whole = vlm.encode(media, "and the dog?", turns=[(QUESTION, first.text)])
    assert second.text == vlm.generate([pruner(whole)], max_new_tokens=2)[0]


@pytest.mark.shows("bfloat16")
def test_half_precision_runs_from_picture_to_answer(checkpoint, vlm, book, media):
    half = VLM.from_pretrained(vlm.name, dtype=torch.bfloat16)
    prompt = half.encode(media, QUESTION)
    assert prompt.visual.embeds.dtype == torch.bfloat16
    kept = CodebookPruner(codebook=book, keep=0.5).prune(prompt.visual)
    logits = half.logits([replace(prompt, visual=kept)])
    assert logits.dtype == torch.float32
    assert book.redundancy(prompt.visual.embeds).dtype == torch.float32
    exact = vlm.encode(media, QUESTION)
    index = torch.isin(exact.visual.slot, kept.slot).nonzero()[:, 0]
    expected = vlm.logits([replace(exact, visual=exact.visual.take(index))])
    close = 0.9 if facts.kind(vlm) in facts.ROUTED else 0.98
    assert torch.cosine_similarity(logits, expected).item() > close


def test_an_analysis_orders_tokens_by_what_the_model_has(mapped, folder, evidence_of, tmp_path, monkeypatch):
    found = evidence_of(mapped)
    monkeypatch.setattr("wordsight.analysis.intermediate_states.collect_evidence", lambda *given: found)
    monkeypatch.setattr("wordsight.analysis.dropping.LENGTH", 2)
    record = analyze(mapped, sorted(folder.iterdir()), tmp_path, question=QUESTION)
    absent = {row["label"] for row in record["absent"]}
    names = [order["name"] for order in record["orders"]]
    assert ("cls_attention" in names) == ("[CLS] attention" not in absent)
    assert "text_attention" in names
    for name in names:
        half = record["halves"][name]
        counts = [int((found.image == i).sum()) // 2 for i in range(3)]
        assert half["tokens"] == pytest.approx(sum(counts) / 3)
        assert half["divergence"]["low"]["mean"] > 0


def test_attention_of_layers_that_share_keys_is_that_which_the_model_returns(loaded, picture):
    vlm = loaded("gemma3n")
    prompt = vlm.encode(picture(64, 64, 0), QUESTION)
    found = text_attention(vlm.model, prompt)
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(vlm.model.config.text_config, "_attn_implementation", "eager")
        output = vlm.model(**prompt.inputs(), output_attentions=True, use_cache=False)
    expected = torch.stack([weights[0].mean(0)[-1, prompt.is_visual] for weights in output.attentions])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_gaps_of_positions_with_axes_cannot_be_closed(vlm, picture):
    pruner = pruners.make("uniform:tokens=4,positions=contiguous")
    prompt = vlm.encode(picture(40, 40, 0), QUESTION)
    if prompt.sequence["position_ids"].ndim == 1:
        assert pruner(prompt).inputs()["position_ids"][0].diff().unique().tolist() == [1]
    else:
        with pytest.raises(UsageError, match="M-RoPE"):
            pruner(prompt)
