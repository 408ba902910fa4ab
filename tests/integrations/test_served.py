"""What a server keeps of pictures, and what it says before it starts; tests/serving tries vLLM itself."""

import json
import shutil
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoConfig

from wordsight import Codebook, LoadOptions, UsageError, pruners
from wordsight.demo import MODEL, PICTURES
from wordsight.errors import ModelError
from wordsight.integrations.vllm import ARCHITECTURES, command
from wordsight.integrations.vllm.command import ServeOptions
from wordsight.integrations.vllm.served import (
    Choice,
    ServedPruners,
    cells_of,
    choose,
    kept_count,
    load_options,
    places_of,
    servable,
    servable_names,
    tokens_of,
)
from wordsight.models import loading
from wordsight.models.families import family
from wordsight.models.families.base import VisionContext
from wordsight.pruners.base import Pruner
from wordsight.pruners.choice import CHOICES
from wordsight.redundancy.scorer import Scorer

WIDTH = 256


def served(*specs, has_gaps=True, is_mrope=False, is_adaptive=False):
    return ServedPruners(specs, WIDTH, has_gaps, is_mrope, is_adaptive)


@dataclass(kw_only=True)
class Fickle(Pruner):
    """Keeps what has a positive sum."""

    def select(self, tokens):
        return tokens.take((tokens.embeds.sum(1) > 0).nonzero()[:, 0])


@dataclass(kw_only=True)
class Smelling(Fickle):
    """Reads what no tower gives."""

    required_signals = frozenset({"smell"})


REFUSED = {
    "fastv": "FastV drops tokens between layers",
    "cdpruner": "CDPruner reads the question",
    "vispruner": "VisPruner reads ",
    "codebook:threshold=0.3": "depends on the picture",
    f"{__name__}:Fickle": "Fickle counts 29 and keeps ",
    "divprun": "did you mean 'divprune'",
}


@pytest.mark.parametrize("spec", REFUSED)
def test_a_pruner_that_cannot_be_served_is_refused_with_the_reason(spec):
    with pytest.raises(UsageError, match=REFUSED[spec]):
        served(spec)


def test_an_adaptive_server_refuses_what_reads_the_question_or_drops_between_layers():
    for spec, reason in REFUSED.items():
        if spec in ("fastv", "cdpruner", "divprun"):
            with pytest.raises(UsageError, match=reason) as error:
                served(spec, is_adaptive=True)
            assert "--adaptive" not in str(error.value)
        else:
            served(spec, is_adaptive=True)
            with pytest.raises(UsageError, match="with --adaptive this one, too"):
                served(spec)


def test_pictures_are_encoded_before_as_the_whole_model_encodes_them(embedded):
    picture, signals = PICTURES / "harbor.png", frozenset({"cls_attention", "features"})
    server = served("vispruner", "codebook:threshold=0.9", is_adaptive=True)
    encoder = server.encoder(str(MODEL), LoadOptions(dtype="float32"))
    assert not any("language_model.layers" in name for name, _ in encoder.model.named_parameters())
    mine, theirs = (vlm.encode(picture, "what?", signals=signals).visual for vlm in (encoder, embedded))
    assert torch.equal(mine.embeds, theirs.embeds)
    assert mine.signals.keys() == theirs.signals.keys() == signals
    assert all(torch.equal(mine.signals[name], theirs.signals[name]) for name in signals)


def test_an_adaptive_server_refuses_what_its_tower_does_not_give():
    with pytest.raises(UsageError, match=r"Smelling needs smell, which .* does not have"):
        served(f"{__name__}:Smelling", is_adaptive=True).encoder(str(MODEL), LoadOptions())


def test_every_pruner_is_served_or_refused_by_name():
    names = servable_names(WIDTH)
    assert {"codebook", "codebook_mmr", "divprune", "pool", "random", "tome", "uniform"} <= set(names)
    assert not {"fastv", "cdpruner", "vispruner", "mmtok"} & set(names)


def test_positions_that_the_model_cannot_have_are_refused():
    with pytest.raises(UsageError, match="say positions=contiguous"):
        served("divprune", has_gaps=False)
    with pytest.raises(UsageError, match="no gaps to close"):
        served("divprune:positions=contiguous", is_mrope=True)
    with pytest.raises(UsageError, match="no gaps to close"):
        served("divprune", is_mrope=True).choice({"positions": "contiguous"})


