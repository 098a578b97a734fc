"""Planning: which layers of a model a device prunes, in which pattern, and what it gains."""
