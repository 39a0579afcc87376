import json
from pathlib import Path

import pytest

from tools.features.manifest import read_manifest, read_videos

WHOLE = {"makes": {}, "config": "A: 1", "checkpoint": "c.pth", "format": "npz", "data_root": "d"}


@pytest.mark.parametrize(
    ("key", "value"), [("makes", 3), ("config", 3), ("config", "a: ["), ("config", "- x")]
)
def test_damaged_manifest_is_told(tmp_path: Path, key: str, value: object) -> None:
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(WHOLE))
    assert read_manifest(tmp_path) == WHOLE
    path.write_text(json.dumps(WHOLE | {key: value}))
    with pytest.raises(ValueError, match=r"config|makes"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(("key", "value"), [("name", 1), ("path", None), ("label", "x")])
def test_damaged_line_of_the_videos_is_told(tmp_path: Path, key: str, value: object) -> None:
    video = {"name": "v", "path": "v", "label": 0, "file": "v.npz"}
    (tmp_path / "videos.jsonl").write_text(json.dumps(video | {key: value}))
    with pytest.raises(ValueError, match=r"videos\.jsonl', line 1: "):
        read_videos(tmp_path)
