"""Every pruner against what all of them promise; the layerwise ones in test_layerwise.py."""

from dataclasses import replace
from itertools import product
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from wordsight import picture_digest, pruners
from wordsight._utils import registry
from wordsight.errors import UsageError
from wordsight.models.picture_keys import PICTURE_SIGNALS
from wordsight.models.text_similarity import TEXT_SIGNALS
from wordsight.models.tokens import VisualTokens
from wordsight.models.vision_tower import BY_LAYER
from wordsight.pruners.base import MergePruner, Pruner
from wordsight.pruners.book import BookPruner
from wordsight.pruners.cls_similarity import ClsSimilarity
from wordsight.pruners.divprune import DivPrune
from wordsight.pruners.layerwise import LayerPruner
from wordsight.pruners.prumerge import PruMerge
from wordsight.pruners.random import Random
from wordsight.pruners.scopes import split
from wordsight.pruners.scorer import ScorerPruner
from wordsight.pruners.scores import Scores
from wordsight.pruners.uniform import Uniform
from wordsight.redundancy.codebook import Codebook
from wordsight.redundancy.scorer import Scorer

CLASSES = {name: registry.find(pruners, name, Pruner) for name in pruners.names()}
# What to keep, and how many of 64 tokens that is.
SHARES = [(0.001, 1), (0.05, 3), (0.1, 6), (0.15, 10), (1 / 3, 21), (0.5, 32), (0.99, 63), (1.0, 64)]
COUNTS = [(1, 1), (7, 7), (63, 63), (64, 64), (99, 64)]
BUDGETS = [({"keep": share}, count) for share, count in SHARES] + [({"tokens": n}, k) for n, k in COUNTS]
POSITIONS = ("original", "contiguous")


def made_up_book(width):
    prototypes = torch.randn(6, width, generator=torch.Generator().manual_seed(5))
    return Codebook(prototypes, {"format": 1, "model": "made-up", "fingerprint": None})


def made_up_scorer(width, fingerprint):
    generator = torch.Generator().manual_seed(6)
    first, second = (torch.randn(shape, generator=generator) / 4 for shape in ((6, 1 + width), (1, 7)))
    config = {
        "format": 1,
        "model": "made-up",
        "fingerprint": fingerprint,
        "questions": ["what is it?"],
        "fitting": {"hidden": 6, "passes": 1, "seed": 0},
        "pictures": 1,
        "tokens": 1,
        "versions": {},
    }
    return Scorer({"first": first, "second": second}, config)


@pytest.fixture(scope="session")
def books(tmp_path_factory, tiny, picture):
    """Folders of made-up books and scorers, by width, the scorers the tiny model's; and a file of scores."""
    root = tmp_path_factory.mktemp("books")
    for width in (16, 32):
        made_up_book(width).save_pretrained(root / str(width) / "book")
        made_up_scorer(width, tiny.fingerprint).save_pretrained(root / str(width) / "scorer")
    scores = {"0" * 64: torch.rand(64), picture_digest(picture): torch.rand(144)}
    save_file(scores, root / "scores.safetensors")
    return root


@pytest.fixture(params=[name for name, cls in CLASSES.items() if not issubclass(cls, LayerPruner)])
def make(request, books):
    """A function that makes one of the pruners that choose before the language model."""
    cls = CLASSES[request.param]

    def made(width=16, **options):
        if issubclass(cls, BookPruner):
            options["codebook"] = str(books / str(width) / "book")
        if issubclass(cls, ScorerPruner):
            options["scorer"] = str(books / str(width) / "scorer")
        if cls is Scores:
            options["file"] = str(books / "scores.safetensors")
        return cls(**options)

    return made


def layout(cells):
    """Random visual tokens at these cells."""
    generator = torch.Generator().manual_seed(9)
    count = len(cells)
    return VisualTokens(
        embeds=torch.randn(count, 16, generator=generator),
        slot=torch.arange(count),
        cell=torch.tensor(cells),
        signals={
            "cls_attention": torch.rand(count, generator=generator),
            "cls_similarity": torch.rand(count, generator=generator),
            "features": torch.randn(count, 12, generator=generator),
            "cls_attention_undivided": torch.rand(count, generator=generator),
            "cls_attention_first": torch.rand(count, generator=generator),
            "keys": torch.randn(count, 3, 4, generator=generator),
            "question": torch.rand(count, 5, generator=generator) * 2 - 1,
            "nearest_word": torch.randint(20, (count,), generator=generator),
            "word_similarity": torch.rand(count, generator=generator),
            **{name: torch.rand(count, 6, generator=generator) for name in sorted(BY_LAYER)},
            "picture": torch.tensor([[0, 0, 0, 0, place, 64] for place in range(count)]),
            "keys_last": torch.randn(count, 3, 4, generator=generator),
        },
    )


