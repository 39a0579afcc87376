import argparse
import subprocess
import sys
from pathlib import Path

import pytest

from config import flag_hints, is_key, load_cfg
from config.command_line import check_command_line, parse_args
from config.option_numbers import positive_number, whole_number

CFG = ["--cfg", "exp.yml"]


def parsed(*words: str) -> argparse.Namespace:
    return parse_args([*CFG, *words])


def error_of(capsys: pytest.CaptureFixture[str], argv: list[str]) -> str:
    with pytest.raises(SystemExit, match="2"):
        parse_args(argv)
    return capsys.readouterr().err


def test_every_released_flag_is_understood() -> None:
    flags = (
        "--seed 3 --start-epoch 2 -j 4 --gpu 1 --rank 0 --dist-url env:// --world-size 2"
        " --multiprocessing-distributed --dist-backend nccl --cfg a.yml --resume r.pth -e -p 5"
    )
    args = vars(parse_args(flags.split()))
    expected = {
        "seed": 3,
        "start_epoch": 2,
        "workers": 4,
        "gpu": 1,
        "rank": 0,
        "dist_url": "env://",
        "world_size": 2,
        "multiprocessing_distributed": True,
        "dist_backend": "nccl",
        "cfg": "a.yml",
        "resume": "r.pth",
        "evaluate": True,
        "print_freq": 5,
    }
    assert {name: args[name] for name in expected} == expected


def test_long_forms_of_short_flags_and_our_own_are_understood() -> None:
    args = parsed(
        *("--workers", "4", "--evaluate", "--print-freq", "5", "--resume", "r.pth"),
        *("--output", "runs/x", "--amp"),
    )
    assert (args.workers, args.evaluate, args.print_freq) == (4, True, 5)
    assert (args.output, args.amp) == ("runs/x", True)
    assert parsed("--tune_from", "ViT.npz").tune_from == "ViT.npz"


def test_released_launch_scripts_abbreviation_is_understood() -> None:
    url = "tcp://127.0.0.1:23677"
    flags = f"--multiprocessing-distributed --world-size 1 --rank 0 --dist-ur {url}"
    args = parsed(*flags.split())
    assert args.dist_url == url
    assert parsed(f"--dist-ur={url}").dist_url == url


def test_flags_left_out_leave_the_config_alone() -> None:
    args = vars(parsed())
    for name in ("seed", "workers", "print_freq", "output", "gpu", "tune_from", "resume"):
        assert args[name] is None
    assert args["start_epoch"] == 0
    assert (args["world_size"], args["rank"], args["dist_url"]) == (-1, -1, "")
    assert not any(args[name] for name in ("evaluate", "amp", "multiprocessing_distributed"))
    assert args["overrides"] == []


@pytest.mark.parametrize(
    ("words", "resume", "overrides"),
    [
        ("--resume", "", []),
        ("--resume OPTIM.LR 0.1", "", ["OPTIM.LR", "0.1"]),
        ("--resume LR_STEPS [1,2]", "", ["LR_STEPS", "[1,2]"]),
        ("--resume --amp OPTIM.LR 0.1", "", ["OPTIM.LR", "0.1"]),
        ("OPTIM.LR 0.1 --resume", "", ["OPTIM.LR", "0.1"]),
        ("OPTIM.LR 0.1 --resume -j 2", "", ["OPTIM.LR", "0.1"]),
        ("--resume last.pth", "last.pth", []),
        ("--resume=last.pth OPTIM.LR 0.1", "last.pth", ["OPTIM.LR", "0.1"]),
        ("--resume runs/x/last.pth OPTIM.LR 0.1", "runs/x/last.pth", ["OPTIM.LR", "0.1"]),
        ("OPTIM.LR 0.1 --resume last.pth --amp", "last.pth", ["OPTIM.LR", "0.1"]),
    ],
)
def test_resume_takes_a_file_but_no_key(words: str, resume: str, overrides: list[str]) -> None:
    args = parsed(*words.split())
    assert args.resume == resume
    assert args.overrides == overrides


@pytest.mark.parametrize(
    "words",
    [
        "OPTIM.LR 0.1 TRAIN.EPOCHS 3 --amp --seed 5",
        "--amp --seed 5 OPTIM.LR 0.1 TRAIN.EPOCHS 3",
        "OPTIM.LR 0.1 --amp TRAIN.EPOCHS 3 --seed 5",
        "--seed 5 OPTIM.LR 0.1 --amp TRAIN.EPOCHS 3",
    ],
)
def test_overrides_may_stand_before_between_and_after_flags(words: str) -> None:
    args = parsed(*words.split())
    assert args.overrides == ["OPTIM.LR", "0.1", "TRAIN.EPOCHS", "3"]
    assert (args.amp, args.seed, args.cfg) == (True, 5, "exp.yml")


def test_value_of_an_override_may_be_a_negative_number_or_a_list() -> None:
    words = ["OPTIM.MIN_LR", "-0.5", "AUG.HUE", "[-0.5, 0.5]"]
    assert parsed(*words).overrides == words


def test_evaluate_without_a_checkpoint_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    text = error_of(capsys, [*CFG, "--evaluate"])
    assert "--evaluate tests the checkpoint that --resume names" in text


def test_usage_under_a_launcher_names_the_main_script(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["tools/launching/torchrun.py"])
    assert "torchrun" not in error_of(capsys, [])


