"""What asv runs from commit to commit: ``asv run --quick --python=same``, see CONTRIBUTING.md."""
