"""Explanations in a browser: an app over stored results, and pages that stand alone."""
