"""Looking after a running house: finding what is wrong with it. What a person or a carrier may ask for is not here."""
