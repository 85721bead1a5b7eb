"""The interface of customers and of what is sold: products, prices, coupons, promotion codes, payment methods."""

from collections.abc import Iterable
from typing import Final, Literal, cast

from callmeback.simulator.payments import methods, renewals, wire_billing
from callmeback.simulator.payments.asking import Ask, page
from callmeback.simulator.payments.book import Book, Wire, named
from callmeback.simulator.payments.form import Form
from callmeback.simulator.payments.records import Coupon, Customer, Price, Product, PromotionCode
from callmeback.simulator.payments.refusals import Refusal, missing, wrong
from callmeback.simulator.payments.subscriptions import OVER
from callmeback.simulator.payments.wire_payments import payment_method

CURRENCIES: Final = frozenset({"usd", "eur", "gbp", "cad", "aud", "chf", "nzd", "sek", "nok", "dkk", "pln", "czk"})
"""Those with a hundred cents; the simulator has no others."""
AMOUNT_MAX: Final = 99_999_999
EMAIL_MAX: Final = 512
INTERVALS: Final = ("day", "week", "month", "year")
WORDS: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def currency_of(form: Form, name: str = "currency") -> str:
    """A currency that must be there."""
    currency = form.needed(name).lower()
    if currency not in CURRENCIES:
        raise wrong(form.param(name), f"Invalid currency: {currency}.")
    return currency


def existing(book: Book, name: str, param: str = "customer") -> Customer:
    """A customer that isn't deleted; raises Refusal."""
    customer = named(book.customers, name, param)
    if customer.deleted:
        raise missing("customer", name, param)
    return customer


def create_customer(ask: Ask) -> Wire:
    """`POST /v1/customers`."""
    form, book = ask.form, ask.book
    customer = Customer(id=book.new_id("cus"), created=book.now())
    method = form.text("payment_method")
    _fill(ask, customer)
    book.customers.add(customer)
    if method is not None:
        chosen = methods.resolve(book, method)
        methods.attach(book, chosen, customer)
        customer.method = customer.method or chosen.id
    shown = wire_billing.customer(book, customer)
    book.emit("customer.created", customer.id, shown)
    return shown


def _fill(ask: Ask, customer: Customer) -> None:
    form, book = ask.form, ask.book
    email = form.text("email") if form.has("email") else customer.email
    if email is not None and ("@" not in email or len(email) > EMAIL_MAX):
        raise Refusal(f"Invalid email address: {email}", code="email_invalid", param="email")
    name = form.text("name") if form.has("name") else customer.name
    description = form.text("description") if form.has("description") else customer.description
    metadata = form.metadata(customer.metadata)
    default = form.part("invoice_settings").text("default_payment_method")
    form.ignore("phone", "address", "preferred_locales", "tax_exempt")
    form.end()
    if default is not None:
        method = methods.resolve(book, default)
        methods.attach(book, method, customer)
        customer.method = method.id
    customer.email, customer.name, customer.description, customer.metadata = email, name, description, metadata


def update_customer(ask: Ask) -> Wire:
    """`POST /v1/customers/{id}`."""
    customer = existing(ask.book, ask.id, "id")
    _fill(ask, customer)
    shown = wire_billing.customer(ask.book, customer)
    ask.book.emit("customer.updated", customer.id, shown)
    return shown


def get_customer(ask: Ask) -> Wire:
    """`GET /v1/customers/{id}`; a deleted one says no more than that."""
    return wire_billing.customer(ask.book, named(ask.book.customers, ask.id))


def delete_customer(ask: Ask) -> Wire:
    """`DELETE /v1/customers/{id}`: its subscriptions end too."""
    customer = existing(ask.book, ask.id, "id")
    for subscription in ask.book.subscriptions:
        if subscription.customer == customer.id and subscription.status not in OVER:
            renewals.cancel(ask.book, subscription)
    ask.book.emit("customer.deleted", customer.id, wire_billing.customer(ask.book, customer))
    customer.deleted, customer.email, customer.name, customer.description = True, None, None, None
    return wire_billing.customer(ask.book, customer)


def list_customers(ask: Ask) -> Wire:
    """`GET /v1/customers`."""
    email = ask.form.text("email")

    def keep(customer: Customer) -> bool:
        return not customer.deleted and (email is None or customer.email == email)

    return page(ask, ask.book.customers, wire_billing.customer, "/v1/customers", keep)


def create_product(ask: Ask) -> Wire:
    """`POST /v1/products`."""
    form = ask.form
    product = new_product(ask.book, form)
    form.ignore("active", "images", "url", "tax_code", "unit_label", "id")
    form.end()
    return wire_billing.product(ask.book, ask.book.products.add(product))


def new_product(book: Book, form: Form) -> Product:
    """A product as a form describes it, not on the shelf yet."""
    return Product(
        id=form.text("id") or book.new_id("prod"),
        created=book.now(),
        name=form.needed("name"),
        description=form.text("description"),
        metadata=form.metadata(),
    )


