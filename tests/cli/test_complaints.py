"""What a user reads when something is wrong, and the exit code."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer

from handloom.cli import doctor, download
from handloom.cli.main import app, main
from handloom.cli.nearest import SYNONYMS, nearest

TRAIN = ["train", "text-classification", "--model", "minilm-l6", "--out", "runs/never", "--train"]
TAGGER = ["train", "token-classification", "--train", "train.conll", "--out", "runs/never"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["trian"], 2, ["trian", "train"]),
        (["data", "chek"], 2, ["check"]),
        ([*TRAIN, "train.csv", "--epoch", "3"], 2, ["--epoch", "did you mean --epochs"]),
        ([*TRAIN, "train.csv", "--epochs", "many"], 2, ["--epochs"]),
        ([*TRAIN, "train.csv", "--epochs", "-1"], 2, ["epochs", "positive"]),
        ([*TRAIN, "train.csv", "--optimizer", "adamv"], 2, ["adamv", "adamw"]),
        ([*TRAIN, "train.csv", "--class-weights", "pos=heavy"], 2, ["pos=heavy", "spam=2"]),
        ([*TRAIN, "train.csv", "--class-weights", "nice=2"], 2, ["nice", "neg, pos"]),
        ([*TRAIN, "train.csv", "--batch-size", "4", "--batch-tokens", "99"], 2, ["--batch-size or --batch-tokens"]),
        (["train", "text-clasification", "--train", "train.csv", "--out", "x"], 2, ["text-classification"]),
        (["train", "text-classification", "--train", "train.csv"], 2, ["--out"]),
        ([*TRAIN, "trian.csv"], 1, ["trian.csv", "train.csv"]),
        ([*TRAIN, "train.csv", "--label-column", "lable"], 1, ["lable", "'label'"]),
        ([*TRAIN, "empty.csv"], 1, ["empty.csv", "empty"]),
        ([*TRAIN, "one.csv"], 1, ["only one label", "pos"]),
        ([*TRAIN, "train.csv", "--test", "other.csv"], 1, ["strange", "neg, pos"]),
        ([*TRAIN, "gb.csv"], 1, ["gb.csv", "byte", "gb18030"]),
        (["train", "text-classification", "--model", "nomodel", "--out", "x", "--train", "train.csv"], 1, ["nomodel"]),
        (["train", "token-classification", "--model", "minilm-l6", "--out", "x", "--train", "short.conll"], 1, [":2"]),
        (["predict", "minilm-l6", "text"], 1, ["no model trained"]),
        (["predict", "minilm-l6"], 2, ["give either texts or --data"]),
        (["predict", "nowhere", "text"], 1, ["nowhere"]),
        (["predict", "nowhere", "a", " "], 1, ["text 2 is empty"]),
        (["resume", "minilm-l6"], 1, ["not a run"]),
        (["evaluate", "minilm-l6", "--data", "nothing.csv"], 1, []),
        ([*TRAIN, "train.csv", "--crf"], 2, ["--crf is for token-classification, not text-classification"]),
        ([*TRAIN, "train.csv", "--subwords", "mean"], 2, ["--subwords is for token-classification, not"]),
        ([*TRAIN, "train.csv", "--score-range", "0,5"], 2, ["--score-range is for sentence-similarity, not"]),
        ([*TRAIN, "train.csv", "--prompt", "{text}"], 2, ["--prompt is for translation and summarization, not"]),
        ([*TRAIN, "train.csv", "--targets", "x"], 2, ["--targets is for translation and summarization, not text-cl"]),
        ([*TRAIN, "train.csv", "--test-targets", "x"], 2, ["--test-targets is for translation and summarization"]),
        ([*TAGGER, "--pair-column", "nosuch"], 2, ["--pair-column is for", "not token-classification"]),
        ([*TAGGER, "--refuse", "0.1"], 2, ["--refuse is for text-classification, not token-classification"]),
        ([*TAGGER, "--longest-answer", "5"], 2, ["--longest-answer is for question-answering, not"]),
        ([*TAGGER, "--label-order", "a,b"], 2, ["--label-order is for text-classification, not token-cl"]),
        (["data", "check", "train.conll", "--problem", "one"], 2, ["--problem is for text-classification"]),
    ],
)
def test_complaints(
    work: Path, words: list[str], code: int, said: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (work / "empty.csv").write_bytes(b"")
    (work / "one.csv").write_text("text,label\n" + "".join(f"good {i},pos\n" for i in range(20)))
    (work / "other.csv").write_text("text,label\nbad,neg\nhm,strange\n")
    (work / "gb.csv").write_bytes(
        "text,label\n这部电影非常好看我很喜欢,pos\n太差了不想再看第二遍,neg\n".encode("gb18030")
    )
    (work / "short.conll").write_text("Anna\tB-PER\nlives\nin\tO\n\n")
    assert main(words) == code
    out, complaint = capsys.readouterr()
    assert out == "" or words[0] in ("predict", "resume") or code == 1
    assert "Traceback" not in complaint and complaint.startswith("handloom: ")
    for part in said:
        assert part in complaint, complaint
    assert not (work / "runs" / "never").exists()


@pytest.mark.parametrize("words", [
    ["predict", "stopped", "a"], ["evaluate", "stopped", "--data", "test.csv"],
    ["compare", "stopped", "stopped", "--test", "test.csv"],
    ["train", "text-classification", "--model", "stopped", "--train", "train.csv", "--out", "runs/never"],
    ["train", "summarization", "--model", "stopped", "--train", "faq.csv", "--out", "runs/never"],
    ["pretrain", "new.csv", "--model", "stopped", "--out", "runs/never"],
    ["index", "new.csv", "--model", "stopped", "--out", "never.index"], ["search", "no", "a", "--rerank", "stopped"],
    ["search", "no", "a", "--model", "stopped"], ["choose", "stopped", "a", "--choice", "b", "--choice", "c"],
    ["generate", "stopped", "a"], ["chat", "stopped"], ["score", "stopped", "a"], ["fill-mask", "stopped", "a [MASK]"],
    ["feature-extraction", "stopped", "a"], ["sentence-similarity", "stopped", "a", "b"], ["profile", "stopped"],
], ids=lambda words: " ".join(words))  # fmt: skip
def test_a_stopped_training_is_called_one(work: Path, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever looks for a model there, and though no checkpoint has been written yet."""
    (work / "stopped").mkdir(exist_ok=True)
    (work / "stopped" / "settings.json").write_text("{}")
    assert main(words) == 1
    said = "handloom: stopped is a training that was stopped; `handloom resume stopped` ends it\n"
    assert capsys.readouterr().err == said


