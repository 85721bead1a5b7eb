"""Every domain error has its own stable code and says something by itself."""

import inspect
import re

from callmeback import errors

CLASSES = [
    member for _, member in inspect.getmembers(errors, inspect.isclass) if issubclass(member, errors.CallMeBackError)
]


def test_codes_are_unique_and_snake_case() -> None:
    codes = [member.code for member in CLASSES]

    assert len(set(codes)) == len(codes)
    assert [code for code in codes if not re.fullmatch(r"[a-z]+(_[a-z]+)*", code)] == []


def test_each_class_states_its_own_code_and_message() -> None:
    silent = [member.__name__ for member in CLASSES if "code" not in vars(member) or not member.__doc__]

    assert silent == []


def test_detail_defaults_to_the_docstring_and_extra_is_kept() -> None:
    plain = errors.CallInProgress()
    rich = errors.Overloaded("Come back.", retry_after_seconds=2)

    assert (plain.detail, plain.extra) == ("A call is still going on; one at a time.", {})
    assert (str(rich), rich.extra) == ("Come back.", {"retry_after_seconds": 2})


def test_vendor_errors_are_caught_together() -> None:
    assert issubclass(errors.CarrierFailed, errors.VendorFailed)
