"""Many explanations become one statement: side by side, averaged, compared."""
