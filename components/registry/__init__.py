"""Models that may serve: bundled, registered, judged against the champion, promoted, and traced back to their data."""
