"""The search for the fastest file that keeps the accuracy: routes and budgets in, a front out."""
