"""MoGe-2 (Wang et al. 2025, arXiv 2507.02546) in our own code, under the public tensor names."""
