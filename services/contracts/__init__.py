"""What two parties must agree on, declared once: messages, table rows, names, settings, model layout."""
