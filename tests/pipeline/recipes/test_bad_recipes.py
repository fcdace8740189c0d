"""What is wrong with a recipe is refused before anything runs, with the line of the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from smolfast.errors import SmolfastError
from smolfast.pipeline.recipes import load_recipe

CHAIN = """
[stages.collect]
[stages.split]
needs = 'collect'
[stages.tokenizer]
needs = 'split'
[stages.tokenize]
needs = ['split', 'tokenizer']
[stages.train]
needs = 'tokenize'
"""

BAD = {
    "a circle": ("[stages.a]\nkind='normalize'\nneeds='b'\n[stages.b]\nkind='normalize'\nneeds='a'\n", 6, "a needs b"),
    "itself": ("[stages.a]\nkind='normalize'\nneeds='a'\n", 3, "a needs itself"),
    "kind": ("[stages.a]\nkind = 'normalise'\n", 2, "did you mean 'normalize'?"),
    "kind by name": ("\n[stages.colect]\n", 2, "did you mean 'collect'?"),
    "key": ("[stages.collect]\nmax_byte = 3\n", 2, "did you mean 'max_bytes'?"),
    "key of a section": ("[train]\nstepz = 3\n[stages.collect]\n", 2, "did you mean 'train.steps'?"),
    "value": ("[stages.collect]\n# a comment\nmax_bytes = -3\n", 3, "greater than or equal to 1"),
    "key of a section in a stage": (CHAIN + "[stages.train.model]\nhiden_size = 4\n", 12, "model.hidden_size"),
    "value of a section": ("[model]\nhidden_size = 1\n" + CHAIN, 2, "greater than or equal to 8"),
    "values that don't fit": (CHAIN + "mtp_weights = [1.0]\n", 11, "mtp_weights has 1 numbers"),
    "reference to no stage": ("[stages.collect]\n[stages.x]\ncommand = ['echo', '${colect.output}']\n", 3, "'collect'"),
    "reference to no number": (
        "[stages.collect]\n[stages.x]\ncommand = ['${collect.documents_inn}']\n",
        3,
        "documents_in",
    ),
    "reference to no list": ("[stages.x]\ncommand = ['echo', '${each.l}']\n", 1, "it has no lists"),
    "reference to a stage": ("[stages.collect]\n[stages.x]\ncommand = ['${collect}']\n", 3, "${STAGE.output}"),
    "reference to several": (
        "[each]\nl = [1, 2]\n[stages.collect]\neach = 'l'\n[stages.x]\ncommand = ['${collect.output}']\n",
        6,
        "stands for 2 stages; name one: collect@1, collect@2",
    ),
    "one output twice": (
        "[stages.collect]\n[stages.a]\nkind = 'collect'\noutput = 'collect'\n",
        4,
        "both write collect",
    ),
    "an output of its own": ("[stages.collect]\noutput = 'run.json'\n", 2, "give a name"),
    "an output elsewhere": ("[stages.collect]\noutput = '../x'\n", 2, "give a name"),
    "top": ("presett = 'compact'\n[stages.collect]\n", 1, "did you mean 'preset'?"),
    "preset": ("\npreset = 'compac'\n[stages.collect]\n", 2, "preset = 'compac'"),
    "no stages": ("seed = 1\n", 1, "it has no stages"),
    "wrong needs": ("[stages.collect]\n[stages.train]\nneeds = 'collect'\n", 3, "collect gives documents"),
    "nothing to read": ("[stages.normalize]\n", 1, "nothing to read"),
    "missing need": (CHAIN.replace("['split', 'tokenizer']", "['tokenizer']"), 8, "documents to train on"),
    "two of one": (
        "[stages.a]\nkind='collect'\n[stages.b]\nkind='collect'\n[stages.split]\nneeds=['a','b']\n",
        6,
        "a, b",
    ),
    "a list's value": ("[each]\nl = ['a/b']\n[stages.collect]\n", 2, "names a stage and its folder"),
    "a list's value like a record": ("[each]\nl = ['a.started']\n[stages.collect]\n", 2, "names a stage"),
    "a list's value twice": ("[each]\nl = ['1', 1]\n[stages.collect]\n", 2, "twice"),
    "an empty list": ("[each]\nl = []\n[stages.collect]\n", 2, "one value or more"),
    "no list": ("[stages.collect]\neach = 'l'\n", 2, "there is no list 'l'"),
    "a date": ("[stages.a]\npython = 'm:f'\nday = 2020-01-01\n", 1, "write it as text"),
    "python without": ("[stages.a]\nkind = 'python'\n", 1, "has python ="),
    "two kinds": ("[stages.a]\npython = 'm:f'\ncommand = ['x']\n", 3, "of one kind"),
    "no words": ("[stages.a]\ncommand = []\n", 2, "at least 1 item"),
    "a shell's line": ("[stages.a]\ncommand = 'echo hi'\n", 2, "tuple"),
    "seed": ("seed = -1\n[stages.collect]\n", 1, "from 0 on"),
    "needs a number": ("[stages.collect]\nneeds = 3\n", 2, "a list of names"),
    "a stage that is a value": ("[stages]\ncollect = 3\n", 2, "a stage is a table"),
    "a stage's name": ("[stages.'a/b']\nkind = 'collect'\n", 1, "is no name for a stage"),
    "gives": ("[stages.a]\npython = 'm:f'\ngives = { docs = '' }\n", 3, "'docs' is none of"),
    "gives elsewhere": ("[stages.a]\npython = 'm:f'\ngives = { documents = '../x' }\n", 3, "inside the output"),
    "an option": ("[stages.curate]\ninput = 'x'\nlanguage_score = 'high'\n", 3, "valid number"),
    "a section that is a value": ("train = 3\n[stages.collect]\n", 1, "train is a table"),
    "a profile that is a value": ("[profiles]\nsmoke = 3\n[stages.collect]\n", 2, "a profile is a table"),
}


@pytest.mark.parametrize("name", BAD)
def test_refused_with_its_line(name: str, tmp_path: Path) -> None:
    text, line, says = BAD[name]
    path = tmp_path / "r.toml"
    path.write_text(text)
    with pytest.raises(SmolfastError) as error:
        load_recipe(path, shown="r.toml")
    message = str(error.value)
    assert message.startswith(f"r.toml:{line}: ") and says in message and "\n" not in message


def test_files_that_are_no_recipe(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    with pytest.raises(SmolfastError, match=r"can't read the recipe .*; give a file, or one of quickstart, "):
        load_recipe(path)
    for content in (b"[stages.collect\n", b"\xff\xfe", b"a = " + b"[" * 5000, b"x" * (1 << 20) + b"x = 1"):
        path.write_bytes(content)
        with pytest.raises(SmolfastError, match=r"is not valid TOML: .*; correct it"):
            load_recipe(path)


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("train.stepz=3", "train has no setting 'stepz'; did you mean 'steps'?"),
        ("trian.steps=3", "'trian' is no stage or section of this recipe; did you mean 'train'?"),
        ("train.steps=-3", "greater than or equal to 1"),
        ("collect.max_bytes=abc", "valid integer"),
        ("model.hidden_size=0", "greater than or equal to 8"),
        ("preset=nothing", "preset = 'nothing'"),
        ("seed=x", "give a whole number from 0 on"),
        ("stages=3", "'stages' is no stage"),
        ("train", "expected KEY=VALUE"),
        ("train.steps.x.y=1", "valid integer"),
    ],
)
def test_settings(setting: str, says: str) -> None:
    with pytest.raises(SmolfastError) as error:
        load_recipe("quickstart", settings=[setting])
    assert str(error.value).startswith(f"--set {setting}: ") and says in str(error.value)


def test_profiles(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text("[stages.collect]\n[profiles.tiny]\ncollect.max_bytes = 'few'\n[profiles.other]\nnowhere.x = 1\n")
    load_recipe(path)
    with pytest.raises(SmolfastError, match=r"^profile tiny \(r:3\): collect.max_bytes = 'few'"):
        load_recipe(path, profile="tiny", shown="r")
    with pytest.raises(SmolfastError, match=r"^profile other \(r:5\): 'nowhere' is no stage or section"):
        load_recipe(path, profile="other", shown="r")
    with pytest.raises(SmolfastError, match=r"there is no profile 'tine'; did you mean 'tiny'?"):
        load_recipe(path, profile="tine")
