"""How long `callmeback up` takes to answer, from nothing and again."""
