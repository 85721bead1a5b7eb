"""The claim `backup`: how fast a database of 1 GB is backed up and restored, beside `cp` of the same files."""