def test_tune_from_with_resume_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    for resume in (["--resume"], ["--resume", "last.pth"]):
        text = error_of(capsys, [*CFG, "--tune_from", "ViT.npz", *resume])
        assert "--tune_from starts a new run and --resume goes on with one" in text


def test_config_is_needed_but_for_a_test_of_a_named_checkpoint(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for argv in ([], ["--resume", "last.pth"], ["-e", "--resume"], ["OPTIM.LR", "0.1"]):
        assert "--cfg names the experiment" in error_of(capsys, argv)
    args = parse_args(["-e", "--resume", "best.pth"])
    assert (args.cfg, args.resume) == (None, "best.pth")


def test_unknown_flag_and_wrong_number_are_errors(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--epochs" in error_of(capsys, [*CFG, "--epochs", "3"])
    assert "invalid int value: 'many'" in error_of(capsys, [*CFG, "-j", "many"])
    assert "invalid choice: 'mpi'" in error_of(capsys, [*CFG, "--dist-backend", "mpi"])


WITHOUT_TORCH = """
import runpy, sys
sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as end:
    heavy = {"torch", "torchvision", "numpy"} & set(sys.modules)
    sys.exit(f"imported {heavy}" if heavy else end.code)
"""


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["--help"], 0, "yml file of the experiment"),
        (["--keys", "SEED"], 0, "SEED  default 0"),
        (["--cfg", "config/quickstart.yml", "--print-config", "SEED=3"], 0, "SEED: 3  # the comm"),
        (["--cfg", "config/quickstart.yml", "OPTIM.LRR", "1"], 1, "unknown key 'OPTIM.LRR'"),
        (["--cfg", "config/no_such.yml"], 1, "cannot read the config 'config/no_such.yml'"),
        (["--cfg", "config/quickstart.yml", "--gpu", "x"], 2, "argument --gpu: invalid int"),
        (["--evaluate"], 2, "--evaluate tests the checkpoint that --resume names"),
    ],
)
@pytest.mark.parametrize(
    "script",
    [
        ["main_ddp_shift.py"],
        ["tools/launching/torchrun.py", "--nproc-per-node", "2", "main_ddp_shift.py"],
    ],
    ids=["main", "torchrun"],
)
def test_fault_in_the_command_line_is_told_before_torch_is_imported(
    script: list[str], words: list[str], code: int, text: str, repository: Path
) -> None:
    command = [sys.executable, "-c", WITHOUT_TORCH, *script, *words]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert text in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_checked_command_line_says_nothing_and_warnings_stay_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.yml"
    path.write_text("AUG: {SHORT_SIDE_RANGE: [100, 200]}\n")  # which warns of black borders
    check_command_line(["--cfg", str(path)])
    assert (capsys.readouterr().out, caplog.messages) == ("", [])
    load_cfg(path)
    assert len(caplog.messages) == 1


@pytest.mark.parametrize("word", ["1.5", "1_0", "", "nan", "٣", "9" * 5000, "-1", "0", "11", " 2"])
def test_whole_number_is_within_its_bounds(word: str) -> None:
    read = whole_number(least=1, most=10)
    assert [read(text) for text in ("1", "+2", "10", "010")] == [1, 2, 10, 10]
    with pytest.raises(argparse.ArgumentTypeError, match=r"invalid int value|is not from 1 to 10"):
        read(word)


@pytest.mark.parametrize("word", ["nan", "inf", "-1", "0", "1e400", "x", "", "1e7"])
def test_positive_number_is_finite(word: str) -> None:
    assert positive_number()("0.5") == 0.5
    with pytest.raises(argparse.ArgumentTypeError, match=r"invalid float|is not above 0, up to"):
        positive_number()(word)


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["--lr", "0.1"], "there is no --lr; write the key and its value: OPTIM.LR 0.1"),
        (["--epochs=3"], "TRAIN.EPOCHS 3"),
        (["--batch-size", "4"], "TRAIN.CLIPS_PER_GPU 4"),
        (["--batch_size"], "TRAIN.CLIPS_PER_GPU VALUE"),
        (["--cutmix-alpha", "1"], "AUG.CUTMIX_ALPHA 1"),
        (["--num-workers", "2"], "write --workers NUMBER"),
        (["--pretrained", "x.pth"], "write --tune_from FILE"),
        (["--fast-dev-run"], "write --max-iterations NUMBER"),
        (["--opts", "OPTIM.LR", "1"], "write the keys alone, KEY VALUE or KEY=VALUE"),
        (["--frobnicate"], "unrecognized arguments: --frobnicate"),
        (["--output=$NOT_SET/x"], "--output='$NOT_SET/x': the variable 'NOT_SET' is not set"),
    ],
)
def test_flags_of_others_are_told_by_their_name_here(
    words: list[str], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse_args(["--cfg", "a.yml", *words])
    assert hint in capsys.readouterr().err


def test_home_in_a_flag_is_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    args = parse_args(["--cfg=~/a.yml", "--output=~/x", "--tune_from=~/w.npz"])
    assert (args.cfg, args.output, args.tune_from) == (
        "/home/me/a.yml",
        "/home/me/x",
        "/home/me/w.npz",
    )


def test_hints_name_keys_that_exist() -> None:
    assert [key for key in flag_hints.KEYS.values() if not is_key(key)] == []
