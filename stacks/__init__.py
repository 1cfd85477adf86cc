"""The platform's layers. A stack composes constructs and wires grants where two of them meet."""