def test_a_request_says_what_the_server_does_not():
    both = served("codebook:keep=0.3", "divprune:tokens=36")
    assert both.choice({}) == Choice(0, 0.3, None, False)
    assert both.choice({"pruner": "divprune"}) == Choice(1, 0.2, 36, False)
    assert both.choice({"pruner": "divprune:tokens=36", "keep": 0.5}) == Choice(1, 0.5, None, False)
    assert both.choice({"tokens": 7, "positions": "contiguous"}) == Choice(0, 0.3, 7, True)
    assert both.choice({"pruner": "none"}).number == -1
    assert both.pruner(both.choice({"pruner": "divprune"})) == pruners.make("divprune:tokens=36")


def test_a_codebook_is_not_read_for_every_picture(monkeypatch):
    server = served("codebook:keep=0.3")
    monkeypatch.setattr(Codebook, "from_pretrained", None)
    assert server.pruner(server.choice({})) is server.pruners[0]
    assert server.choice({"positions": "original"}) == server.choice({"keep": 0.3}) == server.choice({})


def lay_down(kind, folder, seed):
    """A codebook, a scorer or a file of scores in the folder, and the SPEC of a pruner that reads it."""
    values = torch.randn(3, WIDTH, generator=torch.Generator().manual_seed(seed))
    if kind == "codebook":
        Codebook(values, Codebook.from_pretrained("demo").config).save_pretrained(folder)
        return f"codebook_mmr:codebook={folder}"
    if kind == "scorer":
        demo = Scorer.from_pretrained("demo")
        layers = {name: layer * (1 + seed) for name, layer in demo.layers.items()}
        Scorer(layers, demo.config).save_pretrained(folder)
        return f"learned:scorer={folder}"
    folder.mkdir(exist_ok=True)
    save_file({"0" * 64: values[0]}, folder / "scores.safetensors")
    return f"scores:file={folder / 'scores.safetensors'}"


@pytest.mark.parametrize("kind", ["codebook", "scorer", "scores"])
def test_servers_are_told_apart_by_what_their_pruners_read(kind, tmp_path):
    identities = []
    for seed in (1, 2, 2):
        spec = lay_down(kind, tmp_path / kind, seed)
        servable.cache_clear()  # another process
        identities.append(served("uniform", spec, is_adaptive=True).identity)
    assert identities[0] != identities[1] == identities[2]
    assert served("uniform").identity != served("uniform", is_adaptive=True).identity


def test_servers_are_told_apart_by_the_rule_of_a_book_that_prunes_as_published(tmp_path):
    book, identities = Codebook.from_pretrained("demo"), []
    for rule in ("single_softmax", "double_softmax"):
        pruning = {"rule": rule, "keep": 0.1}
        Codebook(book.prototypes, {**book.config, "pruning": pruning}).save_pretrained(tmp_path / "book")
        servable.cache_clear()  # another process
        identities.append(served(f"codebook@published:codebook={tmp_path / 'book'}").identity)
    assert identities[0] != identities[1]


def test_two_pruners_of_one_name_are_told_apart_by_their_specs():
    both = served("divprune:keep=0.1", "divprune:keep=0.5")
    assert both.choice({"pruner": "divprune:keep=0.5"}).number == 1
    with pytest.raises(UsageError, match="unknown pruner of this server 'divprune'"):
        both.choice({"pruner": "divprune"})


@pytest.mark.parametrize("name", servable_names(WIDTH))
def test_as_many_tokens_are_kept_as_are_counted_before(name):
    enlarged = SimpleNamespace(
        model_type="llava_next",
        vision_config=SimpleNamespace(image_size=32, patch_size=4),
        image_grid_pinpoints=[[32, 64], [64, 32], [64, 64]],
    )
    context = VisionContext(enlarged, None, {"image_sizes": torch.tensor([[50, 40]])}, [], None, False)
    square = torch.cartesian_prod(*map(torch.arange, (1, 1, 9, 7)))
    for cell in (cells_of(context), square):
        tokens = tokens_of(torch.randn(len(cell), WIDTH), cell)
        for options in ({"keep": 0.1}, {"keep": 0.55}, {"keep": 1.0}, {"tokens": 5}):
            pruner = replace(pruners.make(name), **options)
            kept = choose(pruner, tokens)
            assert len(kept) == kept_count(pruner, cell)
            assert int(kept.is_break.sum()) == int(tokens.is_break.sum())
            assert kept.slot.tolist() == sorted(set(kept.slot.tolist()))


def test_a_picture_that_is_not_finite_stops_nothing():
    cell = torch.cartesian_prod(*map(torch.arange, (1, 1, 4, 4)))
    for value in (float("nan"), float("inf")):
        broken = torch.randn(16, WIDTH)
        broken[3] = value
        for name in servable_names(WIDTH):
            pruner = pruners.make(name)
            assert len(choose(pruner, tokens_of(broken, cell))) == kept_count(pruner, cell), name


