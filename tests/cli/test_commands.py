"""The commands as a user types them, on a tiny model."""

from __future__ import annotations

import io
import json
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest
import typer

from handloom import __version__
from handloom.cli.main import app, main
from handloom.cli.options import TASK
from handloom.cli.predict import shown
from handloom.data.examples import TextExample
from handloom.data.meant_for import MEANT_FOR
from handloom.errors import HandloomError
from handloom.train.estimators import ESTIMATORS
from handloom.train.settings import Settings
from handloom.train.text_classifier import TextClassifier

TRAIN = ["train", "text-classification", "--model", "minilm-l6", "--train", "train.csv", "--valid", "valid.csv"]
QUICK = ["--epochs", "2", "--lr", "1e-3", "--threads", "1"]


@pytest.fixture(scope="module")
def trained(furnished: Path) -> Path:
    """A run on train.csv."""
    out = furnished / "runs" / "shared"
    names = {
        "train.csv": furnished / "train.csv",
        "valid.csv": furnished / "valid.csv",
        "minilm-l6": furnished / "minilm-l6",
    }
    words = [str(names.get(word, word)) for word in TRAIN]
    assert main([*words, "--test", str(furnished / "test.csv"), "--out", str(out), *QUICK, "--json"]) == 0
    return out


def test_train_prints_one_object_and_nothing_else(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TRAIN, "--test", "test.csv", "--out", "runs/json", *QUICK, "--json"]) == 0
    out, progress = capsys.readouterr()
    found = json.loads(out)
    assert out.count("\n") == 1
    assert set(found) >= {"metrics", "labels", "before", "intervals", "baselines", "run"}
    assert set(found["labels"]) == {"neg", "pos"}
    assert 0 <= found["metrics"]["accuracy"] <= 1 and found["metrics"].keys() == found["before"]["metrics"].keys()
    assert "tokens/s" in progress and "validation" in progress and "\r" not in progress and "\x1b" not in progress


def test_train_shows_tables(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TRAIN, "--test", "test.csv", "--out", "runs/tables", *QUICK]) == 0
    out = capsys.readouterr().out
    for words in (
        "Beside simple models",
        "before → after",
        "Per label",
        "Confusion",
        "runs/tables",
        'handloom predict runs/tables "…"\n',
    ):
        assert words in out


