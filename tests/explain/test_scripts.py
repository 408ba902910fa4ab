"""The functions of the page's scripts that touch no page, run by QuickJS and compared with Python."""

import json
from dataclasses import replace

import pytest
import quickjs
import torch

from wordsight import pruners
from wordsight.algorithms.selection import top_indices
from wordsight.explain.page import SCRIPTS, WEB
from wordsight.explain.pruner_choices import agreement, pruner_choices
from wordsight.pruners.codebook import CodebookPruner
from wordsight.redundancy.codebook import Codebook

KEEPS = (0.1, 0.2, 0.5)
SHARES = (0.01, 0.03, 0.1, 0.29, 0.38, 0.5, 0.57, 0.99, 1.0)
COUNT = 144
SCORED = ("codebook", "cls_topk", "random")


# QuickJS as it is packaged for Python is older than this method, which every browser has since 2022.
AT = "Array.prototype.at ??= function (i) { return this[i < 0 ? this.length + i : i]; };"


class Scripts:
    """All scripts of the page but the one that runs it."""

    def __init__(self):
        self._context = quickjs.Context()
        self._context.eval("\n".join([AT, *((WEB / name).read_text("utf-8") for name in SCRIPTS[:-1])]))

    def __call__(self, expression, **values):
        """What an expression of JavaScript is worth, as JSON; the values are its constants."""
        constants = "".join(f"const {name} = {json.dumps(value)};" for name, value in values.items())
        found = self._context.eval(f"(() => {{ {constants} return JSON.stringify({expression}) }})()")
        return json.loads(found)


@pytest.fixture(scope="module")
def js():
    return Scripts()


@pytest.fixture(scope="module")
def book(tmp_path_factory, prompt):
    """The folder of a book for the tiny model: some of a picture's tokens, turned a little."""
    random = torch.Generator().manual_seed(5)
    embeds = prompt.visual.embeds[::9] + torch.randn(16, 32, generator=random) * 0.5
    folder = tmp_path_factory.mktemp("books") / "book"
    Codebook(embeds, {"format": 1, "model": "tiny", "fingerprint": None}).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def methods(book):
    """Pruners by name: of scores, of none, and with a threshold of its own."""
    found = {name: pruners.make(name) for name in ("cls_topk", "divprune", "random", "uniform")}
    found["codebook"] = CodebookPruner(codebook=book)
    return found | {"threshold": CodebookPruner(codebook=book, threshold=0.6)}


@pytest.fixture(scope="module")
def prompt_with_signals(tiny, picture, methods):
    signals = frozenset().union(*(method.required_signals for method in methods.values()))
    return tiny.encode(picture, "what is the background?", signals=signals)


