"""What the frames of a clip say together once the cameras are known: which pixels move by themselves."""
