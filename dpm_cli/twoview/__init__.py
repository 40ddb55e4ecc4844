"""What two views of a static scene say of their cameras and of depth, batched over pairs; only torch and geometry.

matches      what goes in: pixels, where they went, with what covariance
lines        the equation of one match that is linear in inverse depth; all others use it
epipolar     distance to epipolar lines, pose refined on it
rotation     the alternative: a camera that only turns
pose         which of both it is, and the best pose
relief       what scenes look like, where flow alone cannot tell
triangulate  depth by parallax with the flow's covariance
minimise     robust least squares for all of these
quick        camera and depth without covariances, for networks
resection    a camera from points and their pixels, for networks
"""
