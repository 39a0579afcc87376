import json
import re
from pathlib import Path

import pytest

from tools import flops

# Table 4 of arXiv:2108.02432 and the release's README: billions of multiply-adds of the layers,
# cut off behind the first digit. Its 268.5 of 16 frames is a misprint: twice 134.7843 is 269.5686.
PUBLISHED = {
    "k400_vit_8x32_224": ("134.7", 86.11, 5.72),
    "k400_tokshift_div4_8x32_base_224": ("134.7", 86.11, 5.72),
    "k400_tokshift_div4_8x32_base_256": ("175.8", 86.15, 9.74),
    "k400_tokshift_div4_8x32_base_384": ("394.7", 86.40, 49.09),
    "k400_tokshift_div4_16x32_base_224": ("269.5", 86.11, 11.45),
    "k400_tokshift_div4_8x32_large_384": ("1397.6", 304.10, 130.91),
    "k400_tokshift_div4_12x32_large_384": ("2096.4", 304.10, 196.37),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_numbers_are_reproduced(name: str) -> None:
    (row,) = flops.rows_of([f"config/k400/{name}.yml"], [], flops.FRAMES, flops.SIZE)
    printed, millions, attention = PUBLISHED[name]
    assert flops.as_line(row).split()[2] == printed
    assert round(row["parameters"] / 1e6, 2) == millions
    # all tokens attend in every block; the last may leave out what only the patches would read
    share = row["madds_attention"] / 1e9 / attention
    assert 0.91 < share < 1.001


def test_sixteen_frames_take_twice_what_eight_do() -> None:
    files = [f"config/k400/k400_tokshift_div4_{T}x32_base_224.yml" for T in (8, 16)]
    eight, sixteen = flops.rows_of(files, ["MODEL.VIT.NUM_LAYERS", "1"], flops.FRAMES, flops.SIZE)
    assert sixteen["madds_published"] == 2 * eight["madds_published"]


@pytest.mark.slow
def test_each_recipe_says_what_it_takes(repository: Path) -> None:
    for file in flops.recipes():
        said = re.search(r"([\d.]+) (?:GFLOPs )?a view", (repository / file).read_text())
        said = said or re.search(r"([\d.]+) GFLOPs", (repository / file).read_text())
        assert said, file
        words = ["TEST.FLIP", "False"]  # a view is a view
        (row,) = flops.rows_of([file], words, flops.FRAMES, flops.SIZE)
        runs = row["madds_published"] + row["madds_attention"] * ("nonlocal" in file)
        assert abs(runs / 1e9 - float(said[1])) < 0.1, file


def test_command_shows_and_writes_what_a_recipe_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "flops.json"
    name = "config/k400/k400_tokshift_div4_8x32_base_224.yml"
    assert flops.main([name, "--json", str(out), "DATA.NUM_FRAMES", "4"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[1].split()[:3] == ["k400/k400_tokshift_div4_8x32_base_224", "86.11", "67.3"]
    (row,) = json.loads(out.read_text())
    # of 300 frames, starts 0, 30, ..., 172 at most: six clips differ; three crops of each
    assert (row["views"], row["views_distinct"]) == (30, 21)
    assert row["madds_video"] == 21 * row["madds_view"]


def test_a_size_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        flops.main(["--size", "588"])
    assert "takes WIDTHxHEIGHT in pixels, as 588x331, got '588'" in capsys.readouterr().err
