"""How a vendor can fail us, in the four ways that the caller must tell apart. Which one it was is decided in each
provider.

A message names the vendor, what was asked and the vendor's own code, never a key, a number, an address or a body.
"""

from callmeback.errors import VendorFailed


class VendorError(VendorFailed):
    """A vendor failed."""

    def __init__(self, vendor: str, doing: str, *, vendor_code: str | None = None, status: int | None = None) -> None:
        """`doing` is ours ("place a call"); `vendor_code` is the vendor's number or word; `status` is of HTTP."""
        parts = [f"{vendor}: could not {doing}"]
        if vendor_code:
            parts.append(f"code {vendor_code}")
        if status is not None:
            parts.append(f"HTTP {status}")
        super().__init__(", ".join(parts))
        self.vendor = vendor
        self.doing = doing
        self.vendor_code = vendor_code
        self.http_status = status


class VendorRefused(VendorError):
    """A vendor understood the request and said no; asking again the same way is useless."""


class VendorUnavailable(VendorError):
    """A vendor can't be reached or is too busy; nothing was done, and it may work later."""

    def __init__(
        self,
        vendor: str,
        doing: str,
        *,
        vendor_code: str | None = None,
        status: int | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(vendor, doing, vendor_code=vendor_code, status=status)
        self.retry_after_seconds = retry_after_seconds


class VendorUnclear(VendorError):
    """A vendor may or may not have done what was asked: look before asking again."""


class VendorBroken(VendorError):
    """A vendor's answer can't be read, or ended before its end."""
