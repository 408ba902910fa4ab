"""Media: the user's pictures and videos."""
