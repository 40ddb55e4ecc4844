"""What the frames of a clip say together once the cameras are known: depth, and which pixels move by themselves."""
