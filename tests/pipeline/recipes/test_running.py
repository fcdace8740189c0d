"""Recipes run: order, skipping with reasons, failures that stop only what needs them, stages side by side."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from smolfast.commands.main import main
from smolfast.errors import SmolfastError
from smolfast.pipeline.recipes import load_recipe, plan, run
from smolfast.pipeline.recipes.planning import described

OWN = """
def write(inputs, output, text="x"):
    # a comment
    print("said")
    (output / "out.txt").write_text(text + " " + " ".join(sorted(inputs)))
    return {"letters": len(text)}


def fail(inputs, output):
    print("about to fail")
    raise ValueError("no good")


def sleep(inputs, output, seconds=0.0):
    import time
    time.sleep(seconds)


def number(inputs, output):
    return 3
"""

FAN = """
name = "fan"
[each]
word = ["one", "two"]

[stages.make]
each = "word"
python = "own:write"
text = "${each.word}"

[stages.shell]
each = "word"
needs = "make"
command = ["sh", "-c", "cat ${make.output}/out.txt > $OUTPUT/copy; echo ${make.letters} >> ${output}/copy"]

[stages.all]
needs = "shell"
python = "own:write"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "own.py").write_text(OWN)
    (tmp_path / "fan.toml").write_text(FAN)
    return tmp_path


@pytest.fixture(autouse=True)
def own_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test has an `own` module of its folder."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    sys.modules.pop("own", None)


def actions(recipe: Path, out: Path, **options: object) -> dict[str, str]:
    return {one.node.name: one.outlook.action for one in plan(load_recipe(recipe, **options), out)}  # type: ignore[arg-type]


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_fan_out_runs_once(folder: Path, jobs: int) -> None:
    recipe, out = folder / "fan.toml", folder / "out"
    assert set(actions(recipe, out).values()) == {"run"}
    assert not out.exists()  # a plan writes nothing
    outcome = run(load_recipe(recipe), out, jobs=jobs)
    assert list(outcome.summaries) == ["make@one", "make@two", "shell@one", "shell@two", "all"]
    assert (out / "shell@one" / "copy").read_text() == "one 3\n"
    assert (out / "all" / "out.txt").read_text() == "x shell@one shell@two"
    assert (out / "stages" / "make@one.log").read_text() == "said\n"
    assert (out / "recipe.html").is_file()
    before = {path: path.stat().st_mtime_ns for path in out.glob("*@*/*")}
    again = run(load_recipe(recipe), out, jobs=jobs)
    assert again.skipped == list(outcome.summaries) and again.summaries == outcome.summaries
    assert before == {path: path.stat().st_mtime_ns for path in before}
    assert set(actions(recipe, out).values()) == {"skip"}


def test_only_what_matters_runs_again_and_the_plan_says_so(folder: Path) -> None:
    recipe, out = folder / "fan.toml", folder / "out"
    run(load_recipe(recipe), out)

    def change(old: str, new: str, path: Path = recipe) -> None:
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))
        sys.modules.pop("own", None)

    change('[each]\nword = ["one", "two"]', '# words\n[each]\nword = [ "one", "two" ]  # two of them')
    change("# a comment\n", "# another comment\n\n", folder / "own.py")
    change('python = "own:write"\ntext = "${each.word}"', 'text = "${each.word}"\npython = "own:write"')
    assert set(actions(recipe, out).values()) == {"skip"}

    lines = described(plan(load_recipe(recipe, settings=["make.text=${each.word}!"]), out))
    assert set(actions(recipe, out).values()) == {"skip"}
    assert re.match(r"make@one +run: text one → one! \(", lines[0])
    assert re.match(r"shell@one +run: make@one runs first \(skipped if the same comes out\)", lines[2])
    assert lines[-1].startswith("5 of 5 stages run: about ")
    assert run(load_recipe(recipe, settings=["make.text=${each.word}!"]), out).skipped == []

    # The same comes out of the two: what needs them has nothing to do.
    change('text + " "', 'str(text) + " "', folder / "own.py")
    lines = described(plan(load_recipe(recipe, settings=["make.text=${each.word}!"]), out))
    assert re.match(r"make@one +run: code \w+ → \w+ ", lines[0])
    assert run(load_recipe(recipe, settings=["make.text=${each.word}!"]), out).skipped == ["shell@one", "shell@two"]