def test_a_run_is_not_overwritten_by_chance(work: Path, trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (trained / "model.safetensors").read_bytes()
    assert main([*TRAIN, "--out", str(trained), *QUICK]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert (trained / "model.safetensors").read_bytes() == before


def test_evaluate_prints_one_object(work: Path, trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(trained), "--data", "test.csv", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) >= {"metrics", "labels", "confusion", "before"}
    assert sum(map(sum, found["confusion"]["matrix"])) == 12


def test_what_is_asked_is_for_the_models_task(work: Path, trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for option in ("--text-column", "--pair-column", "--delimiter", "--encoding"):
        assert main(["predict", str(trained), "a great film", option, "1"]) == 2
        told = f"{option} says how a file is read: it goes with --data FILE, not with texts on the command line"
        assert told in capsys.readouterr().err
    for words in (["evaluate", str(trained), "--data", "test.csv"], ["predict", str(trained), "a great film"]):
        assert main([*words, "--beams", "2"]) == 2
        assert "--beams is for translation and summarization, not text-classification" in capsys.readouterr().err


def test_predict_keeps_the_order_and_the_other_columns(
    work: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", str(trained), "--data", "new.csv", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    lines = (work / "new.csv").read_text(encoding="utf-8").splitlines()[1:]
    assert [f"{row['id']},{row['text']}" for row in rows] == lines
    for row in rows:
        assert row["label"] == max(row["scores"], key=row["scores"].get)
        assert sum(row["scores"].values()) == pytest.approx(1)


def test_a_pair_is_read_where_the_model_was_trained_with_pairs(
    work: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = ['{"text": "the film was great", "pair": "sad bad", "label": "pos", "scores": 5}', '{"text": "sad"}']
    (work / "pairs.jsonl").write_text("\n".join(lines))

    def judged(*more: str) -> list[dict[str, Any]]:
        assert main(["predict", str(trained), "--json", *more]) == 0
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    first, second = judged("--data", "pairs.jsonl")
    alone = judged("the film was great", "sad")
    assert first["scores"] == alone[0]["scores"] and second == alone[1]
    assert first["pair"] == "sad bad"  # an ordinary column, kept
    assert first["label_given"] == "pos" and first["scores_given"] == 5
    named = judged("--data", "pairs.jsonl", "--pair-column", "pair")
    assert named[0]["pair"] == "sad bad" and named[0]["scores"] != first["scores"]

    (work / "twins.csv").write_text("text,pair,label\n" + "".join(f"film {i},x,{y}\n" for i, y in enumerate(20 * "pn")))
    words = ["train", "text-classification", "--model", "minilm-l6", "--train", "twins.csv", "--out", "runs/twins"]
    assert main([*words, "--overwrite", "--epochs", "1", "--threads", "1", "--json"]) == 0
    capsys.readouterr()
    assert main(["predict", "runs/twins", "--data", "pairs.jsonl", "--json"]) == 0
    assert [json.loads(line)["pair"] for line in capsys.readouterr().out.splitlines()] == ["sad bad", ""]


def test_a_model_of_pairs_judges_no_text_alone(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [TextExample(f"film {i}", "x", label) for i, label in enumerate(20 * "pn")]
    model = TextClassifier.from_pretrained("minilm-l6").fit(rows, epochs=0.1, threads=1, out="runs/judge")
    capsys.readouterr()
    assert main(["predict", "runs/judge", "film"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("handloom: the text: this model was trained on pairs of texts") and "--data FILE" in said
    assert main(["evaluate", "runs/judge", "--data", "test.csv"]) == 1
    assert "test.csv:2: this model was trained on pairs" in capsys.readouterr().err
    for text in ("film", ["film"]):
        with pytest.raises(HandloomError, match=r"\(text, pair\)"):
            model.predict(text)
    assert model.predict(("film", "x")).label in "pn" and model.notes == ()
    assert model.command("runs/judge") == "handloom predict runs/judge --data FILE"


def test_a_pair_for_a_model_of_single_texts_is_noted(trained: Path) -> None:
    model = TextClassifier.load(trained)
    assert model.predict([("a film", "great")], top=1)[0].label in ("neg", "pos")
    assert model.notes == ("a second text is read beside each, and this model was trained on single texts",)
    model.predict("a film")
    assert model.notes == ()


TINY = {"epochs": 0.01, "threads": 1, "before": False, "baselines": False, "listener": lambda progress: None}
USED = {
    "text-classification": ("train.csv", 'predict {run} "…"'),
    "token-classification": ("train.conll", 'predict {run} "…"'),
    "relation-extraction": ("relations.jsonl", 'predict {run} "… <e1>…</e1> … <e2>…</e2> …"'),
    "question-answering": ("questions.json", 'predict {run} "…" --context FILE'),
    "sentence-similarity": ("faq.csv", 'sentence-similarity {run} "…" "…"'),
    "multiple-choice": ("exam.jsonl", 'choose {run} "…" --choice "…" --choice "…"'),
    "translation": ("lines.jsonl", 'predict {run} "…"'),
    "summarization": ("lines.jsonl", 'predict {run} "…"'),
    "text-generation": ("chats.jsonl", "chat {run}"),
}
"""Of each task what may be learnt from, and the command that uses a model."""


@pytest.mark.parametrize("task", ESTIMATORS)
def test_the_command_that_uses_a_model_runs(
    task: str, work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [json.dumps({"source": "the cat " * (i + 1), "target": "the dog"}) for i in range(20)]
    (work / "lines.jsonl").write_text("\n".join(lines))
    writes = task in MEANT_FOR["prompt"] or task == "text-generation"
    model = ESTIMATORS[task].from_pretrained("smollm2-135m-instruct" if writes else "minilm-l6")
    wanted = {"prompt": "{text}"} if task in MEANT_FOR["prompt"] else {}
    model.fit(USED[task][0], out=f"runs/used-{task}", **TINY, **wanted)
    command = model.command(f"runs/used-{task}")
    assert command == f"handloom {USED[task][1].format(run=f'runs/used-{task}')}"
    monkeypatch.setattr("sys.stdin", io.StringIO("the cat\n"))
    assert main(shlex.split(command.replace("FILE", "new.csv"))[1:]) == 0, capsys.readouterr().err
    assert capsys.readouterr().out


def test_unknown_characters_are_named(work: Path, trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", str(trained), "这部电影很好看"]) == 0
    said = capsys.readouterr().err
    assert "warning" in said and "电 (1×)" in said and "bert-base-chinese" in said
    (work / "chinese.csv").write_text("text,label\n电影好看,pos\n太差了,neg\n", encoding="utf-8")
    assert main(["evaluate", str(trained), "--data", "chinese.csv", "--json"]) == 0
    out, said = capsys.readouterr()
    assert "bert-base-chinese" in said
    assert '"support": 1}' in out and '"support": 1.0' not in out
    assert main(["predict", str(trained), "a great film"]) == 0
    assert "warning" not in capsys.readouterr().err


def test_predict_texts_alone_or_together_gives_the_same(
    work: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = ["the film was great", "sad"]
    assert main(["predict", str(trained), *texts, "--json"]) == 0
    together = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    for text, row in zip(texts, together, strict=True):
        assert main(["predict", str(trained), text, "--json"]) == 0
        alone = json.loads(capsys.readouterr().out)
        assert alone["label"] == row["label"]
        assert alone["scores"] == pytest.approx(row["scores"], rel=1e-6)  # the NumPy backend's products know no rows


def test_spans_are_places_in_the_users_own_text(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "token-classification", "--model", "minilm-l6", "--train", "train.conll", "--test", "test.conll"]
    assert main([*words, "--out", "runs/ner", "--epochs", "8", "--lr", "1e-2", "--threads", "1", "--json"]) == 0
    assert "span_f1" in json.loads(capsys.readouterr().out)["metrics"]
    text = "Marie Curie  lives in Paris."
    assert main(["predict", "runs/ner", text, "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["text"] == text
    for span in row["spans"]:
        assert text[span["start"] : span["end"]] == span["text"]
        assert set(span) == {"start", "end", "label", "text", "score"}
    assert main(["predict", "runs/ner", text]) == 0
    assert text in capsys.readouterr().out
    assert [str(line) for line in shown({"text": text, "spans": []})] == [text, "  no spans"]
    assert main(["predict", "runs/ner", text, "rome", "--format", "label-studio"]) == 0
    tasks = json.loads(capsys.readouterr().out)
    assert [task["data"]["text"] for task in tasks] == [text, "rome"]
    assert main(["predict", "runs/ner", text, "rome", "--format", "doccano"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert rows[0]["label"] == [[span["start"], span["end"], span["label"]] for span in row["spans"]] and len(rows) == 2
    assert main(["predict", "runs/ner", text, "--format", "brat"]) == 2
    assert "there are label-studio and doccano" in capsys.readouterr().err


def test_resume_of_a_finished_run_shows_it(work: Path, trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["resume", str(trained), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert "metrics" in found and set(found["baselines"]) == {"most frequent label", "linear bag of words"}
    assert all(isinstance(row["support"], int) for row in found["labels"].values())


def test_data_check(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", "train.csv", "--valid", "valid.csv", "--model", "minilm-l6", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] and found["splits"]["train"]["examples"] == 48
    assert "tokens" in found["splits"]["train"]["lengths"]
    assert main(["data", "check", "train.csv", "--test", "train.csv"]) == 1
    assert "same file" in capsys.readouterr().out
    assert main(["data", "check", "train.conll"]) == 0
    assert "PER" in capsys.readouterr().out


def test_data_check_judges_labels_and_compares_files(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["data", "check", "train.csv", "--label-errors", "linear", "--folds", "3", "--against", "train.csv"]
    assert main([*words, "--model", "minilm-l6", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    errors = found["label_errors"]
    assert errors["judged"] == 48 and errors["folds"] == 3 and errors["judge"] == "linear"
    assert all(one["where"].startswith("train.csv:") and one["given"] != one["suggested"] for one in errors["suspects"])
    assert found["distance"]["verdict"] == "not told apart" and found["model"]["unknown"] < 0.1
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "label errors, by 3 folds of linear" in said and "the two files are not told apart" in said
    shutil.copy("train.csv", "seen.csv")
    shutil.copy("train.csv", "other.csv")
    model = TextClassifier.from_pretrained("minilm-l6")
    model.fit("seen.csv", "valid.csv", out="runs/seen", epochs=0.2, baselines=False)
    capsys.readouterr()
    assert main(["data", "check", "other.csv", "--against", "runs/seen", "--json"]) == 0
    out, said = capsys.readouterr()
    assert f"runs/seen learnt from {work / 'seen.csv'}" in said
    assert json.loads(out)["distance"]["texts"] == [48, 48]
    model.fit([(f"film {i}", "ab"[i % 2]) for i in range(40)], out="runs/python", epochs=0.2, baselines=False)
    assert main(["data", "check", "other.csv", "--against", "runs/python"]) == 1
    assert "runs/python does not say which labelled file it learnt from: name that file" in capsys.readouterr().err
    shutil.copy("valid.csv", "seen.csv")
    assert main(["data", "check", "other.csv", "--against", "runs/seen"]) == 1
    assert f"{work / 'seen.csv'} is not what runs/seen learnt from any more" in capsys.readouterr().err
    assert main(["data", "check", "train.csv", "--perplexity"]) == 2
    assert "name one with --model" in capsys.readouterr().err


def test_demo_on_files_at_hand(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--model", "minilm-l6", "--data", "train.csv", "--out", "runs/demo", "--offline"]) == 0
    out = capsys.readouterr().out
    for words in ("The data", "most frequent label", "before", "after", "Confusion", "runs/demo", "handloom train"):
        assert words in out
    assert (work / "runs" / "demo" / "report.html").is_file()


def test_demo_without_a_network_says_what_is_missing(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--offline", "--model", "nowhere"]) == 1
    complaint = capsys.readouterr().err
    assert "nowhere" in complaint and "tweets_GroundTruth.txt" in complaint and "--data" in complaint


def test_doctor(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["self-test"] == "passed" and found["versions"]["handloom"] == __version__
    assert {"processor", "instructions", "threads", "memory", "caches"} <= found.keys()


def test_options_of_train_are_the_settings() -> None:
    """Every setting is an option, and the defaults that --help shows are the settings' own."""
    command = typer.main.get_command(app).commands["train"]  # type: ignore[attr-defined]
    options = {parameter.name: parameter for parameter in command.params}
    for setting in fields(Settings):
        shown = options[setting.name].show_default
        if setting.default is None or setting.default is MISSING:
            assert shown is True, setting.name
        else:
            assert shown == str(setting.default), setting.name


def test_options_for_some_tasks_alone_are_in_the_table() -> None:
    """The group "For one task" names the table's tasks; a setting that is not in the table is for all tasks."""
    group: Any = typer.main.get_command(app)
    commands = group.commands
    shown = {one.name: one for name in ("train", "evaluate", "predict") for one in commands[name].params}
    told = {name: one.help for name, one in shown.items() if getattr(one, "rich_help_panel", None) == TASK}
    assert told.keys() - {"form"} <= MEANT_FOR.keys() <= shown.keys() | {"max_new_tokens"}
    for name in told.keys() & MEANT_FOR.keys():
        assert told[name].startswith(", ".join(MEANT_FOR[name])), name
    assert {task for tasks in MEANT_FOR.values() for task in tasks} == ESTIMATORS.keys()
    general = {
        "epochs", "batch_size", "batch_tokens", "micro_batch_tokens", "lr", "final_lr", "optimizer", "schedule",
        "warmup", "weight_decay", "beta2", "dropout", "clip", "metric", "patience", "validate_every", "freeze",
        "augment", "augment_times", "max_length", "seed", "threads", "precision", "max_memory", "keep",
    }  # fmt: skip
    assert general == set(Settings.names()) - MEANT_FOR.keys()


def test_choices_in_help_are_those_of_the_code() -> None:
    from handloom.text.windows import HOW
    from handloom.train.optimisers import OPTIMISERS
    from handloom.train.schedules import SHAPES

    command = typer.main.get_command(app).commands["train"]  # type: ignore[attr-defined]
    shown = {parameter.name: set((parameter.metavar or "").split("|")) for parameter in command.params}
    assert shown["long"] == set(HOW) and shown["optimizer"] == set(OPTIMISERS) and shown["schedule"] == set(SHAPES)


def test_help_is_quick_to_load_and_heavy_modules_are_not() -> None:
    code = (
        "import sys; from handloom.cli.main import main; main(['--help']); "
        "sys.exit(len({'numpy', 'llvmlite', 'tokenizers', 'huggingface_hub'} & sys.modules.keys()))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    assert re.search(r"demo.*train.*predict", found.stdout, re.DOTALL)


def test_importing_handloom_does_not_import_the_command_line() -> None:
    code = "import sys, handloom; handloom.TextClassifier; sys.exit('typer' in sys.modules or 'rich' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_profile(trained: Path, work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {file.name: file.read_bytes() for file in trained.iterdir() if file.is_file()}
    words = ["profile", str(trained), "--sequences", "3", "--length", "12", "--steps", "2"]
    assert main([*words, "--json", "--memory", "plan.svg"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["tokens"] == 36 and found["precision"] == "f32" and 0 < found["utilisation"] < 1.2
    assert found["step_seconds"] > 0 and set(found["ceilings"]) == {"f32", "bf16"}
    kinds = {row["kind"] for row in found["kernels"]}
    assert {"matrix products", "attention"} <= kinds
    spent = sum(row["seconds"] for row in found["kernels"])
    assert spent == pytest.approx(sum(found["seconds_by_kind"].values()))
    assert all(row["gflops"] >= 0 and row["mb"] >= 0 and row["calls"] > 0 for row in found["kernels"])
    picture = Path("plan.svg").read_text(encoding="utf-8")
    assert picture.startswith("<svg") and picture.count("<title>") > 10
    assert main([*words, "--inference", "--precision", "bf16", "--rows", "3"]) == 0
    out = capsys.readouterr().out
    assert "By kind" in out and "GFLOP/s in bf16" in out and "other kernels" in out
    assert {file.name: file.read_bytes() for file in trained.iterdir() if file.is_file()} == before


def test_profile_refuses_texts_that_do_not_fit(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", str(trained), "--length", "100000"]) == 1
    assert "texts of 100000 tokens do not fit" in capsys.readouterr().err


def test_a_classifier_cannot_choose(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["choose", str(trained), "hot is", "--choice", "cold", "--choice", "warm"]) == 2
    assert "neither chooses nor writes: it was trained for text-classification" in capsys.readouterr().err


def test_generate_streams_or_prints_one_object(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["generate", "smollm2-135m-instruct", "the cat", "--max-new-tokens", "12", "--temperature", "0.8"]
    assert main([*words, "--seed", "3"]) == 0
    streamed, said = capsys.readouterr()
    assert main([*words, "--seed", "3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert ("(broken off: there was no room for more" in said) == (found["finish"] == "length")
    assert main(["generate", "smollm2-135m-instruct", "the cat", "--max-new-tokens", "1"]) == 0
    assert capsys.readouterr().err.endswith("(broken off: there was no room for more; --max-new-tokens gives it)\n")
    assert found["text"] + "\n" == streamed and found["finish"] in ("end", "length") and found["tokens"] <= 12
    assert main(["generate", "smollm2-135m-instruct", "--chat", "Hi", "--beams", "2", "--max-new-tokens", "3"]) == 0
    assert capsys.readouterr().out.strip()


def test_generate_keeps_to_what_is_wanted(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def written(*words: str) -> dict[str, Any]:
        assert main(["generate", "smollm2-135m-instruct", "the cat", "--max-new-tokens", "16", "--json", *words]) == 0
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found

    assert written("--choice", "cats", "--choice", "dogs")["text"].strip() in ("cats", "dogs")
    closed = ["generate", "smollm2-135m-instruct", "the cat", "--max-new-tokens", "1", "--choice", "the cat on the mat"]
    assert main(closed) == 0
    assert capsys.readouterr().err.startswith("(closed by the shortest way: there was no room for the rest")
    assert re.fullmatch("(a|o){3},(at|on)+", written("--pattern", "(a|o){3},(at|on)+")["text"].strip())
    Path("schema.json").write_text('{"type": "integer"}', encoding="utf-8")
    words = ["generate", "smollm2-135m-instruct", "the cat", "--schema", "schema.json"]
    assert main(words) != 0 and "cannot spell a text of the schema" in capsys.readouterr().err  # it knows no digits
    assert "dog" in written("--require", "dog", "--beams", "4")["text"]


def test_generate_is_steered_by_a_classifier(work: Path, trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["generate", "smollm2-135m-instruct", "the cat", "--steer", str(trained), "--max-new-tokens", "6"]
    scores = {}
    for label in ("pos", "neg"):
        assert main([*words, "--toward", label, "--candidates", "4", "--block", "3", "--seed", "1", "--json"]) == 0
        scores[label] = json.loads(capsys.readouterr().out)["score"]
    assert all(0 < score < 1 for score in scores.values()) and sum(scores.values()) > 1
    assert main([*words, "--toward", "pos"]) == 0 and capsys.readouterr().out.endswith("\n")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], "give a PROMPT"),
        (["Hi", "--system", "Be brief."], "give --chat, too"),
        (["Hi", "--length-penalty", "2"], "belongs to --beams"),
        (["Hi", "--beams", "2", "--stop", "x"], "cannot be told to a beam search"),
        (["Hi", "--top-k", "3"], "give a temperature above 0"),
        (["Hi", "--schema", "x.json", "--choice", "a"], "give one of them"),
        (["Hi", "--schema", "missing.json"], "missing.json"),
        (["Hi", "--pattern", "(a"], "the pattern is refused: invalid regex"),
        (["Hi", "--toward", "pos"], "--toward belongs to --steer"),
        (["Hi", "--no-close"], "--no-close belongs to what has an end to be brought to: --schema"),
        (["Hi", "--no-close", "--forbid", "x"], "--no-close belongs to"),
        (["Hi", "--steer", "runs/shared"], "--steer needs --toward"),
        (["Hi", "--steer", "runs/shared", "--toward", "pos", "--choice", "a"], "--choice is about the whole text"),
        (["Hi", "--steer", "runs/shared", "--toward", "great"], "it has neg, pos"),
    ],
)
def test_generate_names_what_does_not_go_together(
    words: list[str], complaint: str, work: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(trained) if word == "runs/shared" else word for word in words]
    assert main(["generate", "smollm2-135m-instruct", *words]) != 0
    assert complaint in " ".join(capsys.readouterr().err.split())


def test_what_was_read_is_told_beside_results(work: Path, trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("long.csv").write_text("text,label\n" + "the film was great " * 200 + ",pos\n", encoding="utf-8")
    assert main(["predict", str(trained), "--data", "new.csv", "--json"]) == 0
    out, told = capsys.readouterr()
    assert out.count("\n") == 5 and "5 examples read from new.csv" in told
    assert main(["evaluate", str(trained), "--data", "long.csv", "--json"]) == 0
    told = capsys.readouterr().err
    assert "1 example read from long.csv" in told and "longer than" in told
    assert main(["predict", str(trained), "the film"]) == 0 and not capsys.readouterr().err
