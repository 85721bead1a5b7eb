"""What the browser gets: templates and static files. No code lives here."""
