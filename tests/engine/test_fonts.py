import logging

import pytest
from PIL import Image, ImageDraw

from engine import fonts
from engine.fonts import OWN, drawn_names, font_for


def drawn(text: str) -> bytes:
    image = Image.new("L", (60, 40))
    ImageDraw.Draw(image).text((5, 5), text, 255, font_for(text, 24))
    return image.tobytes()


@pytest.fixture
def has_own_font_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "_files", lambda: (OWN,))


@pytest.mark.parametrize("letters", ["\u00e9\u00f1", "\u043f\u0440", "\u03bb\u03c0"])  # e', pr, lp
def test_letters_of_a_font_of_this_system_are_told_apart(letters: str) -> None:
    if drawn_names([letters]) != [letters]:
        pytest.skip("no font of this script here")
    pictures = {drawn(letter) for letter in (*letters, "\U0010ffff")}
    assert len(pictures) == 3


@pytest.mark.usefixtures("has_own_font_alone")
def test_names_that_no_font_can_draw_are_their_numbers_and_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        names = drawn_names(["run", "\u4e0a", "a b", "\u4e0b"])
    assert names == ["run", "class 1", "a b", "class 3"]
    assert "all letters of 2 class names, as \u4e0a: they are drawn as their numbers" in caplog.text
    caplog.clear()
    assert drawn_names(["jump", "sit"]) == ["jump", "sit"]
    assert not caplog.text


@pytest.mark.usefixtures("has_own_font_alone")
def test_english_is_drawn_by_the_font_that_comes_with_pillow() -> None:
    assert font_for("run 0.91", 20) is fonts._open(OWN, 20)
