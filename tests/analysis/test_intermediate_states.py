"""What an analysis tells of a model and pictures, against slow loops and cases made by hand."""

import json
import shutil
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from wordsight._utils.records import checked
from wordsight.analysis import dropping
from wordsight.analysis import intermediate_states as library
from wordsight.analysis.dropping import Effect, effects, random_tokens
from wordsight.analysis.intermediate_states import Analysis, analyze, conclusion
from wordsight.analysis.picture_states import PictureStates
from wordsight.analysis.token_maps import TokenMap, TokenMaps
from wordsight.errors import UsageError
from wordsight.models.text_attention import text_attention
from wordsight.redundancy import probe
from wordsight.redundancy.collecting import collect_evidence
from wordsight.redundancy.evidence import Evidence
from wordsight.synthetic.scenes import render

QUESTION = "what is the background?"
CLS = ("cls_attention", "cls_similarity")
SIGNAL = {
    "confidence": "confidence",
    "regional": "regional/jensen_shannon",
    "global": "global/jensen_shannon",
}


@pytest.fixture(scope="module", autouse=True)
def brief():
    """A model of random weights never ends an answer by itself."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dropping, "LENGTH", 3)
        yield


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for seed in (1, 2, 3):
        render(seed).image.save(folder / f"{seed}.png")
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def analyzed(deep, photos, tmp_path_factory):
    """Three photos, their evidence, their orders one by one, and the record."""
    folder = tmp_path_factory.mktemp("evidence") / "found"
    evidence = collect_evidence(deep, photos, folder)
    prompts = [deep.encode(photo, QUESTION, signals=frozenset(CLS)) for photo in photos]
    orders = []
    for prompt in prompts:
        paid = text_attention(deep.model, prompt)
        signals = {name: prompt.visual.signals[name] for name in CLS}
        orders.append({**signals, "text_attention": paid.mean(0), "text_attention_early": paid[1]})
    sure = float(evidence.signals["confidence"].quantile(0.7))
    record = analyze(deep, photos, folder, question=QUESTION, sure=sure)
    return SimpleNamespace(evidence=evidence, prompts=prompts, orders=orders, sure=sure, record=record)


def lowest(values):
    """The half of the places with the lowest values."""
    return sorted(range(len(values)), key=lambda i: values[i])[: len(values) // 2]


def low_in_all(orders):
    return sorted(set.intersection(*(set(lowest(values.tolist())) for values in orders.values())))


def test_a_record_is_plain_json(analyzed):
    plain = json.loads(json.dumps(analyzed.record, allow_nan=False))
    assert json.loads(json.dumps(checked(Analysis, plain, "here"))) == plain
    assert [measure["name"] for measure in plain["measures"]] == list(SIGNAL)
    assert [order["name"] for order in analyzed.record["orders"]] == list(analyzed.orders[0])
    assert analyzed.record["absent"] == []
    assert analyzed.record["pictures"] == ["1.png", "2.png", "3.png"]
    assert analyzed.record["tokens"] == 432


def test_rho_is_the_mean_over_pictures_of_a_slow_loop(analyzed, slow_rho):
    for name, by_measure in analyzed.record["spearman"].items():
        for what, found in by_measure.items():
            values = analyzed.evidence.signals[SIGNAL[what]].reshape(3, 144).tolist()
            rhos = [slow_rho(analyzed.orders[i][name].tolist(), values[i]) for i in range(3)]
            assert found["mean"] == pytest.approx(np.mean(rhos), abs=1e-6)
            reach = 4.30265 * np.std(rhos, ddof=1) / 3**0.5  # t of two degrees of freedom
            assert found["low"] == pytest.approx(max(-1, np.mean(rhos) - reach), abs=1e-4)
            assert found["high"] == pytest.approx(min(1, np.mean(rhos) + reach), abs=1e-4)


def test_tenths_are_the_means_over_pictures_of_a_slow_loop(analyzed):
    values = analyzed.evidence.signals["confidence"].reshape(3, 144)
    means = []
    for order, own in zip(analyzed.orders, values, strict=True):
        places = sorted(range(144), key=lambda i: order["text_attention"][i])
        tenths = [[] for _ in range(10)]
        for place, i in enumerate(places):
            tenths[min(9, int(10 * place / 143))].append(float(own[i]))
        means.append([np.mean(tenth) for tenth in tenths])
    found = analyzed.record["tenths"]["text_attention"]["confidence"]
    assert [tenth["mean"] for tenth in found] == pytest.approx(np.mean(means, 0), abs=1e-6)


def words_of(analyzed, vlm, i):
    """The first words of a photo's tokens, None of what says nothing, and which are said surely."""
    rows = analyzed.evidence.image == i
    first = [row[0] for row in probe.decode_ids(vlm, analyzed.evidence.words[rows][:, :1])]
    says = (analyzed.evidence.signals["blind_divergence"][rows] >= probe.NOISE_FLOOR).tolist()
    words = [word if speaks else None for word, speaks in zip(first, says, strict=True)]
    return words, (analyzed.evidence.signals["confidence"][rows] >= analyzed.sure).tolist()


