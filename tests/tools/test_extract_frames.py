import errno
import logging
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from datasets.annotations import read_list
from tools import extract_frames
from tools.extract_frames import FrameOptions
from tools.extracting.video_jobs import VideoJob

av = pytest.importorskip("av")

COLOURS = [(20 * index + 10, 128, 250 - 20 * index) for index in range(12)]  # one per frame


def write_video(
    path: Path,
    colours: Sequence[tuple[int, int, int]] = COLOURS,
    size: tuple[int, int] = (40, 30),
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = 2_000_000
        for colour in colours:
            frame = av.VideoFrame.from_image(Image.new("RGB", size, colour))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def cut(path: Path, num_bytes: int) -> None:
    path.write_bytes(path.read_bytes()[:num_bytes])


def extract(source: Path, out: Path, *arguments: Any) -> int:
    argv = [source, out, "--short-side", 24, "--workers", 0, *arguments]
    return extract_frames.main([str(argument) for argument in argv])


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def middle_colour(path: Path) -> Any:
    with Image.open(path) as image:
        return image.convert("RGB").getpixel((image.width // 2, image.height // 2))


def assert_close(colour: Sequence[int], expected: Sequence[int]) -> None:
    # MPEG-4 and JPEG each lose a few levels; neighbouring frames differ by 20.
    assert max(abs(a - b) for a, b in zip(colour, expected, strict=True)) < 8


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two classes, a path with spaces, dots and unicode, upper case, and two files to ignore."""
    source = tmp_path / "my videos"
    write_video(source / "swim" / "a b.c.mp4")
    write_video(source / "swim" / "Größe.AVI", COLOURS[:5])
    write_video(source / "run fast" / "z.mp4", COLOURS[:3])
    (source / "swim" / "notes.txt").write_text("no video")
    (source / "readme.md").write_text("no class")
    return source


def test_frames_are_numbered_from_one_under_class_and_video(tree: Path, tmp_path: Path) -> None:
    assert extract(tree, tmp_path / "out") == 0
    assert names_in(tmp_path / "out") == ["run fast", "swim"]
    assert names_in(tmp_path / "out" / "swim") == ["Größe", "a b.c"]
    expected = [f"img_{number:05d}.jpg" for number in range(1, 13)]
    assert names_in(tmp_path / "out" / "swim" / "a b.c") == expected


def test_frames_keep_the_order_and_colours_of_the_video(tree: Path, tmp_path: Path) -> None:
    extract(tree, tmp_path / "out")
    for number, colour in enumerate(COLOURS, start=1):
        path = tmp_path / "out" / "swim" / "a b.c" / f"img_{number:05d}.jpg"
        assert_close(middle_colour(path), colour)


def test_list_has_path_count_and_alphabetical_label_in_source_order(
    tree: Path, tmp_path: Path
) -> None:
    list_path = tmp_path / "lists" / "train.txt"
    extract(tree, tmp_path / "out", "--write-list", list_path, "--prefix", "k400/frames")
    assert list_path.read_text(encoding="utf-8").splitlines() == [
        "k400/frames/run fast/z 3 0",
        "k400/frames/swim/Größe 5 1",
        "k400/frames/swim/a b.c 12 1",
    ]


def test_summary_counts_found_extracted_and_frames(
    tree: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    extract(tree, tmp_path / "out")
    assert "3 videos found: 3 extracted, 0 skipped as already done, 0 failed" in caplog.text
    assert "20 frames, 6.7 per video in 3 listed videos" in caplog.text


@pytest.mark.parametrize(
    ("size", "short_side", "expected"),
    [
        ((340, 256), 331, (439, 331)),  # 340 / 256 * 331 = 439.6
        ((256, 340), 331, (331, 439)),
        ((30, 30), 10, (10, 10)),
        ((40, 30), 24, (32, 24)),
        ((234, 105), 105, (234, 105)),
        ((113, 100), 100, (112, 100)),  # 1.13 * 100 is a hair below 113 in floats
        ((41, 31), 0, (41, 31)),
    ],
)
def test_size_is_rounded_as_in_the_release(
    size: tuple[int, int], short_side: int, expected: tuple[int, int]
) -> None:
    assert extract_frames.frame_size(*size, short_side) == expected


def test_size_is_that_of_the_training_transform() -> None:
    transforms = pytest.importorskip("datasets.augment.short_side")
    for width in range(1, 400, 3):
        for height in range(1, 400, 7):
            height_first = transforms.resized_size(height, width, 331)
            assert extract_frames.frame_size(width, height, 331) == height_first[::-1]


def test_worker_processes_do_not_import_torch(repository: Path) -> None:
    code = "import sys, tools.extract_frames; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=repository, check=True)


def test_frames_have_the_short_side_or_the_size_of_the_video(tmp_path: Path) -> None:
    write_video(tmp_path / "videos" / "c" / "v.mp4", COLOURS[:1], size=(40, 30))
    extract(tmp_path / "videos", tmp_path / "small")
    extract(tmp_path / "videos", tmp_path / "same", "--short-side", 0)
    with Image.open(tmp_path / "small" / "c" / "v" / "img_00001.jpg") as image:
        assert image.size == (32, 24)
    with Image.open(tmp_path / "same" / "c" / "v" / "img_00001.jpg") as image:
        assert image.size == (40, 30)


def test_frames_of_a_video_that_changes_size_are_equal_in_size(tmp_path: Path) -> None:
    images = [Image.new("RGB", size) for size in [(40, 30), (80, 30), (30, 40)]]
    assert extract_frames.write_frames(images, tmp_path, FrameOptions(short_side=24)) == 3
    sizes = []
    for path in sorted(tmp_path.iterdir()):
        with Image.open(path) as image:
            sizes.append(image.size)
    assert sizes == [(32, 24)] * 3


def test_list_mode_names_folders_by_label_or_class(tree: Path, tmp_path: Path) -> None:
    videos = tmp_path / "videos.txt"
    videos.write_text("# comment\n\nswim/a b.c.mp4 1\nrun fast/z.mp4 0\n", encoding="utf-8")
    written = tmp_path / "train.txt"
    assert extract(tree, tmp_path / "a", "--list", videos, "--write-list", written) == 0
    assert written.read_text().splitlines() == ["1/a b.c 12 1", "0/z 3 0"]
    classes = tmp_path / "classes.txt"
    classes.write_text("going quick\nbathing\n")
    extract(tree, tmp_path / "b", "--list", videos, "--write-list", written, "--classes", classes)
    assert written.read_text().splitlines() == ["bathing/a b.c 12 1", "going quick/z 3 0"]
    assert len(names_in(tmp_path / "b" / "bathing" / "a b.c")) == 12


def test_bad_usage_exits_with_2_and_says_why(
    tree: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert extract(tmp_path / "missing", tmp_path / "out") == 2
    assert "SOURCE must be a folder" in caplog.text
    assert extract(tree, tree / "frames") == 2
    assert "OUT must not lie in SOURCE" in caplog.text
    (tmp_path / "empty").mkdir()
    assert extract(tmp_path / "empty", tmp_path / "out") == 2
    assert "no video in" in caplog.text
    with pytest.raises(SystemExit, match="2"):
        extract(tree, tmp_path / "out", "--quality", 101)
    assert not (tmp_path / "out").exists()


def test_rerun_skips_what_is_finished_and_redoes_what_is_partial(
    tree: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    out, written = tmp_path / "out", tmp_path / "train.txt"
    extract(tree, out, "--write-list", written)
    first_list = written.read_text(encoding="utf-8")
    frame = out / "swim" / "a b.c" / "img_00001.jpg"
    os.utime(frame, (1_000_000, 1_000_000))
    folder = out / "run fast" / "z"  # as if stopped in the middle
    folder.rename(folder.with_name(".z.partial"))
    (folder.with_name(".z.partial") / "img_00099.jpg").touch()

    assert extract(tree, out, "--write-list", written) == 0
    assert frame.stat().st_mtime == 1_000_000
    assert names_in(out / "run fast") == ["z"]
    assert len(names_in(folder)) == 3
    assert written.read_text(encoding="utf-8") == first_list
    assert "1 extracted, 2 skipped as already done" in caplog.text

    assert extract(tree, out, "--overwrite") == 0
    assert frame.stat().st_mtime != 1_000_000


def test_folder_of_another_size_or_with_a_gap_is_a_failure_and_kept(
    tree: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    extract(tree, out)
    assert extract(tree, out, "--short-side", 20) == 1
    failed = (out / "failed.txt").read_text(encoding="utf-8")
    assert failed.count("has frames of short side 24, this run makes 20") == 3
    assert len(names_in(out / "swim" / "a b.c")) == 12
    (out / "swim" / "a b.c" / "img_00004.jpg").unlink()
    assert extract(tree, out) == 1
    failed = (out / "failed.txt").read_text(encoding="utf-8")
    assert "without a gap" in failed
    assert len(failed.splitlines()) == 1


def write_bad_videos(source: Path) -> None:
    (source / "c").mkdir(parents=True)
    good = write_video(source / "c" / "good.mp4")
    (source / "c" / "empty.mp4").touch()
    (source / "c" / "text.mp4").write_text("this is no video at all\n" * 100)
    cut_off = source / "c" / "cut.mp4"
    cut_off.write_bytes(good.read_bytes())
    cut(cut_off, good.stat().st_size // 2)  # the index at the end is lost


def test_failed_videos_are_reported_and_do_not_stop_or_enter_the_list(tmp_path: Path) -> None:
    source, out, written = tmp_path / "videos", tmp_path / "out", tmp_path / "train.txt"
    write_bad_videos(source)
    assert extract(source, out, "--write-list", written) == 1
    assert written.read_text() == "c/good 12 0\n"
    assert names_in(out / "c") == ["good"]
    rows = [line.split("\t") for line in (out / "failed.txt").read_text().splitlines()]
    assert [Path(row[0]).name for row in rows] == ["cut.mp4", "empty.mp4", "text.mp4"]
    assert [row[1] for row in rows] == ["ValueError", "InvalidDataError", "InvalidDataError"]
    assert rows[0][2] == "no video stream"
    assert "Invalid data found" in rows[1][2]
    assert {row[3] for row in rows} == {"0"}


def test_failed_list_is_gone_when_a_rerun_succeeds(tmp_path: Path) -> None:
    source, out = tmp_path / "videos", tmp_path / "out"
    (source / "c").mkdir(parents=True)
    (source / "c" / "v.mp4").touch()
    assert extract(source, out) == 1
    write_video(source / "c" / "v.mp4")
    assert extract(source, out) == 0
    assert names_in(out) == ["c"]


def fail_after(num_frames: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let decoding raise after some frames, as a stream with a broken packet does."""
    decode_frames = extract_frames.decode_frames

    def decode_or_raise(path: Path, _: int) -> Iterator[Image.Image]:
        for index, image in enumerate(decode_frames(path)):
            if index == num_frames:
                raise av.error.InvalidDataError(1, "Invalid data\tin\npacket", "v.mp4")
            yield image

    monkeypatch.setattr(extract_frames, "decode_frames", decode_or_raise)


def test_fault_of_the_code_ends_the_run_and_fails_no_video(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise TypeError("ours")

    monkeypatch.setattr(extract_frames, "decode_frames", fail)
    with pytest.raises(TypeError, match="ours"):
        extract_frames.main([str(tree), str(tmp_path / "out"), "--workers", "0"])
    assert not (tmp_path / "out/failed.txt").exists()


def test_error_part_way_leaves_no_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_video(tmp_path / "videos" / "c" / "v.mp4")
    out, written = tmp_path / "out", tmp_path / "train.txt"
    fail_after(7, monkeypatch)
    assert extract(tmp_path / "videos", out, "--write-list", written) == 1
    assert names_in(out / "c") == []
    assert written.read_text() == ""
    _, error, message, num_frames = (out / "failed.txt").read_text().rstrip("\n").split("\t")
    assert (error, num_frames) == ("InvalidDataError", "7")
    assert "Invalid data in packet" in message


def test_kept_partial_video_is_listed_reported_and_redone_on_each_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out, written = tmp_path / "videos", tmp_path / "out", tmp_path / "train.txt"
    write_video(source / "c" / "v.mp4")
    with monkeypatch.context() as patch:
        fail_after(7, patch)
        for _ in range(2):
            assert extract(source, out, "--write-list", written, "--keep-partial") == 1
            assert written.read_text() == "c/v 7 0\n"
            assert len(names_in(out / "c" / "v")) == 7
            assert (out / "failed.txt").read_text().endswith("\t7\n")
        assert extract(source, out, "--write-list", written) == 1
        assert written.read_text() == "c/v 7 0\n"  # a list gives way to a better one alone
        assert names_in(out / "c") == []
    assert extract(source, out, "--write-list", written) == 0
    assert written.read_text() == "c/v 12 0\n"
    assert names_in(out / "c") == ["v"]


def test_file_that_ends_early_without_an_error_has_failed_and_may_be_kept(tmp_path: Path) -> None:
    source, out, written = tmp_path / "videos", tmp_path / "out", tmp_path / "train.txt"
    path = write_video(source / "c" / "v.avi", COLOURS * 4, size=(320, 240))
    cut(path, path.stat().st_size * 2 // 3)
    assert extract(source, out, "--write-list", written) == 1
    assert names_in(out / "c") == []
    assert written.read_text() == ""
    failed = (out / "failed.txt").read_text()
    *_, error, message, num_frames = failed.rstrip("\n").split("\t")
    assert 0 < int(num_frames) < 40
    assert error == "EndsEarlyError"
    assert message == f"decoded {num_frames} frames, the header promises 48"

    assert extract(source, out, "--write-list", written, "--keep-partial") == 1
    assert len(list((out / "c" / "v").iterdir())) == int(num_frames)
    assert written.read_text() == f"c/v {num_frames} 0\n"
    assert (out / "failed.txt").read_text() == failed


def test_file_without_a_count_in_its_header_never_ends_early(tmp_path: Path) -> None:
    path = write_video(tmp_path / "videos" / "c" / "v.mkv", COLOURS * 4, size=(320, 240))
    cut(path, path.stat().st_size * 2 // 3)
    assert extract(tmp_path / "videos", tmp_path / "out") == 0
    assert 0 < len(names_in(tmp_path / "out" / "c" / "v")) < 40


def test_full_disk_stops_the_run(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def raise_full(image: Image.Image, path: Path, **options: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", raise_full)
    written = tmp_path / "train.txt"
    assert extract(tree, tmp_path / "out", "--write-list", written) == 1
    assert "No space left on device; the same command goes on from here" in caplog.text
    assert not written.exists()


def test_interrupt_says_how_to_go_on(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def interrupt(*_: object) -> Iterator[Image.Image]:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(extract_frames, "decode_frames", interrupt)
        assert extract(tree, tmp_path / "out") == 130
    assert "the same command goes on from here" in caplog.text
    assert names_in(tmp_path / "out" / "run fast") == [".z.partial"]
    assert extract(tree, tmp_path / "out") == 0
    assert names_in(tmp_path / "out" / "run fast") == ["z"]


def test_worker_processes_write_what_one_process_writes(tree: Path, tmp_path: Path) -> None:
    lists = [tmp_path / "one.txt", tmp_path / "two.txt"]
    assert extract(tree, tmp_path / "one", "--write-list", lists[0]) == 0
    assert extract(tree, tmp_path / "two", "--write-list", lists[1], "--workers", 2) == 0
    assert lists[0].read_bytes() == lists[1].read_bytes()
    for path in (tmp_path / "one").rglob("*.jpg"):
        other = tmp_path / "two" / path.relative_to(tmp_path / "one")
        assert path.read_bytes() == other.read_bytes()


@dataclass(frozen=True)
class DeadlyJob(VideoJob):
    """Ends the process that receives it, as a crash in a decoder does."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os._exit, (9,)


def test_dead_worker_process_fails_its_video_and_no_other(tree: Path, tmp_path: Path) -> None:
    jobs = extract_frames.plan_jobs(tree, tmp_path / "out")
    deadly = DeadlyJob(tree / "swim" / "deadly.mp4", tmp_path / "out" / "swim" / "deadly", label=1)
    deadly.partial_folder.mkdir(parents=True)  # as left by a process that died on it
    jobs.insert(0, deadly)
    results = extract_frames.extract_all(jobs, tmp_path / "out", FrameOptions(24), num_workers=1)
    assert [result.num_frames for result in results] == [0, 3, 5, 12]
    assert [result.failure is None for result in results] == [False, True, True, True]
    failed = (tmp_path / "out" / "failed.txt").read_text()
    assert "deadly.mp4\tBrokenProcessPool\tthe worker process died with this video" in failed
    assert not deadly.partial_folder.exists()


def test_list_is_left_as_it_was_where_nothing_succeeds(
    tree: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out, written = tmp_path / "out", tmp_path / "train.txt"
    assert extract(tree, out, "--write-list", written) == 0
    before = written.read_text()
    assert extract(tree, out, "--write-list", written, "--short-side", 12) == 1
    assert written.read_text() == before != ""
    assert f"no video succeeded: {written} is left as it was" in caplog.text


def test_class_names_are_written_beside_the_list(tree: Path, tmp_path: Path) -> None:
    names = tmp_path / "classes.txt"
    assert extract(tree, tmp_path / "out", "--write-classes", names) == 0
    assert names.read_text() == "run fast\nswim\n"


def test_odd_names_are_extracted_and_one_that_cannot_be_costs_one_video(tmp_path: Path) -> None:
    source, out, written = tmp_path / "videos", tmp_path / "out", tmp_path / "train.txt"
    whole = write_video(source / "c" / "good.mp4", COLOURS[:2]).read_bytes()
    names = ["x" * 251 + ".mp4", "caf\udce9.mp4", "a\nb.mp4", "#tag.mp4", " b .mp4", "take 2.mp4"]
    for name in names:
        (source / "c" / name).write_bytes(whole)
    for _ in range(2):  # the second run finds the first's
        assert extract(source, out, "--write-list", written) == 1
        paths = [record.path for record in read_list(written, 1)]
        assert len(paths) == len(names)
        assert all((out / path / "img_00002.jpg").is_file() for path in paths)
        (line,) = (out / "failed.txt").read_text().splitlines()
        assert line.startswith(f"{source}/c/a\\nb.mp4\tValueError\tthe name ")


def test_list_with_counts_that_our_tools_write_is_one_of_videos_too(tmp_path: Path) -> None:
    source, listed, written = tmp_path / "videos", tmp_path / "l.txt", tmp_path / "train.txt"
    write_video(source / "c" / "take 2.mp4", COLOURS[:2])
    listed.write_text("c/take 2.mp4 2 0\n")
    assert extract(source, tmp_path / "out", "--list", listed, "--write-list", written) == 0
    assert written.read_text() == "0/take 2 2 0\n"


def test_pack_holds_the_files_of_the_folder(tree: Path, tmp_path: Path) -> None:
    lists = [tmp_path / "folders.txt", tmp_path / "packs.txt"]
    assert extract(tree, tmp_path / "folders", "--write-list", lists[0]) == 0
    assert extract(tree, tmp_path / "packs", "--write-list", lists[1], "--pack") == 0
    assert names_in(tmp_path / "packs" / "swim") == ["Größe.zip", "a b.c.zip"]
    folders, packs = (read_list(path, num_classes=2) for path in lists)
    assert [record.path + ".zip" for record in folders] == [record.path for record in packs]
    for folder, pack in zip(folders, packs, strict=True):
        assert folder.num_frames == pack.num_frames
        with zipfile.ZipFile(tmp_path / "packs" / pack.path) as archive:
            assert archive.testzip() is None
            frames = {name: archive.read(name) for name in archive.namelist()}
        files = (tmp_path / "folders" / folder.path).iterdir()
        assert frames == {file.name: file.read_bytes() for file in files}


def test_interrupted_packs_are_written_again_and_finished_ones_kept(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    decode = extract_frames.decode_frames

    def interrupt(path: Path, max_pixels: int) -> Iterator[Image.Image]:
        yield from list(decode(path, max_pixels))[:2]
        if path.stem == "Größe":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(extract_frames, "decode_frames", interrupt)
        assert extract(tree, tmp_path / "out", "--pack") == 130
    assert names_in(tmp_path / "out" / "swim") == [".Größe.zip.partial"]
    (tmp_path / "out" / "swim" / ".Größe.zip.partial").write_bytes(b"PK")  # as a killed process
    assert extract(tree, tmp_path / "out", "--pack") == 0
    assert "1 skipped as already done" in caplog.text
    whole = tmp_path / "whole"
    assert extract(tree, whole, "--pack") == 0
    assert names_in(tmp_path / "out" / "swim") == names_in(whole / "swim")
    for name in names_in(whole / "swim"):
        assert (tmp_path / "out/swim" / name).read_bytes() == (whole / "swim" / name).read_bytes()


def test_damaged_pack_is_named_and_overwritten_on_demand(
    tree: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert extract(tree, tmp_path / "out", "--pack") == 0
    cut(tmp_path / "out" / "swim" / "Größe.zip", 500)
    assert extract(tree, tmp_path / "out", "--pack") == 1
    assert "it is no whole zip archive" in (tmp_path / "out" / "failed.txt").read_text()
    assert extract(tree, tmp_path / "out", "--pack", "--overwrite") == 0


def test_kept_part_of_a_video_is_a_pack_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out, written = tmp_path / "videos", tmp_path / "out", tmp_path / "train.txt"
    write_video(source / "c" / "v.mp4")
    with monkeypatch.context() as patch:
        fail_after(7, patch)
        assert extract(source, out, "--pack", "--write-list", written, "--keep-partial") == 1
        assert names_in(out / "c") == [".v.zip.failed", "v.zip"]
        assert written.read_text() == "c/v.zip 7 0\n"
        assert extract(source, out, "--pack") == 1
        assert names_in(out / "c") == []
    assert extract(source, out, "--pack") == 0
    assert names_in(out / "c") == ["v.zip"]
