"""The test list under damages, on random weights and videos of noise."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from main_ddp_shift import main as train_or_test
from tests.tools.test_temporal_check import experiment  # noqa: F401 - a fixture
from tools.robustness import main, table
from tools.spoiling.damages import DAMAGES


def run(folder: Path, *words: object) -> list[dict[str, Any]]:
    own = ["--checkpoint", folder / "tokshift.pth", "--cfg", folder / "check.yml"]
    main([str(word) for word in (*own, "--json", folder / "out.json", *words)])
    return json.loads((folder / "out.json").read_text())["rows"]


def test_rows_begin_with_the_test_and_depend_on_the_seed_alone(
    experiment: Path,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = run(experiment, "--severities", "5", "--plot", experiment / "out.png")
    assert [(row["kind"], row["severity"]) for row in rows] == [
        ("", 0),
        *((kind, 5) for kind in DAMAGES),
    ]
    out = capsys.readouterr().out
    shown = out[out.index("2x1 views") :].splitlines()
    assert max(map(len, shown)) <= 80
    assert [line.split()[0] for line in shown[3:12]] == [*DAMAGES]
    picture = np.asarray(Image.open(experiment / "out.png"))
    assert picture.shape == (460, 1000, 3)
    words = ["--cfg", experiment / "check.yml", "--evaluate", "--output", experiment / "run"]
    train_or_test([str(w) for w in (*words, "--resume", experiment / "tokshift.pth")])
    results = json.loads((experiment / "run/results.json").read_text())
    for key in ("top1", "top5", "mean_class_accuracy"):
        assert rows[0][key] == results[key]
    more = ["--severities", "5", "--kinds", "noise,dropped", "DATA.WORKERS", "1"]
    again = run(experiment, *more, "TEST.VIEWS_PER_FORWARD", "3")
    assert again[1:] == [row for row in rows if row["kind"] in ("noise", "dropped")]
    assert [row["kind"] for row in again] == ["", "noise", "dropped"]


def test_table_has_a_line_for_each_kind_and_what_the_levels_are() -> None:
    figures = {"top1": 90.0, "num": 10, "kind": "", "severity": 0}
    rows = [figures, *(figures | {"kind": "blur", "severity": s, "top1": 50.0} for s in (1, 5))]
    lines = table(rows, ["blur"], "1x1 views, dense 8x2, short side 256, crop 224 " + "x" * 50)
    assert lines[2] == "10 videos as they are: top-1 90.00, 95 % interval 59.58 to 98.21"
    assert lines[3:] == [
        "top-1, severity        1       5    mean    lost",
        "blur               50.00   50.00   50.00   40.00",
        "blur: Gaussian of sigma 1, 6 in 224 pixels",
    ]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--kinds", "blur,fog"], "'fog' is none of blur, noise"),
        (["--severities", "0"], "'0' is none of 1, 2, 3, 4, 5"),
        (["--views", "3"], "--views is clips x crops"),
        (["--checkpoint", "none.pth"], "none.pth"),
    ],
)
def test_faults_are_told_in_a_line(
    experiment: Path,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    text: str,
) -> None:
    with pytest.raises(SystemExit) as end:
        run(experiment, *words)
    assert end.value.code in (1, 2)
    shown = capsys.readouterr()
    assert text in shown.out + shown.err


def test_broken_videos_are_an_error_unless_they_may_be_left_out(
    experiment: Path,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    (experiment / "v1/img_00004.png").write_bytes(b"broken")
    with pytest.raises(SystemExit):
        run(experiment, "--kinds", "blur", "--severities", "1")
    assert "1 of 4 videos are unreadable; mend them" in capsys.readouterr().out
    rows = run(experiment, "--kinds", "blur", "--severities", "1", "TEST.SKIPS_UNREADABLE", "True")
    assert [row["num"] for row in rows] == [3, 3]