def test_places_are_a_line_or_rows_and_columns():
    cell = torch.cartesian_prod(*map(torch.arange, (1, 1, 2, 3)))
    line = places_of(context_of("llava"), cell)
    assert line[:, 1].tolist() == list(range(6))
    assert (line[:, 0] == 0).all()
    assert (line[:, 2:] == 5).all()
    grid = places_of(context_of("qwen2_5_vl"), cell)
    assert grid[:, :3].tolist() == [[0, 0, 0], [0, 0, 1], [0, 0, 2], [0, 1, 0], [0, 1, 1], [0, 1, 2]]
    assert (grid[:, 3] == 2).all()


def test_frames_are_as_far_apart_as_seconds_say():
    cell = torch.cartesian_prod(*map(torch.arange, (3, 1, 1, 2)))
    film = context_of("qwen2_5_vl", second_per_grid_ts=[0.7])
    assert places_of(film, cell)[:, 0].tolist() == [0, 0, 2, 2, 5, 5]


def context_of(model_type, **inputs):
    config = SimpleNamespace(model_type=model_type, vision_config=SimpleNamespace(tokens_per_second=4))
    return VisionContext(config, None, inputs, [], None, bool(inputs))


def test_a_book_of_another_model_is_refused_by_the_files_of_the_model(tmp_path):
    book = Codebook.from_pretrained("demo")
    Codebook(book.prototypes, {**book.config, "fingerprint": "0" * 16}).save_pretrained(tmp_path / "other")
    served("codebook").check_books(str(MODEL), LoadOptions())
    with pytest.raises(UsageError, match="mean nothing in another model"):
        served(f"codebook:codebook={tmp_path / 'other'}").check_books(str(MODEL), LoadOptions())


def test_every_architecture_is_a_family_with_a_picture_map():
    assert all(family(model_type).has_picture_map for model_type in ARCHITECTURES)


@pytest.fixture
def with_vllm(monkeypatch):
    """An environment that says that vLLM is installed, and the plugin."""
    monkeypatch.setattr(command, "_installed", lambda package: "0.32.1" if package == "vllm" else "")
    monkeypatch.setattr(command, "find_spec", lambda package: package == "vllm")
    point = EntryPoint("wordsight", "wordsight.integrations.vllm:register", "vllm.general_plugins")
    monkeypatch.setattr(command, "entry_points", lambda **asked: [point])
    monkeypatch.delenv("VLLM_PLUGINS", raising=False)


def test_the_command_says_all_that_the_server_needs(with_vllm):
    made = command.serve_command("demo", ["codebook", "divprune:keep=0.1"], ServeOptions(per_request=True))
    assert made[1:5] == ["-m", "vllm.entrypoints.openai.api_server", "--model", str(MODEL)]
    overrides = json.loads(made[made.index("--hf-overrides") + 1])
    assert overrides == {
        "architectures": ["WordsightLlava"],
        "wordsight": {"pruners": ["codebook", "divprune:keep=0.1"]},
        "text_config": {"rope_parameters": {"mrope_section": [0, 32, 0]}},
    }
    assert "--trust-request-mm-kwargs" in made
    assert "--trust-request-mm-kwargs" not in command.serve_command("demo", ["codebook"])
    made = command.serve_command(
        "demo", ["vispruner"], ServeOptions(adaptive=True), arguments=["--download-dir=here"]
    )
    settings = json.loads(made[made.index("--hf-overrides") + 1])["wordsight"]
    assert settings == {"pruners": ["vispruner"], "adaptive": True, "cache_dir": "here"}


