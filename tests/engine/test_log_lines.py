import json
from pathlib import Path

from engine.log_lines import epochs_at, number_in, read_log


def train(epoch: int, iteration: int, **values: object) -> dict:
    return {"kind": "train", "epoch": epoch, "iteration": iteration, "step": 1, **values}


def test_lines_come_back_and_torn_ones_do_not(tmp_path: Path) -> None:
    assert read_log(tmp_path) == []
    lines = [{"kind": "val", "epoch": 1}, train(2, 1), {"no": "kind"}, [1]]
    text = "".join(f"{json.dumps(line)}\n" for line in lines)
    (tmp_path / "log.jsonl").write_bytes(text.encode() + b'\xff\n{"kind": "tr')
    assert read_log(tmp_path) == lines[:2]


def test_each_line_stands_where_its_epoch_was() -> None:
    lines = [train(1, 5), train(1, 10), {"kind": "val", "epoch": 1}, train(2, 5)]
    assert epochs_at(lines) == [0.5, 1.0, 1.0, 1.5]
    assert epochs_at([{"kind": "start"}, {"kind": "train", "epoch": "x"}]) == [None, None]


def test_first_logs_count_their_epochs_from_0() -> None:
    lines = [{"kind": "train", "epoch": 0, "iteration": 4}, {"kind": "val", "epoch": 0}]
    assert epochs_at(lines) == [1.0, 1.0]
    assert epochs_at([*lines, train(1, 4), train(3, 2)])[2:] == [2.0, 2.5]  # went on from 1
    assert epochs_at([train(0, 4), train(0, 8), {"kind": "val", "epoch": 0}]) == [0.5, 1.0, 1.0]
    assert epochs_at([train(2, 2), train(3, 4)]) == [1.5, 3.0]  # of a run that went on elsewhere


def test_numbers_that_are_not_finite_are_none() -> None:
    line = {"kind": "train", "loss": float("nan"), "top1": float("inf"), "lr": 0.1}
    assert [number_in(line, name) for name in ("loss", "top1", "lr")] == [None, None, 0.1]
