"""Who teaches (`sources`), what they say (`speaking`), asked once (`recall`) and remembered (`memory` and its files and folder)."""