@pytest.fixture(scope="module")
def records(tiny, prompt_with_signals, methods):
    """What a record has of each of the methods, as it comes out of its JSON."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("wordsight.models.vlm.NEW_TOKENS", 1)
        found = pruner_choices(tiny, prompt_with_signals, list(methods.values()), KEEPS)["methods"]
    return dict(zip(methods, json.loads(json.dumps(found)), strict=True))


def kept(js, record, share, limit=None):
    """What the page makes of a method at a share, or beyond a limit: Method.kept, its tokens sorted."""
    set_limit = "" if limit is None else "method.limit = limit; "
    return js(
        f"((method) => {{ {set_limit}const found = method.kept(share);"
        " return {...found, tokens: [...found.tokens].sort((a, b) => a - b), text: method.keptText(found)} })"
        f"(new Method(record, {COUNT}))",
        record=record,
        share=share,
        limit=limit,
    )


def test_a_share_keeps_what_python_keeps(js, records, methods, prompt_with_signals):
    for name in SCORED:
        for share in SHARES:
            expected = replace(methods[name], keep=share).prune(prompt_with_signals.visual).slot.tolist()
            found = kept(js, records[name], share)
            assert found["tokens"] == expected, (name, share)
            assert (found["by"], found["text"]) == ("share", f"{len(expected)} of 144")


def test_shares_that_were_computed_are_as_the_record_has_them(js, records):
    for name in records.keys() - {"threshold"}:
        for keep, choice in zip(KEEPS, records[name]["choices"], strict=True):
            found = kept(js, records[name], keep)
            assert (found["tokens"], found["by"]) == (choice["kept"], "share"), (name, keep)


def test_a_share_that_was_not_computed_is_the_nearest_that_was_and_says_so(js, records):
    record = records["divprune"]
    assert record["scores"] is None
    for share, number, text in ((0.01, 0, "10%"), (0.28, 1, "20%"), (0.36, 2, "50%"), (1.0, 2, "50%")):
        found = kept(js, record, share)
        assert (found["tokens"], found["by"]) == (record["choices"][number]["kept"], "nearest")
        assert found["text"] == f"{len(found['tokens'])} of 144, computed at {text}"


def test_a_pruner_begins_with_a_threshold_of_its_own(js, records):
    found = kept(js, records["threshold"], 0.2)
    assert found["tokens"] == records["threshold"]["choices"][0]["kept"]
    assert found["text"] == f"{len(found['tokens'])} of 144, by threshold"
    unscored = kept(js, records["threshold"] | {"scores": None}, 0.2)
    assert unscored["tokens"] == found["tokens"]
    assert unscored["text"] == f"{len(found['tokens'])} of 144, by its own threshold"


def test_a_threshold_keeps_what_python_keeps(js, records, methods, prompt_with_signals):
    tokens, record = prompt_with_signals.visual, records["codebook"]
    redundancy = Codebook.from_pretrained(methods["codebook"].codebook).redundancy(tokens.embeds)
    low, high = js(f"new Method(record, {COUNT}).ends", record=record)
    assert (low, high) == (float(redundancy.min()), float(redundancy.max()))
    exactly = redundancy[[3, 50, 99]].tolist()  # at a value, a rounding would show
    places = [low + (high - low) * place / 1000 for place in (0, 1, 250, 500, 731, 1000)]
    for limit in [*places, *exactly, *(value + 1e-10 for value in exactly), -1.0, 1.0]:
        found = kept(js, record, 0.2, limit)
        expected = replace(methods["codebook"], threshold=limit).prune(tokens).slot.tolist()
        assert (found["tokens"], found["by"]) == (expected, "threshold"), limit


def test_a_share_after_a_threshold_decides_again(js, records):
    after = (
        "((method) => { method.limit = 0.5; method.kept(0.1); method.limit = null; return method.kept(0.1) })"
        f"(new Method(record, {COUNT})).by"
    )
    assert js(after, record=records["codebook"]) == "share"


def test_counts_are_pythons_for_every_share_and_number(js):
    found = js("shares.map((share) => numbers.map((number) => budget(share, number)))",
               shares=[i / 100 for i in range(1, 101)], numbers=list(range(1, 301)))  # fmt: skip
    for i, row in enumerate(found, 1):
        assert row == [min(n, max(1, round(i / 100 * n))) for n in range(1, 301)]


def test_ties_are_kept_in_reading_order(js, records):
    scores = [float(i % 7) for i in range(COUNT)]
    for share in (0.1, 0.2, 0.33, 0.8):
        found = kept(js, records["random"] | {"scores": scores}, share)
        assert found["tokens"] == sorted(top_indices(torch.tensor(scores), round(share * COUNT)).tolist())


def test_votes_are_the_agreement_of_the_record(js, records):
    given = list(records.values())
    for number, row in enumerate(agreement(given, KEEPS, COUNT)):
        choices = [each["choices"][number if len(each["choices"]) > 1 else 0]["kept"] for each in given]
        votes = js("votes(choices, count)", choices=choices, count=COUNT)
        assert votes == row["kept_by"]
        every, none = votes.count(len(given)), votes.count(0)
        text = f"kept by all {len(given)} pruners: {every}; by some: {COUNT - every - none}; by none: {none}."
        assert text in js("agreementText(counts, number)", counts=votes, number=len(given))
    assert js("agreementText([2, 1], 2)") == "Tokens kept by both pruners: 1; by some: 1; by none: 0."


def test_colors_go_from_the_dark_end_to_the_light_one_and_no_further(js):
    colors = js("places.map(colorAt)", places=[-1, 0, 0.25, 0.5, 0.75, 1, 2])
    assert colors[0] == colors[1] == [68, 1, 84]
    assert colors[2:5] == [[59, 82, 139], [33, 145, 140], [94, 201, 98]]
    assert colors[5] == colors[6] == [253, 231, 37]
    light = js("places.map(colorAt)", places=[i / 100 for i in range(101)])
    brightness = [0.2126 * red + 0.7152 * green + 0.0722 * blue for red, green, blue in light]
    assert brightness == sorted(brightness)


def test_a_translucent_color_has_the_opacity_that_is_asked_for(js):
    for opacity, digits in ((0, "00"), (0.02, "05"), (0.6, "99"), (1, "ff")):
        assert js("translucent('#16181c', opacity)", opacity=opacity) == f"#16181c{digits}"
    assert js("translucent([68, 1, 84], .6)") == "rgba(68,1,84, 0.6)"


def test_a_value_has_its_place_on_the_scale_and_back(js):
    linear, log = ({"scale": kind, "low": 0.001, "high": 10.0} for kind in ("linear", "log"))
    for scale in (linear, log):
        values = [0.001, 0.01, 0.5, 3.0, 10.0]
        places = js("values.map((value) => placeOf(map, value))", map=scale, values=values)
        assert (places[0], places[-1]) == (0, pytest.approx(1))
        back = js("places.map((place) => valueAt(map, place))", map=scale, places=places)
        assert back == pytest.approx(values)
    assert js("placeOf(map, .1)", map=log) == pytest.approx(0.5)
    assert js("placeOf(map, 0)", map=log) == 0, "zero has no logarithm"
    assert js("placeOf(map, 3)", map=linear | {"high": 0.001}) == 0.5, "all values are alike"


def test_ticks_are_the_values_of_a_scale_and_say_where_it_is_clipped(js):
    scale = {"scale": "linear", "low": 0.66923, "high": 0.99795, "clipped": True}
    assert js("ticks(map)", map=scale) == ["≤ 0.669", "0.751", "0.834", "0.916", "≥ 0.998"]
    assert js("ticks(map)", map=scale | {"clipped": False})[0] == "0.669"
    assert js("ticks(map)", map={"steps": ["0", "1", "2"]}) == ["0", "1", "2"]


def test_numbers_are_short(js):
    cases = {0: "0", 7: "7", 0.12345: "0.123", 12.3456: "12.3", 0.00001234: "1.2e-5", 123456.7: "1.2e+5"}
    assert js("values.map(shortly)", values=list(cases)) == list(cases.values())
    assert js("shares.map(percent)", shares=[0.1, 0.29, 1, 0.12345]) == ["10%", "29%", "100%", "12.3%"]
    assert js("['', 'pig'].map(visible)") == ["(blank)", "pig"]


def test_keys_lead_from_token_to_token(js):
    rows = [list(range(12 * y, 12 * y + 12)) for y in range(12)]
    walk = [("ArrowDown", 12), ("ArrowDown", 24), ("ArrowRight", 25), ("End", 35), ("ArrowRight", 35)]
    walk += [("ArrowUp", 23), ("Home", 12), ("PageDown", 72), ("Control+End", 143), ("ArrowDown", 143)]
    walk += [("PageUp", 83), ("ArrowLeft", 82), ("Control+Home", 0), ("ArrowLeft", 0), ("ArrowUp", 0)]
    token = 0
    for key, expected in walk:
        event = {"key": key.removeprefix("Control+"), "ctrlKey": key.startswith("Control+")}
        token = js("nextToken(rows, token, event)", rows=rows, token=token, event=event)
        assert token == expected, key
    assert js("nextToken(rows, 5, {key: 'x'}) === undefined", rows=rows)
    ragged = [[0, 1, 2], [3]]
    assert js("nextToken(rows, 2, {key: 'ArrowDown'})", rows=ragged) == 3


def made_up(panels, crops):
    """A record of two tokens, of which the second says nothing."""
    grids = [{"crop": crop, "label": f"crop {crop}"} for crop in range(crops)]
    words = [["pig", 0.98412], ["", 0.01], ["sky", 0.002], ["x", 0.001]]
    return {
        "panels": [{"title": f"panel {i}", "crops": grids} for i in range(panels)],
        "tokens": {"cell": [[0, 0, 1, 4], [0, 0, 1, 5]], "words": [words, words],
                   "says_nothing": [False, True], "values": {"global": [0.5, 0.25]}},
        "maps": [{"name": "global", "label": "global divergence"}],
    }  # fmt: skip


def test_a_token_is_described_by_place_words_and_values(js):
    assert js("place(record, 0)", record=made_up(1, 1)) == "row 2, column 5"
    assert js("place(record, 0)", record=made_up(2, 2)) == "row 2, column 5, crop 0, panel 0"
    assert js("summary(record, 0)", record=made_up(1, 1)) == (
        "row 2, column 5, says pig 0.984, (blank) 0.01, sky 0.002; global divergence 0.5"
    )


def test_a_token_that_says_nothing_is_a_dot_and_no_word(js):
    tokens = made_up(1, 1)["tokens"]
    assert js("[0, 1].map((token) => wordOf(tokens, token))", tokens=tokens) == ["pig", None]
    assert js("['pig', '', null].map(visible)") == ["pig", "(blank)", "·"]
    assert js("['pig', '', null].map(audible)") == ["pig", "(blank)", "nothing"]
    assert js("summary(record, 1)", record=made_up(1, 1)) == (
        "row 2, column 6, says nothing; global divergence 0.25"
    )


def test_a_prototype_is_described_and_shares_tokens(js):
    codebook = {"prototypes": 9, "nearest": [4, 2, 4], "similarity": [0.5, 0.7, 0.75], "digest": "d",
                "says": {"4": [["pig", 0.9]], "2": [["sky", 0.25]]}, "says_nothing": [2],
                "patches": None, "said": {}}  # fmt: skip
    assert js("[0, 1, 2].map((token) => alike(codebook, token))", codebook=codebook) == [[2, 0], [1], [2, 0]]
    assert js("prototypeText(codebook, 0)", codebook=codebook).startswith(
        "Of the 9 prototypes of what the codebook calls redundant, number 4 is the nearest "
        "(cosine 0.5, the 3rd highest of 3). Alone, it says pig 0.9: a word, but the condition that"
    )
    silent = js("prototypeText(codebook, 1)", codebook=codebook)
    assert silent.endswith(
        "number 2 is the nearest (cosine 0.7, the 2nd highest of 3). Alone, it says nothing."
    )


def test_an_answer_says_whether_it_differs_and_what_was_read(js):
    choice = {"keep": 0.2, "kept": [0, 1], "tokens_read": 2, "answer": "two"}
    cases = [
        (choice, {"differs": False, "answer": "two", "number": "2 tokens"}),
        (choice | {"answer": ""}, {"differs": True, "answer": "≠ (blank)", "number": "2 tokens"}),
        (choice | {"tokens_read": 3.5},
         {"differs": False, "answer": "two", "number": "2 tokens left, 3.5 read on average"}),
        (choice | {"keep": None, "right": True},
         {"differs": False, "answer": "two ✓", "number": "2 tokens, by its own threshold"}),
        (choice | {"right": False}, {"differs": False, "answer": "two ✗", "number": "2 tokens"}),
    ]  # fmt: skip
    for given, expected in cases:
        assert js("answerText(choice, 'two')", choice=given) == expected


def test_the_notes_say_what_is_missing_and_why(js):
    record = {
        "notes": ["a note"],
        "missing": [{"label": "redundancy", "why": "no codebook was given"}], "probe_question": "What?",
        "panels": [1, 2], "codebook": None, "wordsight": "1.0", "model": "demo",
        "methods": [{"name": "a", "scores": [1], "selection": "by a score of each token"},
                    {"name": "b", "scores": None, "selection": "jointly"}],
    }  # fmt: skip
    note, missing, probe, alone, unscored, made = js("notes(record)", record=record)
    assert note == "a note"
    assert missing == "No redundancy: no codebook was given."
    assert "come from the probe question: “What?”" in probe
    assert alone.startswith("A token seen alone still follows the text around every picture")
    assert unscored == "b selects tokens jointly: only the shares that were computed can be shown."
    assert made == "Made by wordsight 1.0 with demo; pictures are smaller copies."


def test_a_rank_is_the_place_among_the_scores(js, records):
    record = records["cls_topk"]
    ranks = js(f"((method) => tokens.map((token) => method.rank(token)))(new Method(record, {COUNT}))",
               record=record, tokens=list(range(COUNT)))  # fmt: skip
    scores = record["scores"]
    assert ranks == [
        1 + sum(other > one or (other == one and i < token) for i, other in enumerate(scores))
        for token, one in enumerate(scores)
    ]
    assert js("numbers.map(ordinal)", numbers=[1, 2, 3, 4, 11, 12, 21, 101, 111, 112, 122]) == [
        "1st", "2nd", "3rd", "4th", "11th", "12th", "21st", "101st", "111th", "112th", "122nd",
    ]  # fmt: skip


def why(js, record, token, share, limit=None):
    """Why a method keeps or drops a token at a share, or beyond a limit."""
    return js(
        "((method) => { if (limit !== null) method.limit = limit; const kept = method.kept(share), has = [];"
        " for (const one of kept.tokens) has[one] = 1; return choiceText(method, {...kept, has}, token) })"
        f"(new Method(record, {COUNT}))",
        record=record,
        token=token,
        share=share,
        limit=limit,
    )


def test_a_pruner_says_why_it_keeps_or_drops_a_token(js, records):
    record = records["cls_topk"]
    order = sorted(range(COUNT), key=lambda token: -record["scores"][token])
    assert why(js, record, order[0], 0.2) == "cls_topk ranks it 1st of 144, 29 are kept: it is kept."
    assert why(js, record, order[29], 0.2) == "cls_topk ranks it 30th of 144, 29 are kept: it is dropped."
    assert "1 lies beyond the threshold: it is dropped" in why(js, record, order[1], 0.2, 1e9)
    record = records["divprune"]
    token = next(iter(set(record["choices"][1]["kept"]) - set(record["choices"][0]["kept"])))
    assert why(js, record, token, 0.2) == (
        "divprune selects jointly, not one by one; of 144 it keeps 29: it is kept. Kept at "
        + ", ".join(f"{c['keep']:.0%}" for c in record["choices"] if token in c["kept"]) + "."
    )  # fmt: skip


def test_what_an_absence_changes_is_said_of_the_answer_if_it_is_known(js):
    record = {"tokens": {"values": {"effect": [0.2, 0.05, 0.001], "global": [0.001, 0.3, 0.2]}},
              "maps": [{"name": "global"}, {"name": "effect"}]}  # fmt: skip
    texts = js("[0, 1, 2].map((token) => withoutText(record, token))", record=record)
    assert texts[0] == (
        "Without it and its neighbors, the first word of the answer moves far: by 0.2 of at most 0.693 nats. "
        "No token matters more."
    )
    assert texts[1].endswith("moves a little: by 0.05 of at most 0.693 nats. 1 of 3 tokens matters more.")
    assert texts[2].endswith("hardly moves: by 0.001 of at most 0.693 nats. 2 of 3 tokens matter more.")
    record["maps"].pop()
    assert "what the model says of the picture hardly moves" in js("withoutText(record, 0)", record=record)


def test_the_finding_is_that_of_the_choice_that_is_shown(js, records):
    def found(record, share, limit="method.limit"):
        return js(
            f"((method) => {{ method.limit = {limit};"
            " return findingText(method, findings, method.kept(share), share) })"
            f"(new Method(record, {COUNT}))",
            record=record,
            findings=["ten.", "twenty.", "fifty."][: len(record["choices"])],
            share=share,
        )

    assert found(records["cls_topk"], 0.2) == "twenty."
    assert found(records["cls_topk"], 0.29) == (
        "42 of 144 tokens are kept; the answer was computed at 10%, 20%, 50% only."
    )
    assert found(records["cls_topk"], 0.005).startswith("1 of 144 tokens is kept; ")
    assert found(records["divprune"], 0.29) == "twenty. (Computed at 20%.)"
    assert found(records["threshold"], 0.2) == "ten."
    assert found(records["threshold"], 0.2, "null") == (
        "29 of 144 tokens are kept; the answer was computed at its own threshold only."
    )


def regions(js, words):
    """The regions of rows of words, of tokens numbered in reading order."""
    said = [word for line in words for word in line]
    cell = [[0, 0, y, x] for y, line in enumerate(words) for x in range(len(line))]
    return js("regionsOf(rowsOf([...cell.keys()], cell), (token) => said[token])", cell=cell, said=said)


def test_neighbors_of_one_word_are_merged(js):
    words = ["aab", "aab", "bba"]
    found = regions(js, words)
    assert [(one["word"], sorted(one["tokens"])) for one in found["regions"]] == [
        ("a", [0, 1, 3, 4]),
        ("b", [2, 5]),
        ("b", [6, 7]),
        ("a", [8]),
    ]
    edges = [
        [3 * y + x, side]
        for y in range(3)
        for x in range(3)
        for side, right, down in (("right", 1, 0), ("bottom", 0, 1))
        if x + right < 3 and y + down < 3 and words[y][x] != words[y + down][x + right]
    ]
    assert found["edges"] == edges


def test_a_label_has_the_most_room_that_its_region_has(js):
    found = regions(js, ["aaaaa", "aaaaa", "abbbb"])["regions"]
    assert [one["label"] for one in found] == [[0, 9], [11, 14]]


def test_a_grid_with_gaps_is_merged_too(js):
    found = js("regionsOf(rowsOf([0, 1], [[0, 0, 2, 1], [0, 0, 2, 3]]), () => 'a')")
    assert [one["tokens"] for one in found["regions"]] == [[0], [1]]


def test_a_search_means_the_word_itself_or_what_holds_it(js):
    tokens = {"words": [[["cat", 1]], [["cattle", 1]], [["Dog", 1]], [["x", 1]]],
              "says_nothing": [False, False, False, True]}  # fmt: skip
    for query, found in (("cat", [0]), ("catt", [1]), ("dog", [2]), ("t", [0, 1]), ("·", [3]), (None, [])):
        says = js("[0, 1, 2, 3].filter(matcher(tokens, query))", tokens=tokens, query=query)
        assert says == found, query


NAMES = {"layers": ["kept", "global"], "pruners": ["a", "b:x=1,y=2"], "tokens": 5, "pictures": 2}


def test_a_state_comes_back_from_its_text(js):
    opening = js("OPENING")
    assert js("stateText(OPENING)") == ""
    assert js("stateOf('', names)", names=NAMES) == opening
    state = opening | {"token": 4, "layer": "global", "pruner": "b:x=1,y=2", "beside": "a", "keep": 0.29,
                       "word": "50 % &#x", "picture": 1, "crop": 1, "threshold": -0.5}  # fmt: skip
    assert js("stateOf(stateText(state), names)", state=state, names=NAMES) == state


def test_what_a_page_does_not_have_is_not_in_its_state(js):
    text = "token=5&layer=other&pruner=c&beside=&keep=2&picture=-1&threshold=x&other=1&constructor=1&word=%"
    assert js("stateOf(text, names)", text=text, names=NAMES) == js("({...OPENING, word: '%'})")


def test_a_zoom_stays_within_its_panel_and_about_its_place(js):
    def zoomed(acts):
        return js(f"((zoom) => {{ {acts}; return zoom.seen([0, 0, 1, 1]) }})(new Zoom(() => {{}}))")

    assert zoomed("") == [0, 0, 1, 1]
    assert zoomed("zoom.by(2)") == [-0.5, -0.5, 1.5, 1.5]
    assert zoomed("zoom.by(2, [1, 0])") == [-1, 0, 1, 2]
    assert zoomed("zoom.by(2); zoom.move(9, 9)") == [0, 0, 2, 2]
    assert zoomed("zoom.by(100)")[2] == 8.5
    assert zoomed("zoom.by(4); zoom.reveal([.9, 0, 1, .1])") == [-3, 0, 1, 4]
    assert zoomed("zoom.by(4); zoom.by(1 / 100)") == [0, 0, 1, 1]


def test_the_patch_of_a_prototype_is_cut_out_by_as_many_columns_as_the_record_says():
    says = {str(number): [] for number in range(10, 22)}
    codebook = {"nearest": [17], "says": says, "said": {}, "columns": 5}
    own = Scripts()  # whose functions that touch a page are others
    cut = own(
        "(cutOut = (tiles, part) => part, make = (tag, given) => given, prototypePatch(codebook, tiles, 0))",
        codebook=codebook,
        tiles={"naturalWidth": 80},
    )
    assert cut[0]["of"][0] == [32, 16, 16, 16]  # the eighth of twelve
