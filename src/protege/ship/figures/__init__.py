"""How big, how good and how quick: measured, and chosen by."""
