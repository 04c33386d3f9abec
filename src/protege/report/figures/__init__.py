"""Figures -> SVG. Pure functions; colours and fonts are the page's, so that one drawing serves light, dark and print."""
