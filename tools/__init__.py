"""Programs for the project's contributors; none of them is in the package."""