@pytest.mark.parametrize("name", ["cls_similarity", "text_attention_early", "all"])
def test_shares_and_words_are_those_of_the_low_tokens(analyzed, deep, name):
    shares, others, counts, words = [], [], [], Counter()
    for i, orders in enumerate(analyzed.orders):
        low = low_in_all(orders) if name == "all" else lowest(orders[name].tolist())
        words_said, sure = words_of(analyzed, deep, i)
        lone = probe.keep_only(deep.encode(render(i + 1).image, probe.QUESTION), [])
        blind = probe.decode_ids(deep, deep.logits([lone]).argmax(-1, keepdim=True))[0][0]
        shares.append(np.mean([sure[token] for token in low]))
        others.append(np.mean([sure[token] and words_said[token] not in (None, blind) for token in low]))
        counts.append(len(low))
        words.update(words_said[token] for token in low if sure[token] and words_said[token])
    half = analyzed.record["halves"][name]
    assert half["tokens"] == pytest.approx(np.mean(counts))
    assert half["says"]["low"]["mean"] == pytest.approx(np.mean(shares))
    assert half["says_other"]["low"]["mean"] == pytest.approx(np.mean(others))
    assert dict(half["words"]).items() <= words.items()
    assert [count for _, count in half["words"][:1]] == sorted(words.values())[-1:]


@pytest.mark.parametrize("name", ["cls_attention", "all"])
def test_dropping_is_that_of_the_low_tokens_beside_random_and_high_ones(analyzed, deep, name):
    rows = []
    for orders, prompt in zip(analyzed.orders, analyzed.prompts, strict=True):
        low = low_in_all(orders) if name == "all" else lowest(orders[name].tolist())
        random = effects(deep, prompt, random_tokens(prompt, len(low)))
        (own,) = effects(deep, prompt, [torch.tensor(low)])
        rows.append((own, Effect.mean(random)))
    half = analyzed.record["halves"][name]
    for measure in ("divergence", "changed"):
        low, random = (np.array([getattr(row[i], measure) for row in rows]) for i in (0, 1))
        found = half[measure]
        assert found["low"]["mean"] == pytest.approx(low.mean(), rel=1e-3)
        assert found["random"]["mean"] == pytest.approx(random.mean(), rel=1e-3)
        gap = found["low_minus_random"]
        assert gap["mean"] == pytest.approx((low - random).mean(), rel=1e-3, abs=1e-9)
        if np.ptp(low - random):
            reach = 4.30265 * np.std(low - random, ddof=1) / 3**0.5  # t of two degrees of freedom
            assert gap["low"] == pytest.approx(max(-1, gap["mean"] - reach), rel=2e-3, abs=1e-9)


