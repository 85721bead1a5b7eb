"""The claim `sqlproxy`: what a statement over HTTP costs."""
