"""Reports: the whole pipeline for several devices, and what came of it."""