def test_modules_are_those_of_the_folder_as_they_are_now(folder: Path) -> None:
    """Whatever this process has imported before, from here or from elsewhere; and what they import counts too."""
    for name, number in (("one", 1), ("two", 2)):
        place = folder / name
        (place / "parts").mkdir(parents=True)
        (place / "own.py").write_text(
            "from parts import inner\n\ndef call(inputs, output):\n    return {'n': inner.N}\n"
        )
        (place / "parts" / "__init__.py").touch()
        (place / "parts" / "inner.py").write_text("from .deeper import N\n")
        (place / "parts" / "deeper.py").write_text(f"N = {number}\n")
        (place / "r.toml").write_text('[stages.a]\npython = "own:call"\n')
        assert run(load_recipe(place / "r.toml"), place / "out").summaries["a"] == {"n": number}
    deeper = folder / "one" / "parts" / "deeper.py"
    deeper.write_text("N = 3\n")
    assert actions(folder / "one" / "r.toml", folder / "one" / "out") == {"a": "run"}
    assert run(load_recipe(folder / "one" / "r.toml"), folder / "one" / "out").summaries["a"] == {"n": 3}
    deeper.write_text("def (")
    with pytest.raises(SmolfastError, match=r"can't read parts.deeper\.py: invalid syntax"):
        plan(load_recipe(folder / "one" / "r.toml"), folder / "one" / "out")


def test_altered_and_missing_outputs(folder: Path) -> None:
    recipe, out = folder / "fan.toml", folder / "out"
    run(load_recipe(recipe), out)
    (out / "make@one" / "out.txt").write_text("changed")
    (out / "all" / "out.txt").unlink()
    (out / "all").rmdir()
    found = {one.node.name: one.outlook for one in plan(load_recipe(recipe), out)}
    assert found["make@one"].reasons == ["make@one was altered since it was made"]
    assert found["make@two"].action == found["shell@two"].action == "skip"
    assert found["all"].reasons == ["all is gone"]
    run(load_recipe(recipe), out)
    assert (out / "make@one" / "out.txt").read_text() == "one "


