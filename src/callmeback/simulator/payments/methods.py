"""Payment methods: cards by their test numbers, bank debits, and whose they are."""

from callmeback.simulator.payments import cards
from callmeback.simulator.payments.book import Book, named
from callmeback.simulator.payments.cards import Card
from callmeback.simulator.payments.records import Customer, PaymentMethod
from callmeback.simulator.payments.refusals import Decline, Refusal, declined
from callmeback.simulator.payments.wire_payments import payment_method


def new_card(book: Book, number: str, email: str | None = None) -> PaymentMethod | Decline:
    """A payment method with this test card; a Decline for a number that is none."""
    card = cards.find(number)
    if isinstance(card, Decline):
        return card
    return book.methods.add(PaymentMethod(id=book.new_id("pm"), created=book.now(), number=card.number, email=email))


def new_bank_debit(book: Book, outcome: str, email: str | None = None) -> PaymentMethod:
    """A bank account that pays days later (`outcome`: succeeds), or doesn't (fails)."""
    method = PaymentMethod(
        id=book.new_id("pm"), created=book.now(), number=outcome, kind="us_bank_account", email=email
    )
    return book.methods.add(method)


def resolve(book: Book, name: str, param: str = "payment_method") -> PaymentMethod:
    """The payment method that a parameter names; a documented test name makes a new one. Raises Refusal."""
    number = cards.TOKENS.get(name)
    if number is None:
        return named(book.methods, name, param)
    made = new_card(book, number)
    assert isinstance(made, PaymentMethod), "the names stand for test cards"
    return made


def attach(book: Book, method: PaymentMethod, customer: Customer) -> None:
    """Keep the method for later charges. Raises Refusal when it is somebody else's, or the bank refuses it."""
    if method.customer == customer.id:
        return
    if method.customer is not None:
        raise Refusal("The payment method you provided has already been attached to a customer.")
    card = card_of(method)
    if card is not None and card.decline is not None:
        raise declined(card.decline)
    method.customer = customer.id
    book.emit("payment_method.attached", customer.id, payment_method(book, method))


def card_of(method: PaymentMethod) -> Card | None:
    """The test card behind a method; None for a bank account."""
    return cards.CARDS.get(method.number)
