"""Test cards, by the numbers and names that the vendor documents (docs.stripe.com/testing): what each one does."""

from typing import Final, Literal

import msgspec

from callmeback.simulator.payments.refusals import Decline

GENERIC: Final = Decline("Your card was declined.", decline_code="generic_decline")
NO_FUNDS: Final = Decline("Your card has insufficient funds.", decline_code="insufficient_funds")
LOST: Final = Decline("Your card was declined.", decline_code="lost_card")
EXPIRED: Final = Decline("Your card has expired.", "expired_card")
WRONG_CVC: Final = Decline("Your card's security code is incorrect.", "incorrect_cvc")
PROCESSING: Final = Decline(
    "An error occurred while processing your card. Try again in a little bit.", "processing_error"
)
WRONG_NUMBER: Final = Decline("Your card number is incorrect.", "incorrect_number")
LIVE_CARD: Final = Decline(
    "Your card was declined. Your request was in test mode, but used a non test card.",
    decline_code="test_mode_live_card",
)
UNAUTHENTICATED: Final = Decline(
    "Your card was declined. This transaction requires authentication.",
    "authentication_required",
    "authentication_required",
)
FAILED_CHALLENGE: Final = Decline(
    "We are unable to authenticate your payment method. Please choose a different payment method and try again.",
    "payment_intent_authentication_failure",
)
DECLINES: Final = {
    decline.decline_code or decline.code: decline for decline in (GENERIC, NO_FUNDS, LOST, EXPIRED, PROCESSING)
}
"""By the name under which a test asks for one."""


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """A test card.

    `decline`: of every charge · `later`: of charges without the customer, though the first one passed ·
    `authentication`: asked of the customer once, so that later charges pass, or always · `dispute`: the customer
    disputes each charge at once · `refunds`: what becomes of them.
    """

    number: str
    does: str
    brand: str = "visa"
    decline: Decline | None = None
    later: Decline | None = None
    authentication: Literal["never", "once", "always"] = "never"
    dispute: str | None = None
    refunds: Literal["succeed", "fail", "wait"] = "succeed"


CARDS: Final = {
    card.number: card
    for card in (
        Card(number="4242424242424242", does="is charged"),
        Card(number="5555555555554444", does="is charged", brand="mastercard"),
        Card(number="378282246310005", does="is charged", brand="amex"),
        Card(number="4000000000000002", does="is declined", decline=GENERIC),
        Card(number="4000000000009995", does="has no money", decline=NO_FUNDS),
        Card(number="4000000000009987", does="was lost", decline=LOST),
        Card(number="4000000000000069", does="has expired", decline=EXPIRED),
        Card(number="4000000000000127", does="has another code", decline=WRONG_CVC),
        Card(number="4000000000000119", does="fails to process", decline=PROCESSING),
        Card(number="4000002500003155", does="asks for authentication, once", authentication="once"),
        Card(number="4000002760003184", does="asks for authentication, always", authentication="always"),
        Card(number="4000000000000341", does="is charged once, then declined", later=GENERIC),
        Card(number="4000000000000259", does="is charged, then disputed", dispute="fraudulent"),
        Card(number="4000000000005126", does="is charged; refunds fail", refunds="fail"),
        Card(number="4000000000007726", does="is charged; refunds take a while", refunds="wait"),
    )
}
TOKENS: Final = {
    "pm_card_visa": "4242424242424242",
    "pm_card_mastercard": "5555555555554444",
    "pm_card_amex": "378282246310005",
    "pm_card_chargeDeclined": "4000000000000002",
    "pm_card_visa_chargeDeclined": "4000000000000002",
    "pm_card_visa_chargeDeclinedInsufficientFunds": "4000000000009995",
    "pm_card_chargeDeclinedInsufficientFunds": "4000000000009995",
    "pm_card_chargeDeclinedExpiredCard": "4000000000000069",
    "pm_card_chargeDeclinedProcessingError": "4000000000000119",
    "pm_card_authenticationRequiredOnSetup": "4000002500003155",
    "pm_card_authenticationRequired": "4000002760003184",
    "pm_card_chargeCustomerFail": "4000000000000341",
    "pm_card_createDispute": "4000000000000259",
    "pm_card_refundFail": "4000000000005126",
    "pm_card_pendingRefund": "4000000000007726",
}
"""Names that stand for a new payment method with this card."""


def find(text: str) -> Card | Decline:
    """The card with this number, spaces allowed; a Decline for a number that is none, or no test card's."""
    number = "".join(text.split()).replace("-", "")
    if not number.isascii() or not number.isdigit() or not 12 <= len(number) <= 19 or not _checks(number):
        return WRONG_NUMBER
    return CARDS.get(number, LIVE_CARD)


def _checks(number: str) -> bool:
    """The check digit (ISO/IEC 7812-1, annex B)."""
    doubled = [int(digit) * (2 if place % 2 else 1) for place, digit in enumerate(reversed(number))]
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0
