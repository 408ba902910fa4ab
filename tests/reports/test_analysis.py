"""The report of an analysis says what its record says, and no more."""

import re

import pytest
from PIL import Image

from wordsight.errors import UsageError
from wordsight.reports.analysis import analysis_tables, headline, sentences
from wordsight.reports.analysis_page import write_analysis
from wordsight.reports.folder import ANALYSIS_FILES
from wordsight.reports.formats import markdown


def found(mean, low, high, pictures=12):
    return {"mean": mean, "low": low, "high": high, "pictures": pictures}


NONE = found(None, None, None, 0)
ORDERS = (
    ("cls_attention", "[CLS] attention"),
    ("text_attention", "text-to-image attention, mean of 4 layers"),
)
MEASURES = (
    ("confidence", "confidence"),
    ("regional", "regional divergence"),
    ("global", "global divergence"),
)


def half(recognizable="yes", direction="less"):
    dropped = {
        "low": found(0.01, 0.005, 0.02),
        "random": found(0.125, 0.1, 0.15),
        "high": found(0.5, 0.4, 0.6),
        "low_minus_random": found(-0.115, -0.13, -0.09),
        "high_minus_random": found(0.375, 0.3, 0.4),
    }
    return {
        "tokens": 72.0,
        "says": {
            "low": found(0.75, 0.7, 0.8),
            "high": found(0.5, 0.4, 0.6),
            "low_minus_high": found(0.25, 0.1, 0.4),
        },
        "says_other": {"low": found(0.625, 0.5, 0.7), "high": found(0.3, 0.2, 0.4), "low_minus_high": NONE},
        "divergence": dropped,
        "changed": dropped,
        "words": [("snow", 30), ("<b>", 2)],
        "conclusion": {
            "recognizable": recognizable,
            "says": "more",
            "divergence": direction,
            "changed": "inconclusive",
        },
    }


def record_of(**changes):
    described = {
        kind: [{"name": name, "label": label, "about": f"what {label} is"} for name, label in rows]
        for kind, rows in (("orders", ORDERS), ("measures", MEASURES))
    }
    rho = {name: {what: found(0.25, -0.5, 0.75) for what, _ in MEASURES} for name, _ in ORDERS}
    tenth = [found(0.5, 0.4, 0.6)] * 9 + [NONE]
    return {
        "format": 1,
        "model": "made-up",
        "question": "what is <it>?",
        "probe_question": "what does it show?",
        "pictures": [f"{i}.png" for i in range(12)],
        "tokens": 1728,
        "sure": 0.5,
        "rule": {"pictures": 10, "share": 0.05},
        "blind": [("grass", 12)],
        **described,
        "absent": [],
        "spearman": rho,
        "tenths": {name: {what: tenth for what, _ in MEASURES} for name, _ in ORDERS},
        "halves": {**{name: half() for name, _ in ORDERS}, "all": half()},
        "skipped": {},
        "environment": {"model": "made-up"},
        **changes,
    }


@pytest.mark.parametrize(
    ("recognizable", "direction", "answer"),
    [
        (
            "yes",
            "less",
            r"Yes, tokens .* carry .*; dropping them moves the first word .* less than .* random",
        ),
        (
            "yes",
            "more",
            r"Yes, tokens .* carry .*; dropping them moves the first word .* more than .* random",
        ),
        (
            "no",
            "less",
            r"No, tokens .* carry hardly any .*; dropping them moves the first word .* less",
        ),
        ("inconclusive", "inconclusive", r"These pictures do not show whether tokens .* is inconclusive\.$"),
    ],
)
def test_the_answer_comes_first_and_is_that_of_the_conclusion(recognizable, direction, answer):
    record = record_of(halves={"all": half(recognizable, direction), "cls_attention": half("yes", "more")})
    assert re.match(answer, sentences(record)[0])


