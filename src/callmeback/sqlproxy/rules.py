"""What the key of a session may say: its mode, the policy's verdict, its rate. The relay asks here.

The same rules as `gate.py` has for requests, with transaction control allowed, for somebody who can't wait.
"""

from datetime import UTC, datetime
from typing import Final

from callmeback import errors
from callmeback.sqlproxy.frames import Fields
from callmeback.sqlproxy.gate import UNKNOWN_TEXT
from callmeback.sqlproxy.keyring import Key
from callmeback.sqlproxy.limits import Limits
from callmeback.sqlproxy.policy import INSUFFICIENT_PRIVILEGE, Verdict, Verdicts, digest, original_position
from callmeback.sqlproxy.relay import Ruling, refusal

# Said in every session, by drivers too, and harmless: an exact key has no text registered for these.
UNREGISTERED: Final = ("empty", "transaction", "deallocate")
TOO_MANY: Final = "53400"
# Of an error inside a function: detail, hint, internal position and query, context (as in problems.py).
OF_FUNCTIONS: Final = "DHpqW"


class Rules:
    """Of one session; its key is renewed while it lives. Texts that an exact key is to learn gather in `learnt`."""

    def __init__(self, key: Key, verdicts: Verdicts, limits: Limits) -> None:
        self.key = key
        self.learnt: list[str] = []
        self._verdicts = verdicts
        self._limits = limits

    def judge(self, text: bytes) -> Ruling:
        """Whether this may run. Transaction control and DEALLOCATE may, in any mode."""
        verdict = self._verdicts.get(text, True, self.key.calls)
        sent, sha = verdict.text.encode(errors="replace"), digest(text)
        key = self.key
        if verdict.rule is not None:
            if key.mode == "admin":
                return Ruling(text, sha.hex())
            return Ruling(text, sha.hex(), verdict.rule, _refusal(verdict))
        drops = None if verdict.drops is None else verdict.drops.encode()
        ruling = Ruling(sent, sha.hex(), shift=verdict.shift, drops=drops)
        if key.mode != "exact" or verdict.kind in UNREGISTERED or sha in key.texts:
            return ruling
        if key.learning_until is not None and datetime.now(UTC) < key.learning_until:
            self.learnt.append(text.decode())
            return ruling

        return Ruling(text, sha.hex(), "unknown_text", refusal(INSUFFICIENT_PRIVILEGE, UNKNOWN_TEXT))

    def spend(self) -> Fields | None:
        """Count an execution against the key's rate."""
        try:
            self._limits.count(self.key)
        except errors.RateLimited as exc:
            return refusal(TOO_MANY, exc.detail)

        return None

    def tell(self, ruling: Ruling | None, fields: Fields) -> Fields:
        """Positions are those in the client's text; what a function tells of itself is not for masked keys."""
        told = dict(fields)
        if ruling is not None and ruling.shift and fields.get("P", "").isdigit():
            told["P"] = str(original_position(int(fields["P"]), ruling.shift))
        if self.key.masked and "W" in fields:
            for letter in OF_FUNCTIONS:
                told.pop(letter, None)

        return told

    def renew(self, key: Key | None) -> bool:
        """Take the key as it is now; False when a session that it began must not go on."""
        if key is None:
            return False
        old, self.key = self.key, key
        # What is prepared already is not judged again, so nothing may have been taken away.
        same = (key.mode, key.role, key.masked, key.cidrs) == (old.mode, old.role, old.masked, old.cidrs)
        same = same and key.calls >= old.calls

        return same and key.texts.keys() >= old.texts.keys()


def _refusal(verdict: Verdict) -> Fields:
    fields = refusal(verdict.sqlstate or INSUFFICIENT_PRIVILEGE, verdict.message or "this is not allowed here")
    if verdict.position is not None:
        fields["P"] = str(verdict.position)

    return fields
