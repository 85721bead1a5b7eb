"""The routes of the JSON API, one file per subject; which exist is listed in `routes.py`."""