def get_product(ask: Ask) -> Wire:
    """`GET /v1/products/{id}`."""
    return wire_billing.product(ask.book, named(ask.book.products, ask.id))


def list_products(ask: Ask) -> Wire:
    """`GET /v1/products`."""
    active = ask.form.flag("active")
    return page(
        ask,
        ask.book.products,
        wire_billing.product,
        "/v1/products",
        lambda product: active is None or product.active == active,
    )


def create_price(ask: Ask) -> Wire:
    """`POST /v1/prices`."""
    form, book = ask.form, ask.book
    key, takes_key = form.text("lookup_key"), form.flag("transfer_lookup_key")
    price = new_price(book, form, least=0)
    price.lookup_key, price.nickname, price.metadata = key, form.text("nickname"), form.metadata()
    form.ignore("active", "tax_behavior", "billing_scheme")
    form.end()
    owner = next((other for other in book.prices if key is not None and other.lookup_key == key), None)
    if owner is not None and not takes_key:
        raise Refusal(f"A price (`{owner.id}`) already uses that lookup key.", param="lookup_key")
    if owner is not None:
        owner.lookup_key = None
    return wire_billing.price(book, book.prices.add(price))


def new_price(book: Book, form: Form, *, least: int) -> Price:
    """A price as a form describes it (of `POST /v1/prices`, or the `price_data` of a line), not on the shelf yet."""
    currency = currency_of(form)
    amount = form.whole("unit_amount", least=least, most=AMOUNT_MAX)
    if amount is None:
        raise wrong(form.param("unit_amount"), "Missing required param: unit_amount.", "parameter_missing")
    interval, count = None, 1
    if form.has("recurring"):
        recurring = form.part("recurring")
        interval = recurring.needed("interval", among=INTERVALS)
        count = recurring.whole("interval_count", least=1, most=156) or 1
        recurring.ignore("usage_type")
    product = form.text("product")
    if product is None:
        data = form.part("product_data")
        product = book.products.add(new_product(book, data)).id
    else:
        named(book.products, product, form.param("product"))
    return Price(
        id=book.new_id("price"),
        created=book.now(),
        product=product,
        currency=currency,
        unit_amount=amount,
        interval=cast(Literal["day", "week", "month", "year"] | None, interval),
        interval_count=count,
    )


def update_price(ask: Ask) -> Wire:
    """`POST /v1/prices/{id}`: whether it is sold, its key and its notes; an amount never changes."""
    price, form = named(ask.book.prices, ask.id), ask.form
    active, key, metadata = form.flag("active"), form.text("lookup_key"), form.metadata(price.metadata)
    form.ignore("nickname", "transfer_lookup_key")
    form.end()
    price.active = price.active if active is None else active
    price.lookup_key, price.metadata = key or price.lookup_key, metadata
    return wire_billing.price(ask.book, price)


def get_price(ask: Ask) -> Wire:
    """`GET /v1/prices/{id}`."""
    return wire_billing.price(ask.book, named(ask.book.prices, ask.id))


def list_prices(ask: Ask) -> Wire:
    """`GET /v1/prices`, by lookup_keys, product, active, type."""
    keys, product, active = ask.form.texts("lookup_keys"), ask.form.text("product"), ask.form.flag("active")
    kind = ask.form.text("type", among=("one_time", "recurring"))
    currency = ask.form.text("currency")

    def keep(price: Price) -> bool:
        return (
            (not keys or price.lookup_key in keys)
            and (product is None or price.product == product)
            and (active is None or price.active == active)
            and (kind is None or (kind == "recurring") == (price.interval is not None))
            and (currency is None or price.currency == currency)
        )

    return page(ask, ask.book.prices, wire_billing.price, "/v1/prices", keep)


def create_coupon(ask: Ask) -> Wire:
    """`POST /v1/coupons`: percent_off, or amount_off with its currency."""
    form, book = ask.form, ask.book
    percent, amount = form.number("percent_off"), form.whole("amount_off", least=1, most=AMOUNT_MAX)
    if (percent is None) == (amount is None):
        raise Refusal("You must pass either percent_off or amount_off.", code="parameter_missing")
    if percent is not None and not 0 < percent <= 100:
        raise wrong("percent_off", "percent_off must be above 0 and at most 100.")
    duration = form.text("duration", among=("once", "repeating", "forever")) or "once"
    months = form.whole("duration_in_months", least=1, most=120)
    if (duration == "repeating") != (months is not None):
        raise wrong("duration_in_months", "duration_in_months goes with the duration `repeating`.")
    coupon = Coupon(
        id=form.text("id") or book.new_id("co"),
        created=book.now(),
        metadata=form.metadata(),
        name=form.text("name"),
        percent_off=percent,
        amount_off=amount,
        currency=currency_of(form) if amount is not None else None,
        duration=cast(Literal["once", "repeating", "forever"], duration),
        duration_in_months=months,
        max_redemptions=form.whole("max_redemptions", least=1),
        redeem_by=form.whole("redeem_by"),
    )
    form.end()
    if book.coupons.get(coupon.id) is not None:
        raise Refusal("Coupon already exists.", code="resource_already_exists")
    return wire_billing.coupon(book, book.coupons.add(coupon))


