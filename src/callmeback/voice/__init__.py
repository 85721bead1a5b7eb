"""The voice of a call: a thin pipeline between a carrier's media stream and the vendors that hear, think and speak.

Nothing here knows SQL, HTTP routes or a vendor's wire; those arrive as arguments.
"""
