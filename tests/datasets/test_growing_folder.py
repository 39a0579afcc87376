import io
import logging
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.growing_folder import GrowingFolder, read_whole_image
from datasets.live import Every
from datasets.readers import UnreadableVideoError


def encoded(number: int, suffix: str = ".png", side: int = 24) -> bytes:
    """A picture of noise that tells its number in the first pixel, as a file."""
    picture = np.random.default_rng(number).integers(0, 256, (side, side, 3), dtype=np.uint8)
    picture[0, 0] = number
    file = io.BytesIO()
    Image.fromarray(picture).save(file, format=Image.registered_extensions()[suffix])
    return file.getvalue()


def fill(folder: Path, *names: str) -> None:
    for number, name in enumerate(names):
        (folder / name).write_bytes(encoded(number))


def names_of(folder: GrowingFolder) -> list[str]:
    return [frame.name for frame in folder]


def test_images_come_by_number_and_other_files_do_not(tmp_path: Path) -> None:
    fill(tmp_path, "img_9.png", "img_10.png", "img_100.png", ".img_11.png", "notes.txt", "a.PNG")
    assert names_of(GrowingFolder(tmp_path, Every(1), 0)) == [
        "a.PNG",
        "img_9.png",
        "img_10.png",
        "img_100.png",
    ]


def test_images_that_are_not_wanted_are_not_read(tmp_path: Path) -> None:
    fill(tmp_path, "0.png", "1.png", "2.png", "3.png")
    (tmp_path / "1.png").write_bytes(b"no image")
    folder = GrowingFolder(tmp_path, Every(2), 0)
    assert [(frame.number, frame.picture[0, 0, 0]) for frame in folder] == [(0, 0), (2, 2)]
    assert folder.left_out == []


def test_a_folder_that_grows_is_followed_and_no_image_is_read_in_part(tmp_path: Path) -> None:
    def write() -> None:
        for number in range(8):
            content = encoded(number, side=64)
            with (tmp_path / f"{number}.png").open("wb") as file:
                for start in range(0, len(content), 4000):
                    file.write(content[start : start + 4000])
                    file.flush()
                    time.sleep(0.02)

    writer = threading.Thread(target=write)
    writer.start()
    folder = GrowingFolder(tmp_path, Every(1), timeout_seconds=3)
    frames = list(folder)
    writer.join()
    assert [frame.number for frame in frames] == [*range(8)]
    for frame in frames:
        whole = np.asarray(Image.open(io.BytesIO(encoded(frame.number, side=64))))
        assert np.array_equal(frame.picture, whole)
    assert folder.left_out == []
    assert [frame.seconds for frame in frames] == sorted(frame.seconds for frame in frames)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".webp"])
def test_no_part_of_an_image_passes_for_it(tmp_path: Path, suffix: str) -> None:
    content, file = encoded(3, suffix), tmp_path / f"part{suffix}"
    file.write_bytes(content)
    whole = read_whole_image(file)
    for length in range(0, len(content), 7):
        file.write_bytes(content[:length])
        try:
            part = read_whole_image(file)
        except UnreadableVideoError:
            continue
        assert np.array_equal(part, whole), f"{length} of {len(content)} bytes"


def test_an_image_that_stays_broken_is_left_out_in_plain_sight(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fill(tmp_path, "0.png", "1.png", "2.png")
    (tmp_path / "1.png").write_bytes(encoded(1)[:200])
    folder = GrowingFolder(tmp_path, Every(1), 0, patience_seconds=0.2)
    with caplog.at_level(logging.WARNING):
        assert [(frame.number, frame.name) for frame in folder] == [(0, "0.png"), (2, "2.png")]
    (reason,) = folder.left_out
    assert "1.png: OSError" in reason
    assert "(tried for 0.2 s)" in reason
    assert reason in caplog.text


def test_an_image_that_comes_after_its_turn_is_left_out_in_plain_sight(tmp_path: Path) -> None:
    fill(tmp_path, "1.png", "3.png")
    folder = GrowingFolder(tmp_path, Every(1), timeout_seconds=1)
    frames = iter(folder)
    assert [next(frames).name, next(frames).name] == ["1.png", "3.png"]
    fill(tmp_path, "2.png", "4.png")
    assert [frame.name for frame in frames] == ["4.png"]
    assert folder.left_out == ["2.png came after 3.png had been read"]


def test_an_empty_folder_ends_after_the_timeout_and_a_missing_one_is_an_error(
    tmp_path: Path,
) -> None:
    start = time.monotonic()
    assert names_of(GrowingFolder(tmp_path, Every(1), timeout_seconds=0.3)) == []
    assert time.monotonic() - start >= 0.3
    with pytest.raises(UnreadableVideoError, match="none: No such file"):
        names_of(GrowingFolder(tmp_path / "none", Every(1), 1))
