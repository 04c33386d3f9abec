"""A network as a file of each format, its weights and activations in whole numbers where that is wanted."""