def test_the_figures_of_the_answer_are_told():
    _, saying, dropping, *_ = sentences(record_of())
    for part in ("72.0 of a picture", "75% [70%, 80%] say", "62% [50%, 70%] another", "(grass)", "by all 2"):
        assert part in saying
    assert "+25.0 [+10.0, +40.0] points, more" in saying
    assert "by 0.01 [0.005, 0.02] nats" in dropping
    assert "-0.12 [-0.13, -0.09], less" in dropping
    assert "-11.5 [-13.0, -9.0] points, no clear difference" in dropping


def test_the_report_says_how_tokens_are_ordered_and_what_is_absent():
    absent = [{"label": "[CLS] attention", "why": "the tower has no [CLS] token"}]
    told = sentences(record_of(absent=absent))
    assert any("authors' notebook adds attention up over pictures before it orders" in line for line in told)
    assert "[CLS] attention is absent: the tower has no [CLS] token." in told


def test_the_only_order_is_what_the_answer_is_of():
    record = record_of(orders=record_of()["orders"][:1], halves={"cls_attention": half()})
    assert headline(record) == "cls_attention"
    assert "by [CLS] attention (72.0" in sentences(record)[1]


def test_the_tables_have_a_row_for_every_order_and_one_for_all():
    correlations, *others = analysis_tables(record_of())
    labels = [label for _, label in ORDERS]
    assert [row[0] for row in correlations.body] == labels
    assert correlations.body[0][1:] == ("+0.25 [-0.50, +0.75]",) * 3
    assert [[row[0] for row in table.body] for table in others] == [[*labels, "all 2 orders"]] * 3
    says, moves, changes = (table.body[0] for table in others)
    assert says[2:6] == ("yes", "75% [70%, 80%]", "50% [40%, 60%]", "+25.0 [+10.0, +40.0]")
    assert moves[1:4] == ("0.01 [0.005, 0.02]", "0.12 [0.1, 0.15]", "0.5 [0.4, 0.6]")
    assert changes[4:] == ("-11.5 [-13.0, -9.0]", "+37.5 [+30.0, +40.0]")


def test_pictures_that_are_left_out_are_counted_and_what_is_not_there_is_a_dash():
    record = record_of()
    record["spearman"]["cls_attention"]["global"] = found(0.5, None, None, 1)
    lone = half()
    lone["says"] = dict.fromkeys(lone["says"], NONE)
    record["halves"] = {"cls_attention": lone, "text_attention": half(), "all": half()}
    correlations, says, *_ = analysis_tables(record)
    assert correlations.body[0][3] == "+0.50 [one picture]"
    assert "[CLS] attention and global divergence: of 1 pictures" in correlations.notes[0]
    assert says.body[0][3:6] == ("-", "-", "-")
    assert says.notes == (
        "[CLS] attention: of 0 of 12 pictures; on the others a signal is the same for all tokens.",
    )
    assert "| - |" in markdown(says)


def test_a_report_is_a_page_a_figure_and_the_record(tmp_path):
    record = record_of(skipped={"bad.png": "it is <no> picture"})
    write_analysis(record, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(ANALYSIS_FILES)
    text = (tmp_path / "out/analysis.html").read_text()
    assert not re.search(r"(src|href|srcset)=\"(?!data:)", text)
    for part in ("what is &lt;it&gt;?", "bad.png", "it is &lt;no&gt; picture", "&lt;b&gt; (2)"):
        assert part in text
    for sentence in sentences(record):
        assert sentence.split("'")[0].split('"')[0] in text
    assert text.count("data:image/png;base64") == 2


@pytest.mark.parametrize("orders", [1, 2])
def test_the_figure_is_as_wide_as_there_are_orders(tmp_path, orders):
    names = [name for name, _ in ORDERS][:orders]
    record = record_of(orders=record_of()["orders"][:orders], halves={name: half() for name in names})
    write_analysis(record, tmp_path / "out")
    with Image.open(tmp_path / "out/analysis.png") as drawn:
        assert drawn.size == (round(150 * (1.2 + 3 * orders)), 1200)


def test_a_folder_of_other_files_is_left_as_it_is(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"it holds mine.txt, which would be gone"):
        write_analysis(record_of(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
