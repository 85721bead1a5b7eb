"""Looking after a running house: backups and restores, books that are checked, the doctor, logs, upgrades.

What a person or a carrier may ask for is not here.
"""
