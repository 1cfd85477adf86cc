"""Building, proving, pushing and promoting images."""