def test_dropping_the_highest_half_drops_the_rest(analyzed, deep):
    moved = [
        effects(deep, prompt, [torch.tensor(sorted(set(range(144)) - set(lowest(orders[CLS[0]].tolist()))))])
        for orders, prompt in zip(analyzed.orders, analyzed.prompts, strict=True)
    ]
    expected = np.mean([effect.divergence for (effect,) in moved])
    found = analyzed.record["halves"][CLS[0]]["divergence"]["high"]["mean"]
    assert found == pytest.approx(expected, rel=1e-3)


@pytest.fixture
def made_up(evidence_of, monkeypatch):
    """A function after which two photos have these orders, and their tokens this confidence."""

    def make(orders, confidence):
        signals = {name: torch.rand(288) for name in ("regional/jensen_shannon", "global/jensen_shannon")}
        signals["confidence"] = torch.cat(confidence)
        found = evidence_of(signals, image=torch.arange(2).repeat_interleave(144))
        left = iter([orders[0], *orders])  # the first picture is looked at before the work
        monkeypatch.setattr(library, "collect_evidence", lambda *given: found)
        monkeypatch.setattr(
            library,
            "_orders",
            lambda *given: TokenMaps([TokenMap("attention", "attention", "", next(left))], []),
        )

    return make


def test_every_picture_is_ordered_by_itself(tiny, photos, made_up, tmp_path, slow_rho):
    up, down = torch.arange(144.0), torch.arange(144.0).flip(0)
    orders, confidence = [up, 10 * down], [(1 + up) / 200, (1 + down) / 2000]
    made_up(orders, confidence)
    found = analyze(tiny, photos[:2], tmp_path)["spearman"]["attention"]["confidence"]
    assert (found["mean"], found["high"]) == (pytest.approx(1), pytest.approx(1))
    assert found["low"] < 0  # two pictures are no certainty
    # Added up over pictures, as the authors' notebook does, the same numbers tell the contrary.
    assert slow_rho(sum(orders).tolist(), sum(confidence).tolist()) == pytest.approx(-1)


def test_a_picture_whose_order_is_constant_is_left_out_and_counted(tiny, photos, made_up, tmp_path):
    up = torch.arange(144.0)
    made_up([up, torch.ones(144)], [up / 200, up / 200])
    record = analyze(tiny, photos[:2], tmp_path)
    half = record["halves"]["attention"]
    alone = {"low": None, "high": None, "pictures": 1}
    assert record["spearman"]["attention"]["confidence"] == {"mean": pytest.approx(1), **alone}
    assert half["says"]["low"] == {"mean": 0.0, **alone}
    assert half["says"]["high"] == {"mean": pytest.approx(44 / 72), **alone}
    assert half["divergence"]["low_minus_random"]["pictures"] == 1
    assert set(half["conclusion"].values()) == {"inconclusive"}
    assert list(record["halves"]) == ["attention"]


def test_a_token_exactly_as_confident_as_asked_says_something(tiny, photos, made_up, tmp_path):
    up = torch.arange(144.0)
    confidence = torch.where(up < 36, 0.5, 0.25)
    made_up([up, up], [confidence, confidence])
    half = analyze(tiny, photos[:2], tmp_path, sure=0.5)["halves"]["attention"]
    assert (half["says"]["low"]["mean"], half["says"]["high"]["mean"]) == (0.5, 0)
    assert half["says"]["low_minus_high"]["mean"] == 0.5


def test_the_same_file_twice_is_one_picture(tiny, photos, tmp_path):
    twice = tmp_path / "twice.png"
    twice.write_bytes(photos[0].read_bytes())
    record = analyze(tiny, [photos[0], twice, photos[1]], tmp_path / "evidence")
    assert record["pictures"] == [photos[0].name, photos[1].name]
    assert record["tokens"] == 288
    assert record["spearman"]["cls_attention"]["confidence"]["pictures"] == 2
    assert record["skipped"] == {str(twice): f"the same file as {photos[0]}"}


def test_the_blind_word_in_other_letters_is_no_other_word():
    words, low = ["Grass", "sky"] * 8, torch.arange(16.0)
    states = PictureStates({"order": low}, {"confidence": torch.ones(16)}, words, "grass")
    assert states.saying(0.5)["order"]["says_other"]["low"] == 0.5


