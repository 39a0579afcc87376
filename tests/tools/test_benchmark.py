import json
from pathlib import Path
from typing import Any

import pytest

from tools import benchmark


def results_of(tmp_path: Path, *words: str) -> list[dict[str, Any]]:
    out = tmp_path / "results.jsonl"
    places = ["--json", str(out), "--folder", str(tmp_path / "videos")]
    speed = ["--tiny", "--device", "cpu", "--seconds", "0.01", "--workers", "1"]
    assert benchmark.main([*words, *places, *speed]) == 0
    return [json.loads(line) for line in out.read_text().splitlines()]


def test_sections_measure_and_compare(tmp_path: Path) -> None:
    rows = results_of(tmp_path, "shift", "test", "train", "parity", "roofline")
    found = {f"{row['section']} {row['what']}": row for row in rows}
    assert found["shift forward and backward"]["against"] == "an addition"
    assert found["test fp32"]["against"] == "plain views"
    assert found["train fp32"]["clips_per_s"] > 0
    assert found["parity fp32, eager"]["logits"] == 0
    assert found["parity bf16, eager"]["ok"]
    assert found["roofline product fp32"]["tflops"] > 0
    assert all(row["tiny"] and "reached" not in row for row in rows)


def test_a_training_can_be_profiled(tmp_path: Path) -> None:
    rows = results_of(tmp_path, "train", "--profile", "DATA.WORKERS", "0")
    profile = rows[-1]
    phases = ("wait", "host_to_device", "forward", "backward", "optimizer")
    assert sum(profile[phase] for phase in phases) == pytest.approx(1, abs=1e-3)
    assert Path(profile["trace"]).stat().st_size > 0
    assert profile["decode_ms"] > 0
    assert profile["change"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pptimesformer_8_base_224", "tsm_r50_8_uniform"])
def test_other_models_are_measured_too(tmp_path: Path, name: str) -> None:
    sections = ["model", "load", "test", "train", "parity"]
    rows = results_of(tmp_path, *sections, "--cfg", f"config/k400/{name}.yml")
    assert {row["section"] for row in rows} == {*sections}
    assert {row["config"] for row in rows} == {name}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["shfit"], "'shfit' is no section; there are shift, model"),
        (["--page", "page.md"], "--page writes what is in --json FILE"),
        (["--workers", "0"], "takes numbers from 1 as 8,16, got '0'"),
    ],
)
def test_faults_in_the_command_line_are_told(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        benchmark.main(words)
    assert told in capsys.readouterr().err