def test_no_command_shows_the_help(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert main(["--help"]) == 0
    assert "handloom demo" in "".join(capsys.readouterr())


def test_debug_shows_a_traceback(work: Path) -> None:
    words = [sys.executable, "-m", "handloom", "predict", "nowhere", "text"]
    plain = subprocess.run(words, capture_output=True, text=True, check=False)
    full = subprocess.run([*words, "--debug"], capture_output=True, text=True, check=False)
    assert plain.returncode == full.returncode == 1
    assert "Traceback" not in plain.stderr and "Traceback" in full.stderr
    assert "nowhere" in plain.stderr and "nowhere" in full.stderr


def test_a_defect_is_called_one_and_has_no_traceback() -> None:
    code = (
        "import sys; from handloom.cli import doctor\n"
        "doctor.LOOKS['processor'] = lambda: 1 / 0\n"
        "from handloom.cli.main import main; sys.exit(main(['doctor']))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.returncode == 1
    assert "ZeroDivisionError" in found.stderr and "--debug" in found.stderr and "Traceback" not in found.stderr


def test_doctor_fails_if_kernels_are_wrong(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(doctor.LOOKS, "self-test", lambda: "loss differs from the reference by 1.00e+00")
    assert main(["doctor"]) == 1
    assert "differs" in capsys.readouterr().err


def test_a_reader_that_leaves_is_no_error(work: Path) -> None:
    words = f"{sys.executable} -m handloom train --help | head -n 1 > /dev/null; exit ${{PIPESTATUS[0]}}"
    found = subprocess.run(["bash", "-c", words], capture_output=True, text=True, check=False)
    assert found.returncode in (0, 1, 141) and found.stderr == ""  # 1 is click's own answer to a closed pipe


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_training_says_how_to_go_on(work: Path, number: int, code: int) -> None:
    out = f"runs/stopped-{code}"
    words = [sys.executable, "-m", "handloom", *TRAIN, "train.csv", "--epochs", "9999", "--threads", "1"]
    words[words.index("runs/never")] = out
    process = subprocess.Popen(
        words, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=work, env=dict(os.environ)
    )
    assert process.stderr is not None
    read = []
    deadline = time.monotonic() + 60
    for line in process.stderr:
        read.append(line)
        if line.startswith("step") or time.monotonic() > deadline:
            break
    process.send_signal(number)
    rest, _ = process.communicate(timeout=60)[::-1]
    said = "".join(read) + rest
    assert process.returncode == code, said
    assert f"handloom resume {out}" in said and "Traceback" not in said
    assert any((work / out / "checkpoints").iterdir())


def test_nearest() -> None:
    assert nearest("tokenclassification", ["text-classification", "token-classification"]) == "token-classification"
    assert nearest("ev", ["evaluate", "predict"]) == "evaluate"
    assert nearest("zzz", ["evaluate", "predict"]) is None


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("--learning-rate", "--lr"),
        ("--learning_rate", "--lr"),
        ("--lerning-rate", "--lr"),
        ("--batch", "--batch-size"),
        ("--epoch", "--epochs"),
        ("--output-dir", "--out"),
        ("--output", "--out"),
        ("--optim", "--optimizer"),
        ("--optimzier", "--optimizer"),
        ("--max-seq-length", "--max-length"),
        ("--threds", "--threads"),
        ("--qqqq", None),
    ],
)
def test_options_by_other_names(written: str, meant: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TRAIN, "train.csv", written, "3"]) == 2
    said = capsys.readouterr().err
    assert (f"did you mean {meant}?" in said) if meant else (said.count("--") == 2)
    assert len(said) < 200


def test_synonyms_lead_to_options_that_there_are() -> None:
    words = ("train", "predict")
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    known = {name for word in words for parameter in commands[word].params for name in parameter.opts}
    assert set(SYNONYMS.values()) <= known and not known & SYNONYMS.keys()


def test_an_interruption_while_importing_is_one_line() -> None:
    code = """
import runpy, sys
class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == "typer":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupt())
runpy.run_module("handloom", run_name="__main__")
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stderr) == (130, "handloom: stopped\n")


def test_a_no_to_the_first_download_ends_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    def declined(*_: object) -> Path:
        raise download.Declined("nothing was downloaded")

    def asked(*_: object) -> Path:
        raise AssertionError("asked about a second download")

    monkeypatch.setattr(download, "model_folder", declined)
    monkeypatch.setattr(download, "entry_folder", asked)
    assert main(["demo"]) == 1
