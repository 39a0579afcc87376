import json
from pathlib import Path

from tools.benchmarking.result_page import write_page

ROWS = [
    {
        "section": "ddp",
        "what": "step",
        "config": "recipe",
        "device": "2 CPU cores",
        "torch": "2.11",
        "median_ms": 5.0,
        "against": "one process",
        "against_ms": 4.5,
        "ratio": 1.8,
        "goal": "at least 1.8",
        "reached": True,
        "processes": 2,
    },
    {"section": "parity", "what": "bf16", "device": "a card", "torch": "2.11", "ok": True},
    {"section": "part", "what": "waits", "status": 124, "seconds": 30, "limit": 30},
]


def test_results_become_tables_behind_what_is_there(tmp_path: Path) -> None:
    page, results = tmp_path / "page.md", tmp_path / "results.jsonl"
    results.write_text("".join(f"{json.dumps(row)}\n" for row in ROWS))
    page.write_text("# Kept\n\n## Measured\n\nof last year\n")
    write_page(page, results)
    text = page.read_text()
    assert text.startswith("# Kept\n\n## Measured\n")
    assert "of last year" not in text
    assert "### 2 CPU cores, torch 2.11\n" in text
    row = "| recipe | ddp: step | 5.0 ms | one process, 4.5 ms | 1.8 | at least 1.8: reached |"
    assert f"{row} processes 2 |" in text
    assert "| waits | 124 | 30 | 30 |" in text
    write_page(page, results)
    assert page.read_text() == text
