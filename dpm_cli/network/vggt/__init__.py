"""The multi-view network of VGGT and V-DPM, in our own code, under the public tensor names."""
