"""Video and images in: what the input holds, which frames are taken, and the frames as a stream."""
