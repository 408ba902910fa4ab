"""What another distribution adds by entry points: installed as by a user, asked in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("plugin_package")
ASK = """
import json, sys
from wordsight import pruners, tasks
from wordsight._utils.registry import spec
from wordsight.errors import UsageError
from wordsight.models import families

def refusal(make, *given):
    try:
        make(*given)
    except UsageError as error:
        return str(error)

def kind(value):
    return f"{type(value).__module__}:{type(value).__name__}"

pruner, task = pruners.make("every_other:tokens=3,start=1"), tasks.make("greetings:times=3")
print(json.dumps({
    "pruners": pruners.names(),
    "tasks": tasks.names(),
    "families": families.names(),
    "pruner": [kind(pruner), pruner.tokens, pruner.start],
    "task": [kind(task), [example.answer for example in task.examples()]],
    "family": families.family("made_up_vl") is sys.modules["wordsight_plugin"].MADE_UP,
    "specs": {text: spec(pruners.make(text)) for text in ("every_other", "every_other:start=1")},
    "task specs": {text: spec(tasks.make(text)) for text in ("greetings", "greetings:times=3")},
    "divprune": kind(pruners.make("divprune")),
    "refused": {
        "absent": refusal(pruners.make, "absent"),
        "plain": refusal(pruners.make, "plain"),
        "no_family": refusal(families.family, "no_family"),
        "start": refusal(pruners.make, "every_other:start=early"),
        "every_othr": refusal(pruners.make, "every_othr"),
    },
}))
"""


@pytest.fixture(scope="session")
def answers(tmp_path_factory):
    """What a process answers in which the distribution is installed, by question."""
    folder = tmp_path_factory.mktemp("plugins")
    install = "-m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --no-index"
    subprocess.run([sys.executable, *install.split(), "--target", folder, SOURCE], check=True)
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"PYTHONPATH": path}
    done = subprocess.run([sys.executable, "-c", ASK], env=environment, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def test_what_it_adds_is_listed_beside_what_is_ours(answers):
    assert {"every_other", "uniform", "divprune"} <= set(answers["pruners"])
    assert {"greetings", "scenes"} <= set(answers["tasks"])
    assert {"made_up_vl", "llava"} <= set(answers["families"])
    for kind in ("pruners", "tasks", "families"):
        assert answers[kind] == sorted(set(answers[kind]))


def test_a_pruner_a_task_and_a_family_are_found_by_their_names(answers):
    assert answers["pruner"] == ["wordsight_plugin:EveryOther", 3, 1]
    assert answers["task"] == ["wordsight_plugin:Greetings", ["hello"] * 3]
    assert answers["family"] is True


def test_the_spec_of_what_it_adds_is_its_name_and_what_is_not_default(answers):
    for kind in ("specs", "task specs"):
        assert all(given == found for given, found in answers[kind].items()), answers[kind]


def test_it_does_not_take_a_name_of_ours(answers):
    assert answers["divprune"] == "wordsight.pruners.divprune:DivPrune"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "absent",
            "entry point absent of wordsight.pruners (wordsight_plugin.absent:Absent) cannot be loaded: "
            "ModuleNotFoundError: No module named 'wordsight_plugin.absent'; 'wordsight_plugin' is not a "
            "package; is the distribution that declares it whole?",
        ),
        ("plain", "wordsight_plugin:GREETING is no subclass of Pruner; make it one"),
        (
            "no_family",
            "entry point no_family (wordsight_plugin:GREETING) is no Family; name an object of one",
        ),
        ("start", "'every_other:start=early': start must be a whole number, got 'early'"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_sentence_that_names_it(answers, name, message):
    assert answers["refused"][name] == message


def test_a_name_that_is_nearly_right_is_hinted_at(answers):
    assert "unknown pruner 'every_othr': did you mean 'every_other'?" in answers["refused"]["every_othr"]