def get_coupon(ask: Ask) -> Wire:
    """`GET /v1/coupons/{id}`."""
    return wire_billing.coupon(ask.book, named(ask.book.coupons, ask.id))


def list_coupons(ask: Ask) -> Wire:
    """`GET /v1/coupons`."""
    return page(ask, ask.book.coupons, wire_billing.coupon, "/v1/coupons", lambda coupon: not coupon.deleted)


def delete_coupon(ask: Ask) -> Wire:
    """`DELETE /v1/coupons/{id}`: what has its discount keeps it."""
    coupon = named(ask.book.coupons, ask.id)
    coupon.deleted = True
    return wire_billing.coupon(ask.book, coupon)


def create_promotion_code(ask: Ask) -> Wire:
    """`POST /v1/promotion_codes`."""
    form, book = ask.form, ask.book
    promotion = form.part("promotion")
    promotion.text("type", among=("coupon",))
    coupon = promotion.text("coupon") or form.needed("coupon")
    named(book.coupons, coupon, "promotion[coupon]")
    made = book.new_id("promo")
    code = PromotionCode(
        id=made,
        created=book.now(),
        metadata=form.metadata(),
        code=form.text("code") or "".join(WORDS[ord(letter) % len(WORDS)] for letter in made[-8:]),
        coupon=coupon,
        customer=form.text("customer"),
        max_redemptions=form.whole("max_redemptions", least=1),
        expires_at=form.whole("expires_at"),
    )
    form.ignore("active", "restrictions", "coupon")
    form.end()
    if any(other.active and other.code.lower() == code.code.lower() for other in book.promotion_codes):
        raise Refusal("An active promotion code with this code already exists.", param="code")
    return wire_billing.promotion_code(book, book.promotion_codes.add(code))


def update_promotion_code(ask: Ask) -> Wire:
    """`POST /v1/promotion_codes/{id}`: whether it works."""
    code, form = named(ask.book.promotion_codes, ask.id), ask.form
    active, metadata = form.flag("active"), form.metadata(code.metadata)
    form.end()
    code.active, code.metadata = code.active if active is None else active, metadata
    return wire_billing.promotion_code(ask.book, code)


def list_promotion_codes(ask: Ask) -> Wire:
    """`GET /v1/promotion_codes`, by code, coupon, active."""
    word, coupon, active = ask.form.text("code"), ask.form.text("coupon"), ask.form.flag("active")

    def keep(code: PromotionCode) -> bool:
        return (
            (word is None or code.code.lower() == word.lower())
            and (coupon is None or code.coupon == coupon)
            and (active is None or code.active == active)
        )

    return page(ask, ask.book.promotion_codes, wire_billing.promotion_code, "/v1/promotion_codes", keep)


def get_method(ask: Ask) -> Wire:
    """`GET /v1/payment_methods/{id}`."""
    return payment_method(ask.book, methods.resolve(ask.book, ask.id, "id"))


def attach_method(ask: Ask) -> Wire:
    """`POST /v1/payment_methods/{id}/attach`."""
    customer = existing(ask.book, ask.form.needed("customer"))
    ask.form.end()
    method = methods.resolve(ask.book, ask.id, "id")
    methods.attach(ask.book, method, customer)
    return payment_method(ask.book, method)


def list_methods(ask: Ask) -> Wire:
    """`GET /v1/payment_methods`, by customer."""
    customer, kind = ask.form.text("customer"), ask.form.text("type")
    return page(
        ask,
        ask.book.methods,
        payment_method,
        "/v1/payment_methods",
        lambda method: (
            method.customer is not None and customer in {None, method.customer} and kind in {None, method.kind}
        ),
    )


ROUTES: Iterable[tuple[str, str, object]] = (
    ("POST", "/customers", create_customer),
    ("GET", "/customers", list_customers),
    ("GET", "/customers/{id:str}", get_customer),
    ("POST", "/customers/{id:str}", update_customer),
    ("DELETE", "/customers/{id:str}", delete_customer),
    ("POST", "/products", create_product),
    ("GET", "/products", list_products),
    ("GET", "/products/{id:str}", get_product),
    ("POST", "/prices", create_price),
    ("GET", "/prices", list_prices),
    ("GET", "/prices/{id:str}", get_price),
    ("POST", "/prices/{id:str}", update_price),
    ("POST", "/coupons", create_coupon),
    ("GET", "/coupons", list_coupons),
    ("GET", "/coupons/{id:str}", get_coupon),
    ("DELETE", "/coupons/{id:str}", delete_coupon),
    ("POST", "/promotion_codes", create_promotion_code),
    ("GET", "/promotion_codes", list_promotion_codes),
    ("POST", "/promotion_codes/{id:str}", update_promotion_code),
    ("GET", "/payment_methods", list_methods),
    ("GET", "/payment_methods/{id:str}", get_method),
    ("POST", "/payment_methods/{id:str}/attach", attach_method),
)
