from pathlib import Path

import numpy as np

from tools.showing.fed_clips import FedClip
from tools.showing.sheets import write_sheet


def test_page_shows_any_name_and_reads_none_as_markup(tmp_path: Path) -> None:
    frames = np.zeros((1, 16, 16, 3), np.uint8)
    clip = FedClip(frames, "<b>\x1b caf\udce9", '"x" & y', "not mirrored", [0])
    write_sheet(tmp_path / "a.html", [clip], "a\x07", [])
    page = (tmp_path / "a.html").read_bytes().decode()
    assert "&lt;b&gt;\\x1b caf\\udce9" in page
    assert 'alt="&quot;x&quot; &amp; y: &lt;b&gt;' in page
    assert not {"\x1b", "\x07"} & {*page}
