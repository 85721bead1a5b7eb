"""The claim `api`: what a request costs."""