def test_a_folder_may_be_moved(folder: Path) -> None:
    run(load_recipe(folder / "fan.toml"), folder / "out")
    other = folder / "elsewhere"
    other.mkdir()
    for name in ("fan.toml", "own.py", "out"):
        (folder / name).rename(other / name)
    assert set(actions(other / "fan.toml", other / "out").values()) == {"skip"}


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_failure_stops_only_what_needs_it(folder: Path, jobs: int, capsys: pytest.CaptureFixture[str]) -> None:
    recipe, out = folder / "r.toml", folder / "out"
    recipe.write_text(
        '[stages.bad]\npython = "own:fail"\n[stages.after]\nneeds = "bad"\npython = "own:write"\n'
        '[stages.gone]\ncommand = ["sh", "-c", "echo last words; exit 3"]\n'
        '[stages.good]\npython = "own:write"\n[stages.wrong]\npython = "own:number"\n'
    )
    assert main(["run", str(recipe), "-o", str(out), "--jobs", str(jobs), "--quiet"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "bad failed: ValueError: no good [" in said and "raise ValueError" in said
    assert "gone failed: " in said and "exit code 3" in said and "last words" in said
    assert "wrong failed: own:number gave int; return a dict of numbers, or None" in said
    assert "not run, for they need it: after; run the same command again" in said
    assert "about to fail" in (out / "stages" / "bad.log").read_text()
    assert actions(recipe, out) == {"bad": "run", "after": "run", "gone": "run", "good": "skip", "wrong": "run"}
    (folder / "own.py").write_text(OWN.replace('raise ValueError("no good")', "pass").replace("return 3", "return {}"))
    sys.modules.pop("own", None)
    recipe.write_text(recipe.read_text().replace("exit 3", "exit 0"))
    assert main(["run", str(recipe), "-o", str(out), "--jobs", str(jobs), "--quiet"]) == 0


def test_remedies_are_settings_that_a_recipe_takes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "in.jsonl").write_text('{"content": "some words"}\n')
    recipe = folder / "ein Rezept ü.toml"  # whose file may have any name
    recipe.write_text('[stages.texts]\nkind = "collect"\ninput = "in.jsonl"\nmin_document_bytes = 0\n')
    assert main(["run", str(recipe), "-o", str(folder / "out"), "--quiet"]) == 2
    said = capsys.readouterr().err
    assert "has no column 'text'; give as --set texts.text_column=… one of those it has: content" in said
    words = ["run", str(recipe), "-o", str(folder / "out"), "--quiet", "--set", "texts.text_column=content"]
    assert main(words) == 0


def test_a_process_that_dies_is_a_failure_of_its_stage(folder: Path) -> None:
    recipe = folder / "r.toml"
    (folder / "own.py").write_text(OWN + "\ndef die(inputs, output):\n    import os\n    os.kill(os.getpid(), 9)\n")
    recipe.write_text(
        '[stages.a]\npython = "own:die"\n[stages.b]\npython = "own:write"\n'
        '[stages.c]\nneeds = "b"\npython = "own:write"\n'
    )
    outcome = run(load_recipe(recipe), folder / "out", jobs=2)
    assert list(outcome.summaries) == ["b", "c"]
    assert "its process was ended by signal 9 (SIGKILL)" in str(outcome.failed["a"])


def test_stages_run_side_by_side(folder: Path) -> None:
    recipe = folder / "r.toml"
    recipe.write_text("".join(f'[stages.s{n}]\npython = "own:sleep"\nseconds = 1.0\n' for n in range(2)))
    run(load_recipe(recipe), folder / "out", jobs=2)
    spans = []
    for n in range(2):
        record = json.loads((folder / "out" / "stages" / f"s{n}.json").read_text())
        end = (folder / "out" / "stages" / f"s{n}.json").stat().st_mtime
        spans.append((end - record["seconds"], end))
    assert max(start for start, _ in spans) < min(end for _, end in spans)
    # What they took last time is more than there is: one after the other.
    recipe.write_text(recipe.read_text().replace("1.0", "1.5"))
    run(load_recipe(recipe), folder / "out", jobs=2, memory=1 << 20)
    ends = [(folder / "out" / "stages" / f"s{n}.json").stat().st_mtime for n in range(2)]
    assert abs(ends[0] - ends[1]) > 1.4


def test_a_second_run_says_who_holds_the_folder(folder: Path) -> None:
    recipe, out = folder / "r.toml", folder / "out"
    recipe.write_text('[stages.s]\npython = "own:sleep"\nseconds = 60\n')
    command = [sys.executable, "-m", "smolfast", "run", str(recipe), "-o", str(out), "--quiet", "--jobs", "2"]
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 60
        while '"running"' not in ((out / "recipe.json").read_text() if (out / "recipe.json").exists() else ""):
            assert time.monotonic() < deadline and first.poll() is None
            time.sleep(0.05)
        with pytest.raises(SmolfastError, match=rf"in use by another smolfast process \({first.pid} on .* run "):
            run(load_recipe(recipe), out)
        children = subprocess.run(["ps", "-o", "pid=", "--ppid", str(first.pid)], capture_output=True, text=True).stdout
        first.send_signal(signal.SIGTERM)
        assert first.wait(30) == 128 + signal.SIGTERM
        assert "run the same command again to go on from here" in first.communicate()[1]
        for child in map(int, children.split()):  # none works on
            with pytest.raises(ProcessLookupError):
                os.kill(child, 0)
        assert json.loads((out / "recipe.json").read_text())["state"] == "interrupted"
    finally:
        first.kill()
        first.wait()


def test_folders_of_others(folder: Path) -> None:
    out = folder / "out"
    run(load_recipe(folder / "fan.toml"), out)
    (folder / "other.toml").write_text('[stages.make]\npython = "own:write"\n')
    with pytest.raises(
        SmolfastError, match=r"holds a run of the recipe fan, not of the recipe other; .* add --overwrite"
    ):
        run(load_recipe(folder / "other.toml"), out)
    run(load_recipe(folder / "other.toml"), out, overwrite=True)
    assert sorted(path.name for path in out.iterdir() if path.is_dir()) == ["make", "stages"]
    (folder / "mine").mkdir()
    (folder / "mine" / "thesis.txt").write_text("mine")
    with pytest.raises(SmolfastError, match="not empty and holds no smolfast run"):
        run(load_recipe(folder / "fan.toml"), folder / "mine", overwrite=True)


def test_a_stage_of_another_name_takes_the_place(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe, out = folder / "r.toml", folder / "out"
    recipe.write_text('[stages.a]\npython = "own:write"\noutput = "x"\n[stages.b]\npython = "own:write"\n')
    run(load_recipe(recipe), out)
    (out / "x" / "notes.txt").write_text("mine")
    recipe.write_text('[stages.c]\npython = "own:write"\noutput = "x"\ntext = "new"\n')
    assert main(["plan", str(recipe), "-o", str(out)]) == 0
    said = capsys.readouterr().out
    assert "a: no longer in the recipe; its x makes room for c\nb: no longer in the recipe; its b stays\n" in said
    run(load_recipe(recipe), out).check(out / "stages")
    assert (out / "x" / "out.txt").read_text() == "new " and (out / "x" / "notes.txt").read_text() == "mine"
    assert (out / "b" / "out.txt").exists() and not (out / "stages" / "a.json").exists()


def test_two_hundred_stages(folder: Path) -> None:
    recipe, out = folder / "r.toml", folder / "out"
    recipe.write_text(
        "".join(f'[stages.s{n}]\npython = "own:sleep"\n' + (f'needs = "s{n - 1}"\n' if n else "") for n in range(200))
    )
    began = time.process_time()
    assert len(plan(load_recipe(recipe), out)) == 200
    planned = time.process_time() - began
    began = time.process_time()
    assert len(run(load_recipe(recipe), out).summaries) == 200
    ran = time.process_time() - began
    assert planned < 1.0 and ran < 4.0  # measured: 0.1 and 0.9


def test_commands(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert main(["plan", "fan.toml", "-o", "out", "--json"]) == 0
    stages = json.loads(capsys.readouterr().out)["stages"]
    assert [one["action"] for one in stages] == ["run"] * 5
    assert main(["run", "fan.toml", "-o", "out", "--json", "--quiet"]) == 0
    assert json.loads(capsys.readouterr().out) | {"seconds": 0} == {
        "stages": 5,
        "ran": 5,
        "skipped": 0,
        "seconds": 0,
        "page": "out/recipe.html",
    }
    assert main(["plan", "fan.toml", "-o", "out"]) == 0
    assert capsys.readouterr().out.endswith("nothing to do: all 5 stages are unchanged\n")
    assert main(["recipes"]) == 0
    assert re.match(r"quickstart +From real text", capsys.readouterr().out)
    assert main(["recipes", "show", "quickstart"]) == 0
    assert "[stages.train]" in capsys.readouterr().out
    assert main(["recipes", "show", "quickstar"]) == 2
    assert "did you mean quickstart?" in capsys.readouterr().err
