"""The claim `access`: what is asked costs the same however much history there is."""
