"""Applications that the web servers under test serve; they know nothing of oneloop."""