def test_an_adaptive_server_takes_the_choice_of_its_model_alone(with_vllm, embedded, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    choice = {
        "format": 1, "pruner": "vispruner:keep=0.2,positions=original", "model": "demo", "parts": None,
        "fingerprint": embedded.fingerprint, "task": "scenes", "questions": 40, "pictures": 20,
        "verdict": "pays", "quality_kept": [0.97, 0.95, 0.99], "tokens_kept": 0.2,
    }  # fmt: skip
    (tmp_path / "choice.json").write_text(CHOICES.text(choice))
    made = command.config_overrides("demo", ["choice.json"], ServeOptions(adaptive=True))
    assert made["wordsight"] == {"pruners": [choice["pruner"]], "adaptive": True}
    (tmp_path / "choice.json").write_text(CHOICES.text(choice | {"fingerprint": "0123456789abcdef"}))
    with pytest.raises(UsageError, match=r"choice\.json was chosen for demo .*, this is demo \("):
        command.config_overrides("demo", ["choice.json"], ServeOptions(adaptive=True))


@pytest.fixture
def downloaded(tmp_path):
    """A folder of --download-dir with the embedded model as example/demo."""
    repository, commit = tmp_path / "weights" / "models--example--demo", "0" * 40
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    shutil.copytree(MODEL, repository / "snapshots" / commit)
    return tmp_path / "weights"


@pytest.mark.parametrize("adaptive", [False, True])
def test_files_are_looked_for_where_vllm_keeps_them(with_vllm, downloaded, monkeypatch, adaptive):
    tokens, read_config = [], AutoConfig.from_pretrained

    def read(source, *, local_files_only=False, **options):
        """vLLM reads configs in the usual cache, or asks the hub."""
        tokens.append(options.get("token"))
        return read_config(source if local_files_only else MODEL, local_files_only=True, **options)

    def is_out_of_reach(url, token):
        tokens.append(token)
        raise ConnectionError

    monkeypatch.setattr(AutoConfig, "from_pretrained", read)
    monkeypatch.setattr(loading, "get_hf_file_metadata", is_out_of_reach)
    arguments = ["--download_dir", str(downloaded), "--hf-token=hf_secret", "--port", "8001"]
    options = ServeOptions(adaptive=adaptive)
    overrides = command.config_overrides("example/demo", ["codebook"], options, arguments=arguments)
    settings = overrides["wordsight"]
    assert settings["cache_dir"] == str(downloaded)
    assert tokens[:2] == (["hf_secret"] * 2 if adaptive else ["hf_secret", None])  # the files alone need none
    config = SimpleNamespace(wordsight=settings)
    for token, given in [("hf_secret", "hf_secret"), (True, None), (None, None)]:
        model = SimpleNamespace(hf_config=config, hf_token=token, revision="main")
        found = load_options(model, dtype="float32")
        assert found == LoadOptions(cache_dir=str(downloaded), revision="main", dtype="float32")
        assert found.token == given


def test_a_book_whose_model_is_not_where_vllm_keeps_it_is_told_where_it_belongs(downloaded):
    files = LoadOptions(cache_dir=str(downloaded))
    with pytest.raises(ModelError, match=f"`hf download example/other --cache-dir {downloaded}`"):
        served("codebook").check_books("example/other", files)
    next(downloaded.glob("*/snapshots/*/config.json")).unlink()
    with pytest.raises(ModelError, match="one of example/demo cannot be told: not all of its files"):
        served("codebook").check_books("example/demo", files)


MISSING = {
    "vLLM is not installed": ("_installed", lambda package: ""),
    "vLLM 0.33.0 is installed; the plugin is for 0.32": ("_installed", lambda package: "0.33.0"),
    "does not see the plugin": ("entry_points", lambda **asked: []),
}


@pytest.mark.parametrize("sentence", MISSING)
def test_what_is_missing_is_said_before_anything_starts(sentence, with_vllm, monkeypatch):
    monkeypatch.setattr(command, *MISSING[sentence])
    with pytest.raises(UsageError, match=sentence):
        command.serve_command("demo", ["codebook"])


def test_a_plugin_that_is_kept_out_is_said(with_vllm, monkeypatch):
    monkeypatch.setenv("VLLM_PLUGINS", "another")
    with pytest.raises(UsageError, match="VLLM_PLUGINS=another keeps the plugin out"):
        command.serve_command("demo", ["codebook"])


def test_a_package_that_does_not_load_is_said(with_vllm, monkeypatch, tmp_path):
    (tmp_path / "torchcodec.py").write_text("raise RuntimeError('made for another torch')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(command, "find_spec", lambda package: package in ("vllm", "torchcodec"))
    with pytest.raises(UsageError, match=r"torchcodec does not load \(made for another torch\)"):
        command.serve_command("demo", ["codebook"])


@pytest.mark.parametrize(
    ("type_of", "tower"), [("vipllava", "clip_vision_model"), ("llava", "pixtral")], ids=("type", "tower")
)
def test_a_model_that_cannot_be_served_is_refused(type_of, tower, with_vllm, tmp_path):
    config = json.loads((MODEL / "config.json").read_text()) | {"model_type": type_of}
    config["vision_config"]["model_type"] = tower
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UsageError, match=f"is of type {type_of}; of types whose pictures vLLM can prune"):
        command.serve_command(str(tmp_path), ["codebook"])
