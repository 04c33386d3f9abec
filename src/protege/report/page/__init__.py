"""A page and its tables before they look like anything, and what they become: HTML, Markdown, CSV, LaTeX."""
