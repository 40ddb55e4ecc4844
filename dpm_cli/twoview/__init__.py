"""What two views of a static scene say of their cameras and of depth, batched over pairs; only torch and geometry.

matches      what goes in: pixels, where they went, with what covariance
epipolar     distance to epipolar lines, pose refined on it
rotation     the alternative: a camera that only turns
pose         which of both it is, and the best pose
relief       what scenes look like, where flow alone cannot tell
triangulate  depth by parallax
robust       the minimiser they share
"""