def test_a_token_that_says_nothing_says_no_other_word_and_none_that_is_listed():
    words, low = ["sky", None] * 8, torch.arange(16.0)
    states = PictureStates({"order": low}, {"confidence": torch.ones(16)}, words, "grass")
    assert states.saying(0.5)["order"]["says_other"]["low"] == 0.5
    assert states.low_words(0.5) == {"order": {"sky": 4}}


def test_a_model_without_a_picture_map_is_refused_before_the_work(tiny, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(type(tiny.family), "has_picture_map", False)
    with pytest.raises(UsageError, match="no picture map"):
        analyze(tiny, photos, tmp_path / "evidence")
    assert not (tmp_path / "evidence").exists()


def between(low, high, pictures=20):
    return {"mean": (low + high) / 2, "low": low, "high": high, "pictures": pictures}


@pytest.mark.parametrize(
    ("says", "other", "expected"),
    [
        (between(0.3, 0.5), between(0.06, 0.4), "yes"),
        (between(0.3, 0.5), between(0.05, 0.4), "inconclusive"),
        (between(0.3, 0.5, 19), between(0.06, 0.4, 19), "inconclusive"),
        (between(0.0, 0.04), between(0.0, 0.01), "no"),
        (between(0.0, 0.05), between(0.0, 0.01), "inconclusive"),
        (between(0.0, 0.04, 19), between(0.0, 0.01, 19), "inconclusive"),
        (between(0.01, 0.2), between(0.0, 0.01), "inconclusive"),
    ],
)
def test_only_the_intervals_say_whether_low_tokens_carry_information(says, other, expected):
    gap = between(-1, 1)
    half = {"says": {"low": says, "low_minus_high": gap}, "says_other": {"low": other}}
    half |= {measure: {"low_minus_random": gap} for measure in ("divergence", "changed")}
    assert conclusion(half)["recognizable"] == expected


@pytest.mark.parametrize(
    ("gap", "expected"),
    [
        (between(0.1, 0.2), "more"),
        (between(-0.2, -0.1), "less"),
        (between(-0.1, 0.1), "inconclusive"),
        (between(0.0, 0.1), "inconclusive"),
        (between(-0.1, 0.0), "inconclusive"),
        (between(0.1, 0.2, 19), "inconclusive"),
        ({"mean": 0.1, "low": None, "high": None, "pictures": 25}, "inconclusive"),
    ],
)
def test_only_the_intervals_say_whether_dropping_matters(gap, expected):
    share = between(0, 1)
    half = {"says": {"low": share, "low_minus_high": gap}, "says_other": {"low": share}}
    half |= {measure: {"low_minus_random": gap} for measure in ("divergence", "changed")}
    found = conclusion(half)
    assert [found[what] for what in ("says", "divergence", "changed")] == [expected] * 3


def without_cls(vlm, monkeypatch):
    tower = replace(vlm.family.tower(vlm.model), has_cls=False)
    monkeypatch.setattr(type(vlm.family), "tower", lambda self, model: tower)
    monkeypatch.setattr(type(vlm.family), "signals", lambda self, model: tower.signals)


def without_attention(monkeypatch):
    def refuse(vlm, prompt):
        raise UsageError("it is deaf")

    monkeypatch.setattr("wordsight.analysis.token_maps.text_attention", refuse)


def test_a_model_without_cls_has_the_other_orders(tiny, photos, tmp_path, monkeypatch):
    without_cls(tiny, monkeypatch)
    record = analyze(tiny, photos[:2], tmp_path / "evidence")
    assert list(record["spearman"]) == ["text_attention"]
    assert [row["label"] for row in record["absent"]] == ["[CLS] attention", "[CLS] similarity"]


def test_a_model_without_attention_has_the_other_orders(tiny, photos, tmp_path, monkeypatch):
    without_attention(monkeypatch)
    record = analyze(tiny, photos[:2], tmp_path / "evidence")
    assert list(record["halves"]) == [*CLS, "all"]
    assert record["absent"] == [{"label": "text-to-image attention", "why": "it is deaf"}]


def test_a_model_without_any_order_is_refused_before_the_work(tiny, photos, tmp_path, monkeypatch):
    without_cls(tiny, monkeypatch)
    without_attention(monkeypatch)
    with pytest.raises(UsageError, match=r"no intermediate state .*no \[CLS\] token.*it is deaf"):
        analyze(tiny, photos, tmp_path / "evidence")
    assert not (tmp_path / "evidence").exists()


@pytest.mark.parametrize("sure", [0, 1.5, float("nan")])
def test_what_is_no_probability_is_refused(tiny, photos, tmp_path, sure):
    with pytest.raises(UsageError, match="sure must be a probability"):
        analyze(tiny, photos, tmp_path, sure=sure)


def test_one_picture_is_refused(tiny, photos, tmp_path):
    (tmp_path / "bad.png").write_text("no picture")
    with pytest.raises(UsageError, match=r"at least two different pictures .*, got only .*1.png"):
        analyze(tiny, [photos[0], tmp_path / "bad.png"], tmp_path / "evidence")
    assert not (tmp_path / "evidence").exists()


def test_evidence_of_another_number_of_tokens_is_refused(tiny, photos, tmp_path, monkeypatch):
    folder = tmp_path / "evidence"
    found = collect_evidence(tiny, photos[:2], folder)
    rows = torch.arange(len(found)) != 5
    fewer = Evidence(
        **{name: getattr(found, name)[rows] for name in ("embeds", "image", "cell", "words")},
        word_probabilities=found.word_probabilities[rows],
        signals={name: values[rows] for name, values in found.signals.items()},
        pictures=found.pictures,
        manifest=found.manifest,
        sha256=found.sha256,
    )
    monkeypatch.setattr(library, "collect_evidence", lambda *given: fewer)
    with pytest.raises(UsageError, match=r"143 tokens of .*1.png, but the model makes another number"):
        analyze(tiny, photos[:2], folder)


def test_signals_that_are_not_finite_are_refused(tiny, photos, made_up, tmp_path):
    up = torch.arange(144.0)
    made_up([up / 0, up], [up / 200, up / 200])
    with pytest.raises(
        UsageError, match=r"tokens of .*1.png: some values of .*attention are NaN or infinite"
    ):
        analyze(tiny, photos[:2], tmp_path)


def gone(path):
    path.unlink()
    return "cannot read"


def a_folder(path):
    path.unlink()
    path.mkdir()
    return "cannot read"


def replaced(path):
    render(99).image.save(path)
    return "is another picture"


@pytest.mark.parametrize("happens", [gone, a_folder, replaced])
def test_a_picture_that_is_not_there_any_more_is_named(tiny, photos, tmp_path, monkeypatch, happens):
    copies = [tmp_path / photo.name for photo in photos[:2]]
    for photo, copy in zip(photos, copies, strict=False):
        shutil.copy(photo, copy)
    told = []

    def collected(*given):
        found = collect_evidence(*given)
        told.append(happens(copies[1]))
        return found

    monkeypatch.setattr(library, "collect_evidence", collected)
    with pytest.raises(UsageError, match=rf"{copies[1]}.*(expected|put)") as error:
        analyze(tiny, copies, tmp_path / "evidence")
    assert told[0] in str(error.value)


def test_a_picture_without_evidence_is_left_to_the_next_run(tiny, photos, tmp_path, monkeypatch):
    copy = tmp_path / "copy.png"
    shutil.copy(photos[1], copy)

    def collected(*given):
        copy.rename(tmp_path / "away")
        try:
            return collect_evidence(*given)
        finally:
            (tmp_path / "away").rename(copy)

    with monkeypatch.context() as patch:
        patch.setattr(library, "collect_evidence", collected)
        with pytest.raises(UsageError, match=r"copy\.png could not be read .*; run the same command again"):
            analyze(tiny, [photos[0], copy], tmp_path / "evidence")
    assert analyze(tiny, [photos[0], copy], tmp_path / "evidence")["skipped"] == {}
