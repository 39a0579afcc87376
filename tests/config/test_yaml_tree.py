import pytest

from config import load_cfg_text
from config.yaml_tree import MAX_CHARACTERS, MAX_DEPTH, parse_yaml


def fault(text: str) -> str:
    with pytest.raises(ValueError, match=r"^exp\.yml") as caught:
        parse_yaml(text, "exp.yml")
    assert type(caught.value) is ValueError
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_scalars_are_the_texts_of_the_file_and_null() -> None:
    text = "a: 010\nb: 12:30\nc: yes\nd: 2001-02-30\ne: 1.50\nf: ~\ng:\nh: '~'\ni: =\nj: [1, 2e3]"
    assert parse_yaml(text, "exp.yml") == {
        **dict(
            zip("abcdehi", ["010", "12:30", "yes", "2001-02-30", "1.50", "~", "="], strict=True)
        ),
        "f": None,
        "g": None,
        "j": ["1", "2e3"],
    }


@pytest.mark.parametrize("text", ["010", "12:30", "yes", "2001-02-30", "1.50", "1_000", "0x10"])
def test_text_key_takes_the_very_text_of_the_file(text: str) -> None:
    cfg = load_cfg_text(f"DATA: {{NAME: {text}}}", "exp.yml")
    assert text == cfg.DATA.NAME


def test_switch_may_be_written_as_yaml_has_it() -> None:
    for text, expected in (("yes", True), ("Off", False), ("TRUE", True), ("no", False)):
        assert load_cfg_text(f"AUG: {{FLIP: {text}}}", "exp.yml").AUG.FLIP is expected


def test_section_or_key_given_twice_is_an_error_with_both_lines() -> None:
    text = "SEED: 1\nTRAIN:\n  EPOCHS: 25\nDATA: {NAME: a}\nTRAIN:\n  PRINT_FREQ: 5\n"
    assert "line 5, column 1: 'TRAIN' stands in line 2 already" in fault(text)
    assert "line 3, column 3: 'LR' stands in line 2 already" in fault("OPTIM:\n  LR: 1\n  LR: 1\n")
    assert "line 1, column 11: 'a' stands in line 1 already" in fault("x: {a: 1, a: 1}")


def test_key_given_under_an_old_and_a_new_name_is_an_error() -> None:
    twice = "TRAIN: {LAST_GROUP: drop, UNDERWEIGHTS_LAST_GROUP: True}"
    with pytest.raises(ValueError, match=r"TRAIN\.LAST_GROUP is given twice, as TRAIN\.LAST_GROUP"):
        load_cfg_text(twice, "exp.yml")
    with pytest.raises(ValueError, match=r"OPTIM\.LR is given twice, as LR and as OPTIM\.LR"):
        load_cfg_text("LR: 0.5\nOPTIM: {LR: 0.1}", "exp.yml")


def test_aliases_are_bounded_before_they_are_written_out() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    assert "line 4, column 5: it holds more than 10000 entries" in fault("\n".join(lines))
    assert "an alias stands inside of what it stands for" in fault("a: &a [*a]")
    shared = parse_yaml("a: &a {b: 1}\nc: *a\nd: {<<: *a, e: 2}", "exp.yml")
    assert shared == {"a": {"b": "1"}, "c": {"b": "1"}, "d": {"b": "1", "e": "2"}}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: " + "[" * 500, f"nested more than {MAX_DEPTH} levels deep"),
        ("a: 1\n" * 200 + "b" * MAX_CHARACTERS, f"a config has at most {MAX_CHARACTERS}"),
        ("a: !!python/object/apply:os.mkdir [x]", "python/object/apply:os.mkdir'; values are"),
        ("a: !!binary aaaa", "'tag:yaml.org,2002:binary'; values are"),
        ("a: !!timestamp 2001-02-30", "'tag:yaml.org,2002:timestamp'; values are"),
        ("? [a, b]\n: 1", "a key that is no word"),
        ("a: \0", "special characters are not allowed"),
        ("a: *b", "line 1, column 4: found undefined alias 'b'"),
        ("a: 'b\nc: 1", "found unexpected end of stream"),
        ("a: 1\n---\nb: 2", "but found another document"),
    ],
)
def test_what_is_no_config_is_an_error_of_one_line(text: str, reason: str) -> None:
    assert reason in fault(text)
