"""Device profiles: what a device's kernels exploit, as data, each fact with its source."""
