"""What the key of a session may say: its mode, the policy's verdict, its rate. The relay asks here."""

import hashlib
from datetime import UTC, datetime
from typing import Final

from callmeback import errors
from callmeback.sqlproxy import policy
from callmeback.sqlproxy.frames import Fields
from callmeback.sqlproxy.keyring import Key
from callmeback.sqlproxy.limits import Limits
from callmeback.sqlproxy.policy import Verdict, Verdicts
from callmeback.sqlproxy.relay import Ruling, refusal

INSUFFICIENT_PRIVILEGE: Final = "42501"
# Said in every session, by drivers too, and harmless: an exact key has no text registered for these.
UNREGISTERED: Final = ("empty", "transaction")
NOT_UTF8: Final = refusal("22021", 'invalid byte sequence for encoding "UTF8"')


class Rules:
    """Of one session; its key is renewed while it lives. Texts that an exact key is to learn gather in `learnt`."""

    def __init__(self, key: Key, verdicts: Verdicts, limits: Limits) -> None:
        self.key = key
        self.learnt: list[str] = []
        self._verdicts = verdicts
        self._limits = limits

    def judge(self, text: bytes) -> Ruling:
        """Whether this may run. Session commands such as BEGIN may, in any mode."""
        digest = hashlib.sha256(text).digest()
        try:
            decoded = text.decode()
        except UnicodeDecodeError:
            return Ruling(text, digest.hex(), "encoding", NOT_UTF8)
        verdict = self._verdicts.get(decoded, session=True)
        if verdict.rule is not None:
            return Ruling(text, digest.hex(), verdict.rule, _refusal(verdict))
        ruling = Ruling(verdict.text.encode(), digest.hex(), None, None, verdict.shift)
        if self.key.mode != "exact" or verdict.kind in UNREGISTERED or digest in self.key.texts:
            return ruling
        if self.key.learning_until is not None and datetime.now(UTC) < self.key.learning_until:
            self.learnt.append(decoded)
            return ruling

        text_of_it = "this statement is not registered for the key"
        return Ruling(text, digest.hex(), "exact", refusal(INSUFFICIENT_PRIVILEGE, text_of_it))

    def spend(self) -> Fields | None:
        """Count an execution against the key's rate."""
        try:
            self._limits.count(self.key)
        except errors.RateLimited as exc:
            return refusal("53400", exc.detail)

        return None

    def place(self, ruling: Ruling, position: int) -> int:
        """Where in the client's text PostgreSQL found something in what was sent on."""
        return policy.place(position, ruling.shift)

    def renew(self, key: Key | None) -> bool:
        """Take the key as it is now; False when a session that it began must not go on."""
        if key is None:
            return False
        old = self.key
        self.key = key
        # What is prepared already is not judged again, so nothing may have been taken away.
        return (key.mode, key.role, key.masked, key.cidrs) == (old.mode, old.role, old.masked, old.cidrs) and (
            key.texts.keys() >= old.texts.keys()
        )


def _refusal(verdict: Verdict) -> Fields:
    fields = refusal(verdict.sqlstate or INSUFFICIENT_PRIVILEGE, verdict.message or "this is not allowed here")
    if verdict.position is not None:
        fields["P"] = str(verdict.position)

    return fields
