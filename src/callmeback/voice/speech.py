"""From the brain's pieces of text to sentences for a voice, and from what was heard of them back to text; pure."""

from __future__ import annotations

from callmeback.voice import audio
from callmeback.voice.prompts import END_MARK

# The first words may go at a comma, so that the persona begins sooner; not before this many characters.
FIRST_CLAUSE_CHARACTERS_MIN = 24
# A sentence without an end is broken at a space, so that no single spend grows without bound.
SENTENCE_CHARACTERS_MAX = 240
# Without alignment the position in a text is estimated at the usual pace of reading.
CHARACTERS_PER_SECOND = 14.5

_ENDS = ".!?…"
_CLAUSE_ENDS = ",;:"
_CLOSERS = "\"')]”’"
_UNSPOKEN = str.maketrans("", "", "*_#`~|<>{}")
_ABBREVIATIONS = frozenset({"mr", "mrs", "ms", "dr", "st", "vs", "prof", "jr", "sr", "e.g", "i.e", "no", "approx"})


class Sentences:
    """Splits a stream of pieces into sentences; takes out the mark of an ending, even when it comes in pieces."""

    def __init__(self) -> None:
        self._held = ""
        self._first = True
        self.ended = False

    def push(self, piece: str) -> list[str]:
        """The sentences that the piece completed, in order, trimmed and without signs that are not said."""
        self._held += piece
        if END_MARK in self._held:
            self.ended = True
            self._held = self._held.replace(END_MARK, "")
        sentences: list[str] = []
        while (cut := self._cut()) is not None:
            self._emit(self._held[:cut], sentences)
            self._held = self._held[cut:]
        return sentences

    def flush(self) -> list[str]:
        """What is left when the stream is over."""
        sentences: list[str] = []
        self._emit(self._held, sentences)
        self._held = ""
        return sentences

    def _emit(self, text: str, sentences: list[str]) -> None:
        spoken = " ".join(text.translate(_UNSPOKEN).split())
        if any(character.isalnum() for character in spoken):
            sentences.append(spoken)
            self._first = False

    def _cut(self) -> int | None:
        """Where the held text can be cut: after a sentence, an early first clause, or at the greatest length."""
        held = self._held
        for index, character in enumerate(held[:SENTENCE_CHARACTERS_MAX]):
            if character == "\n" and held[:index].strip():
                return index + 1
            if character in _ENDS and self._ends_here(index):
                return self._past_closers(index + 1)
            early = self._first and index >= FIRST_CLAUSE_CHARACTERS_MIN
            if early and character in _CLAUSE_ENDS and held[index + 1 : index + 2].isspace():
                return index + 1
        if len(held) > SENTENCE_CHARACTERS_MAX:
            space = held.rfind(" ", 0, SENTENCE_CHARACTERS_MAX)
            return space + 1 if space > 0 else SENTENCE_CHARACTERS_MAX
        return None

    def _ends_here(self, index: int) -> bool:
        """A full stop ends a sentence only before a space, and not after an abbreviation or an initial."""
        after = self._past_closers(index + 1)
        if after >= len(self._held) or not self._held[after].isspace():
            return False
        if self._held[index] != ".":
            return True
        words = self._held[:index].split()
        word = words[-1].lower().lstrip("\"'(") if words else ""
        return word not in _ABBREVIATIONS and not (len(word) == 1 and word.isalpha() and word != "i")

    def _past_closers(self, index: int) -> int:
        while index < len(self._held) and self._held[index] in _CLOSERS:
            index += 1
        return index


class Record:
    """One utterance: which text its audio says, and how much of it was played."""

    __slots__ = ("_aligned", "_sent", "_voiced", "bytes_heard", "bytes_sent", "pieces", "text")

    def __init__(self) -> None:
        self.text = ""
        self.pieces = 0
        """How often text was given to a voice, but for asides."""
        self.bytes_sent = 0
        self.bytes_heard = 0
        self._aligned = False
        self._voiced = 0.0
        # Each slice of audio ends at a byte and, as far as is known, at a character of the text.
        self._sent: list[tuple[int, int]] = []

    def wrote(self, text: str, *, aside: bool = False) -> None:
        """Text was given to a voice; an aside is no piece of what was to be said."""
        self.text += text
        self.pieces += not aside

    def sent(self, byte_count: int, characters: int) -> None:
        """Audio went to the carrier that says so many characters; 0 when the voice doesn't align."""
        self.bytes_sent += byte_count
        if characters:
            self._aligned = True
            self._voiced += characters
        elif not self._aligned:
            self._voiced += audio.seconds(byte_count) * CHARACTERS_PER_SECOND
        self._voiced = min(self._voiced, len(self.text))
        self._sent.append((self.bytes_sent, int(self._voiced)))

    def hummed(self, byte_count: int) -> None:
        """Audio went to the carrier that says nothing of the text: a filler."""
        self._sent.append((self.bytes_sent + byte_count, self.voiced_characters()))
        self.bytes_sent += byte_count

    def aligned(self) -> bool:
        """Does the voice say which characters its audio speaks?"""
        return self._aligned

    def heard(self, byte_count: int) -> None:
        """The carrier played up to this byte."""
        self.bytes_heard = max(self.bytes_heard, min(byte_count, self.bytes_sent))

    def settle(self) -> None:
        """All audio has been sent, so its end is the end of the text."""
        if self._sent:
            self._sent[-1] = (self.bytes_sent, len(self.text))

    def voiced_characters(self) -> int:
        """How many characters of the text have audio already."""
        return self._sent[-1][1] if self._sent else 0

    def heard_text(self) -> str:
        """What was played of the text, to the last whole word."""
        if self.bytes_sent and self.bytes_heard >= self.bytes_sent:
            return self.text[: self.voiced_characters()].strip()
        begin_byte = begin_character = 0
        for end_byte, end_character in self._sent:
            if self.bytes_heard < end_byte:
                part = (self.bytes_heard - begin_byte) / (end_byte - begin_byte)
                return _whole_words(self.text, begin_character + int(part * (end_character - begin_character)))
            begin_byte, begin_character = end_byte, end_character
        return _whole_words(self.text, begin_character)

    def unheard_text(self) -> str:
        """The rest of the text, from the first word that was not heard whole."""
        return self.text[len(self.heard_text()) :].strip() if self.text.startswith(self.heard_text()) else ""

    def unvoiced_text(self) -> str:
        """The text that no audio has come for, from the start of the word where it stopped."""
        voiced = _whole_words(self.text, self.voiced_characters())
        return self.text[len(voiced) :].strip()


def _whole_words(text: str, characters: int) -> str:
    """The first so many characters, less a word cut in two and the space after it."""
    if characters >= len(text):
        return text.strip()
    if not text[characters].isspace():
        characters = text.rfind(" ", 0, characters) + 1
    return text[:characters].rstrip()
