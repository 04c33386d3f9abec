"""Where images come from: official archives, the set that comes with protege, and folders of one's own."""