CELLS = {
    "one grid": [(0, 0, row, column) for row in range(8) for column in range(8)],
    "one row": [(0, 0, 0, column) for column in range(64)],
    "two images": [(image, 0, row, column) for image in range(2) for row in range(4) for column in range(8)],
    "a small and a large crop": [(0, 0, row, column) for row in range(2) for column in range(2)]
    + [(0, 1, row, column) for row in range(6) for column in range(10)],
    "line breaks": [(0, 0, i // 8, i % 8) if i % 8 < 7 else (0, 0, -1, -1) for i in range(64)],
    "a ragged grid": [(0, 0, 0, 0), *((0, 0, 1 + i // 9, i % 9) for i in range(63))],
}
LAYOUTS = {name: layout(cells) for name, cells in CELLS.items()}


def test_the_budget_is_met_exactly_by_different_tokens_in_reading_order(make):
    for (name, tokens), (budget, count) in product(LAYOUTS.items(), BUDGETS):
        slots = make(**budget).select(tokens).slot.tolist()
        assert len(slots) == count, f"{len(slots)} of {count} tokens of {name} at {budget}"
        assert slots == sorted(set(slots)), f"{name} at {budget}"


def test_kept_tokens_are_taken_over_as_they_are(make, tokens):
    kept = make(keep=0.3).select(tokens)
    if not isinstance(make(), MergePruner):
        assert torch.equal(kept.embeds, tokens.embeds[kept.slot])
    assert torch.equal(kept.cell, tokens.cell[kept.slot])
    assert all(torch.equal(signal, tokens.signals[name][kept.slot]) for name, signal in kept.signals.items())


def test_tokens_that_are_not_finite_are_refused(make, tokens):
    for value in (float("nan"), float("inf")):
        embeds = tokens.embeds.clone()
        embeds[5, 3] = value
        with pytest.raises(UsageError, match="visual tokens are NaN or infinite"):
            make(keep=0.5).prune(replace(tokens, embeds=embeds))


def test_a_signal_that_is_not_finite_is_refused(make, tokens):
    method = make(keep=0.5)
    for name, signal in tokens.signals.items():
        broken = replace(tokens, signals={**tokens.signals, name: signal * float("nan")})
        if name in method.required_signals:
            with pytest.raises(UsageError, match=f"{name} are NaN or infinite"):
                method.prune(broken)
        else:
            assert torch.equal(method.prune(broken).slot, method.prune(tokens).slot), name


def test_a_signal_that_the_tokens_lack_is_named(make, tokens):
    pruner = make(keep=0.5)
    for name in sorted(pruner.required_signals):
        signals = {key: value for key, value in tokens.signals.items() if key != name}
        with pytest.raises(UsageError, match=rf"reads {name}, .*signals=pruner.required_signals"):
            pruner.prune(replace(tokens, signals=signals))


def test_keep_all_is_the_identity(make, tokens):
    for budget in ({"keep": 1.0}, {"keep": 1}, {"tokens": 64}, {"tokens": 1000}):
        kept = make(**budget).select(tokens)
        assert torch.equal(kept.slot, tokens.slot), budget
        assert torch.equal(kept.embeds, tokens.embeds), budget


def test_a_count_wins_over_a_share(make, tokens):
    assert len(make(keep=0.5, tokens=3).select(tokens)) == 3


def test_the_same_tokens_give_the_same_answer_twice(make, tokens):
    assert torch.equal(make(keep=0.25).select(tokens).slot, make(keep=0.25).select(tokens).slot)


def test_pruning_leaves_the_tokens_as_they_were(make, tokens):
    before = tokens.embeds.clone(), tokens.slot.clone()
    make(keep=0.25).select(tokens)
    assert torch.equal(tokens.embeds, before[0])
    assert torch.equal(tokens.slot, before[1])


def test_a_single_token_is_kept(make, tokens):
    for budget in ({"keep": 0.1}, {"keep": 1.0}, {"tokens": 1}, {"tokens": 5}):
        assert make(**budget).select(tokens.take(torch.tensor([5]))).slot.tolist() == [5], budget


def test_pruned_tokens_can_be_pruned_again(make, tokens):
    once = make(keep=0.5).select(tokens)
    for keep in (0.1, 0.5):
        twice = make(keep=keep).select(once)
        assert len(twice) == round(keep * 32), keep
        assert set(twice.slot.tolist()) <= set(once.slot.tolist()), keep


def test_bfloat16_tokens_are_pruned_and_stay_bfloat16(make, tokens):
    kept = make(keep=0.25).select(replace(tokens, embeds=tokens.embeds.bfloat16()))
    assert len(kept) == 16
    assert kept.embeds.dtype == torch.bfloat16


class Elsewhere(torch.Tensor):
    """A tensor as if on another device, with a count of all that is asked of such ones before `cpu()`."""

    asked = 0

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func is torch.Tensor.cpu:
            return torch.Tensor.as_subclass(args[0], torch.Tensor)
        assert func is not torch.Tensor.numpy, "there are no arrays of tensors on another device"
        Elsewhere.asked += 1
        return super().__torch_function__(func, types, args, kwargs)


def test_no_step_of_a_choice_is_asked_of_the_device_of_the_tokens(make, tokens):
    there = replace(
        tokens,
        embeds=tokens.embeds.as_subclass(Elsewhere),
        slot=tokens.slot.as_subclass(Elsewhere),
        cell=tokens.cell.as_subclass(Elsewhere),
        signals={name: signal.as_subclass(Elsewhere) for name, signal in tokens.signals.items()},
    )
    few, many = 32, 62  # neither more than one round of what goes in rounds of halves
    asked = []
    for count in (few, many):
        Elsewhere.asked = 0
        make(tokens=count).select(there)
        asked.append(Elsewhere.asked)
    assert abs(asked[0] - asked[1]) < many - few, asked


def test_duplicates_do_not_change_the_budget(make, tokens):
    doubled = replace(tokens, embeds=tokens.embeds[torch.arange(64) // 16 * 16])
    for budget, count in (({"keep": 0.25}, 16), ({"tokens": 63}, 63)):
        assert len(set(make(**budget).select(doubled).slot.tolist())) == count, budget


def test_zero_vectors_do_not_change_the_budget(make, tokens):
    for zeros in (1, 10, 64):
        embeds = tokens.embeds.clone()
        embeds[:zeros] = 0
        kept = make(keep=0.25).select(replace(tokens, embeds=embeds))
        assert len(set(kept.slot.tolist())) == 16, f"{zeros} vectors are zero"


def test_the_repr_rebuilds_an_equal_pruner(make):
    for budget, positions in product(({"keep": 0.2}, {"tokens": 12}), POSITIONS):
        pruner = make(**budget, positions=positions)
        again = eval(repr(pruner), {type(pruner).__name__: type(pruner)})
        assert again == pruner
        assert repr(again) == repr(pruner)


def test_the_published_preset_is_rebuilt_by_its_repr_and_its_spec(make):
    if type(make()).PUBLISHED is None:
        with pytest.raises(UsageError, match="is of no paper"):
            make().published()
        return
    pruner = replace(make(), **type(make()).PUBLISHED)
    assert eval(repr(pruner), {type(pruner).__name__: type(pruner)}) == pruner
    assert pruners.make(registry.spec(pruner)) == pruner
    name, _, given = registry.spec(pruner).partition(":")
    assert name == registry.spec(make()).partition(":")[0] + ("@published" if pruner.PUBLISHED else "")
    assert not any(option in given for option in pruner.PUBLISHED)


def test_the_spec_rebuilds_the_pruner_at_its_default_budget(make):
    for positions in POSITIONS:
        pruner = make(positions=positions)
        assert pruners.make(registry.spec(pruner)) == pruner


def test_every_scope_has_a_budget_of_its_own(make):
    tokens = layout(
        [(image, 0, row, column) for image in range(3) for row in range(3) for column in range(4)]
    )
    for scope, counts in (("prompt", None), ("image", [4] * 3), ("frame", [4] * 3), ("crop", [4] * 3)):
        kept = make(tokens=4, budget=scope).prune(tokens)
        assert kept.slot.tolist() == sorted(set(kept.slot.tolist()))
        if counts:
            assert kept.cell[:, 0].bincount().tolist() == counts, scope
        else:
            assert len(kept) == 4
        assert len(make(keep=0.3, budget=scope).prune(tokens)) == (11 if scope == "prompt" else 3 * 4)


def test_the_frames_of_films_are_one_image_and_each_a_frame():
    tokens = layout([(image, 0, 0, column) for image in range(4) for column in range(5)])
    tokens = replace(tokens, is_video=tokens.cell[:, 0] >= 2).take(torch.arange(1, 20))
    for scope, counts in (("image", [3, 3, 3]), ("frame", [3, 3, 3, 3])):
        kept = Uniform(tokens=3, budget=scope).prune(tokens)
        assert kept.is_video.tolist() == (kept.cell[:, 0] >= 2).tolist(), scope
        image = kept.cell[:, 0]
        assert (image.clamp(max=2) if scope == "image" else image).bincount().tolist() == counts


def test_a_crop_is_a_part_of_an_enlarged_picture_that_ends_early_too():
    """Five rows, of three in a part: two parts down."""
    whole = [(0, 0, row, column) for row in range(3) for column in range(3)]
    large = [(0, 1, row, column) for row in range(5) for column in range(3)]
    assert [len(part) for part in split(layout([*whole, *large]), "crop")] == [9, 9, 6]


def test_a_scope_of_its_own_is_chosen_from_as_if_it_were_alone(make):
    tokens = layout(
        [(image, 0, row, column) for image in range(2) for row in range(4) for column in range(4)]
    )
    pruner = make(tokens=5, budget="image")
    apart = [pruner.prune(tokens.take(torch.arange(16) + start)).slot.tolist() for start in (0, 16)]
    if type(pruner).select_each is Pruner.select_each:
        assert pruner.prune(tokens).slot.tolist() == [*apart[0], *apart[1]]


def test_a_budget_that_cannot_be_is_refused_with_what_was_given(make):
    for keep in (0, -1, 2.0, 0.0, -0.5, 1.01, 64, float("nan"), float("inf"), "0.2", True, None):
        with pytest.raises(
            UsageError, match=rf"^keep must be a share of the tokens in \(0, 1\], got {keep!r}"
        ):
            make(keep=keep)
    for tokens in (0, -1, 1.5, 8.0, float("nan"), "8", True):
        with pytest.raises(
            UsageError, match=rf"^tokens must be a whole number from 1 on or none, got {tokens!r}$"
        ):
            make(tokens=tokens)


def test_unknown_positions_are_refused(make):
    with pytest.raises(UsageError, match="positions must be 'original' or 'contiguous', got 'closed'"):
        make(positions="closed")


def test_a_model_without_the_signals_a_method_needs_is_refused_by_their_names(make, monkeypatch, tiny):
    pruner = make(width=32)
    monkeypatch.setattr(tiny, "family", SimpleNamespace(signals=lambda model: frozenset()))
    always = TEXT_SIGNALS | PICTURE_SIGNALS
    if pruner.required_signals <= always:
        pruner.check(tiny)
        return
    missing = ", ".join(sorted(pruner.required_signals - always))
    with pytest.raises(UsageError, match=f"needs {missing}, which tiny"):
        pruner.check(tiny)


@pytest.fixture(scope="session")
def whole_prompt(tiny, picture):
    """A prompt with every signal that there is."""
    return tiny.encode(picture, "what is the background?", signals=tiny.signals)


def test_keep_all_leaves_the_logits_unchanged(make, tiny, whole_prompt):
    expected = tiny.logits([whole_prompt])
    for positions in POSITIONS:
        pruned = make(keep=1.0, width=32, positions=positions)(whole_prompt)
        torch.testing.assert_close(tiny.logits([pruned]), expected, atol=1e-5, rtol=0)


def positions_read(prompt):
    return prompt.sequence["position_ids"][prompt.is_kept()].tolist()


def test_kept_tokens_stay_at_their_positions(make, whole_prompt):
    pruned = make(keep=0.1, width=32)(whole_prompt)
    before = whole_prompt.sequence["position_ids"].tolist()
    assert positions_read(pruned) == [before[i] for i in pruned.is_kept().nonzero()[:, 0].tolist()]


def test_contiguous_positions_close_the_gaps(make, whole_prompt):
    pruned = make(keep=0.1, width=32, positions="contiguous")(whole_prompt)
    dropped = len(whole_prompt.visual) - len(pruned.visual)
    assert positions_read(pruned) == list(range(len(whole_prompt.is_visual) - dropped))


def test_the_files_that_are_no_methods_are_none():
    assert not {"base", "book", "layerwise", "scorer"} & set(pruners.names())


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("random", Random()),
        ("random:keep=0.1,seed=3", Random(keep=0.1, seed=3)),
        ("uniform:tokens=64", Uniform(tokens=64)),
        ("divprune:keep=1.0,positions=contiguous", DivPrune(keep=1.0, positions="contiguous")),
        ("cls_similarity:prefer=low", ClsSimilarity(prefer="low")),
        ("uniform:", Uniform()),
        ("uniform:keep=1", Uniform(keep=1.0)),
        ("uniform:tokens=none", Uniform()),
        ("prumerge:neighbours=3", PruMerge(neighbors=3)),  # as it was spelled before
    ],
)
def test_a_spec_names_a_method_and_its_options(spec, expected):
    assert pruners.make(spec) == expected


def test_a_spec_can_name_the_folder_of_a_book(books):
    pruner = pruners.make(f"codebook:codebook={books / '16' / 'book'},threshold=0.45")
    assert torch.equal(pruner.book.prototypes, made_up_book(16).prototypes)
    assert pruner.threshold == 0.45


def test_the_folder_of_a_book_may_have_a_number_for_a_name(tmp_path, monkeypatch):
    made_up_book(16).save_pretrained(tmp_path / "2024")
    monkeypatch.chdir(tmp_path)
    assert len(pruners.make("codebook:codebook=2024").book.prototypes) == 6


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "divprun",
            r"unknown pruner 'divprun': did you mean 'divprune'\? choose from cdpruner, cenprune, cls_sim",
        ),
        ("base", "unknown pruner 'base'"),
        (
            "xyz",
            f"unknown pruner 'xyz': choose from {', '.join(CLASSES)}",
        ),
        ("", "unknown pruner ''"),
        (
            "random:sed=1",
            r"unknown option of random 'sed': did you mean 'seed'\? choose from budget, keep, positions, se",
        ),
        ("divprune:seed=1", "unknown option of divprune 'seed': choose from budget, keep, positions, tokens"),
        (
            "codebook:book=x",
            "unknown option of codebook 'book': .*from budget, codebook, keep, positions, rule, threshold",
        ),
        (
            "random:seed",
            "expected option=value, got 'seed'; random has keep, tokens, budget, positions, seed",
        ),
        ("random:keep=0", r"keep must be .* got 0"),
        (
            "random:keep=2.0",
            r"'random:keep=2\.0': keep must be a share of the tokens in \(0, 1\], got 2\.0; "
            "for a number of tokens say tokens=2, as in divprune:tokens=2",
        ),
        (
            "random:keep=20%",
            r"keep must be a share of the tokens in \(0, 1\], got '20%'; did you mean 0\.2\?",
        ),
        ("random:tokens=0", "tokens must be a whole number from 1 on or none, got 0"),
        ("random:tokens=0.5", "tokens must be a whole number from 1 on or none, got '0.5'"),
        ("random:keep=0.5,tokens=3", "'random:keep=0.5,tokens=3': expected keep or tokens, one of the two"),
        ("base:keep=0.5", "unknown pruner 'base'"),
        ("layerwise", "unknown pruner 'layerwise'"),
        ("random:keep=abc", r"keep must be .* got 'abc'"),
        ("random:keep=-1", r"keep must be .* got -1"),
        ("random:keep=true", r"keep must be .* got '?[Tt]rue"),
        ("random:positions=closed", "positions must be"),
        ("random:seed=abc", "seed must be .* 'abc'"),
        ("random:seed=1.5", r"seed must be .*1\.5"),
        ("codebook:threshold=abc,codebook={book}", "threshold must be .* 'abc'"),
    ],
)
def test_a_spec_that_cannot_be_is_refused_in_one_sentence(spec, message, books):
    with pytest.raises(UsageError, match=message) as refusal:
        pruners.make(spec.replace("{book}", str(books / "16" / "book")))
    assert "\n" not in str(refusal.value)
