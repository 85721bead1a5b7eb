"""What the house can do: Structs and verbs (.py) beside their statements (.sql). No HTTP here."""
