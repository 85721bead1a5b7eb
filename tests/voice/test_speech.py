"""From pieces to sentences, and from bytes heard back to words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callmeback.voice.speech import SENTENCE_CHARACTERS_MAX, Record, Sentences


def split(text, sizes=(1,)):
    """The sentences of a text that comes in pieces of the given sizes, in turn."""
    sentences, found, position, turn = Sentences(), [], 0, 0
    while position < len(text):
        size = sizes[turn % len(sizes)]
        found += sentences.push(text[position : position + size])
        position, turn = position + size, turn + 1
    return found + sentences.flush(), sentences.ended


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hi there! How are you? Fine.", ["Hi there!", "How are you?", "Fine."]),
        ("I saw Dr. Smith at 3.30 today. Yes.", ["I saw Dr. Smith at 3.30 today.", "Yes."]),
        ('He said "No way." Then he left.', ['He said "No way."', "Then he left."]),
        ("So am I. Me too.", ["So am I.", "Me too."]),
        ("**Well**, `fine` then.\nNext line", ["Well, fine then.", "Next line"]),
        ("Well, that is a very long way to go, but fine.", ["Well, that is a very long way to go,", "but fine."]),
        ("... !", []),
        ("", []),
    ],
)
def test_sentences(text, expected):
    assert split(text) == (expected, False)


def test_what_comes_in_one_piece_is_still_said_in_sentences_of_bounded_length():
    sentences = Sentences()
    whole = sentences.push("so it goes " * 400 + "and ends. ")

    assert max(map(len, whole)) <= SENTENCE_CHARACTERS_MAX
    assert " ".join(whole).split() == ("so it goes " * 400 + "and ends.").split()


@pytest.mark.parametrize("size", [1, 2, 3, 5, 50])
def test_the_mark_of_an_ending_is_never_spoken_however_it_is_cut(size):
    assert split("Bye now, take care. [end]", (size,)) == (["Bye now, take care."], True)
    assert split("Bye now. Take care![end]", (size,)) == (["Bye now.", "Take care!"], True)


def test_other_brackets_do_not_end_a_call():
    assert split("That is the end [of it]. End.")[1] is False


@given(st.text(alphabet="ab .,!?[]end\n", max_size=400), st.lists(st.integers(1, 40), min_size=1, max_size=5))
def test_no_word_is_lost_or_said_twice_and_none_is_too_long(text, sizes):
    sentences, ended = split(text, tuple(sizes))
    said = "".join("".join(sentences).split())

    assert ended or "[end]" not in text
    assert all(len(sentence) <= SENTENCE_CHARACTERS_MAX + 1 for sentence in sentences)
    if "[end]" not in text:
        assert not ended
        letters = [character for character in text if character.isalnum()]
        assert [character for character in said if character.isalnum()] == letters


def test_what_was_heard_follows_the_alignment():
    record = Record()
    record.wrote("Hello there. How are you? ")
    record.sent(8000, 12)
    record.sent(8000, 14)

    assert record.heard_text() == ""
    record.heard(8000)
    assert record.heard_text() == "Hello there."
    record.heard(12000)
    assert record.heard_text() == "Hello there. How"
    record.heard(16000)
    assert record.heard_text() == "Hello there. How are you?"
    assert record.unheard_text() == ""


def test_what_no_audio_came_for_is_known_when_a_voice_drops():
    record = Record()
    record.wrote("One two three four five. ")
    record.sent(4000, 10)

    assert record.unvoiced_text() == "three four five."
    record.wrote("Six. ")
    assert record.unvoiced_text() == "three four five. Six."


def test_without_alignment_the_pace_of_reading_is_the_measure_and_the_end_is_exact():
    record = Record()
    record.wrote("This sentence is read in about three seconds. ")
    record.sent(8000, 0)
    record.heard(8000)

    assert record.heard_text() == "This sentence"

    record.sent(16000, 0)
    record.settle()
    record.heard(24000)
    assert record.heard_text() == "This sentence is read in about three seconds."


@given(
    st.lists(st.sampled_from(["One two three. ", "Yes! ", "Well, I never did. "]), min_size=1, max_size=6),
    st.lists(st.tuples(st.integers(1, 9000), st.integers(0, 20)), min_size=1, max_size=12),
    st.lists(st.integers(0, 120_000), max_size=8),
)
def test_heard_and_unheard_make_the_whole(texts, audio, marks):
    record = Record()
    for text in texts:
        record.wrote(text)
    for size, characters in audio:
        record.sent(size, characters)
    record.settle()
    for mark in marks:
        record.heard(mark)

    heard, unheard = record.heard_text(), record.unheard_text()

    assert f"{heard} {unheard}".split() == record.text.split()
    assert len(heard) <= len(record.text)
