"""The doctor: a table of checks, each a question that finds what is wrong, and what to do about it.

`verdicts` has the words, `areas` the table, one module an area the checks, `examination` asks them, `repair` mends what
is safe to mend. A check changes nothing. Whatever it finds it names.
"""

from callmeback.ops.doctor.areas import AREAS
from callmeback.ops.doctor.examination import acquainted, consult, examine, prove, visit
from callmeback.ops.doctor.repair import Mended, mend
from callmeback.ops.doctor.verdicts import OBJECTS_MAX, Patient, Verdict

__all__ = [
    "AREAS",
    "OBJECTS_MAX",
    "Mended",
    "Patient",
    "Verdict",
    "acquainted",
    "consult",
    "examine",
    "mend",
    "prove",
    "visit",
]
