"""Builds a scene of dpm in Blender from `scene.npz` beside this file.

    blender --python import_into_blender.py

Still points are one object, the moving points of each frame another that shows in that frame only; the camera moves
along its path with its own lens. Frame 1 of Blender is the first frame of the clip. Needs Blender 4.2 or newer.
"""

# pyright: reportMissingImports=false
import sys
from pathlib import Path

import bpy
import numpy as np
from mathutils import Matrix

SENSOR_MM = 36.0
RADIUS = 0.0012
"""Of a point, in median distances of the scene."""
# OpenCV's world (x right, y down, z forward) in Blender's (z up, y forward), and Blender's camera (looks along -z).
WORLD = np.array([(1, 0, 0, 0), (0, 0, 1, 0), (0, -1, 0, 0), (0, 0, 0, 1)], np.float64)
CAMERA = np.diag((1.0, -1.0, -1.0, 1.0))


def point_material():
    """A material that shines in the colours of the points."""
    material = bpy.data.materials.new("dpm points")
    material.use_nodes = True
    nodes, links = material.node_tree.nodes, material.node_tree.links
    nodes.clear()
    colour = nodes.new("ShaderNodeAttribute")
    colour.attribute_name = "Col"
    glow = nodes.new("ShaderNodeEmission")
    output = nodes.new("ShaderNodeOutputMaterial")
    links.new(colour.outputs["Color"], glow.inputs["Color"])
    links.new(glow.outputs["Emission"], output.inputs["Surface"])
    return material


def point_nodes(radius, material):
    """Geometry nodes that draw vertices as balls."""
    group = bpy.data.node_groups.new("dpm points", "GeometryNodeTree")
    group.interface.new_socket("Geometry", in_out="INPUT", socket_type="NodeSocketGeometry")
    group.interface.new_socket("Geometry", in_out="OUTPUT", socket_type="NodeSocketGeometry")
    start, end = group.nodes.new("NodeGroupInput"), group.nodes.new("NodeGroupOutput")
    balls = group.nodes.new("GeometryNodeMeshToPoints")
    balls.inputs["Radius"].default_value = radius
    paint = group.nodes.new("GeometryNodeSetMaterial")
    paint.inputs["Material"].default_value = material
    group.links.new(start.outputs[0], balls.inputs[0])
    group.links.new(balls.outputs[0], paint.inputs[0])
    group.links.new(paint.outputs[0], end.inputs[0])
    return group


def add_points(name, points, colors, nodes, collection):
    """An object of points (N, 3) in Blender's axes with colours (N, 3) uint8."""
    mesh = bpy.data.meshes.new(name)
    mesh.vertices.add(len(points))
    mesh.vertices.foreach_set("co", points.astype(np.float32).ravel())
    attribute = mesh.color_attributes.new("Col", "BYTE_COLOR", "POINT")
    rgba = np.hstack((colors, np.full((len(colors), 1), 255))) / 255
    attribute.data.foreach_set("color_srgb", rgba.astype(np.float32).ravel())
    made = bpy.data.objects.new(name, mesh)
    made.modifiers.new("dpm points", "NODES").node_group = nodes
    collection.objects.link(made)
    return made


def show_only_in(made, frame):
    """Keys that let an object be seen in one frame."""
    for path in ("hide_viewport", "hide_render"):
        for at, hidden in ((frame - 1, True), (frame, False), (frame + 1, True)):
            setattr(made, path, hidden)
            made.keyframe_insert(path, frame=at)


def add_camera(data, collection):
    """The camera with its path, zoom and shift."""
    height, width = data["size"].tolist()
    lens = bpy.data.cameras.new("camera")
    lens.sensor_fit, lens.sensor_width = "HORIZONTAL", SENSOR_MM
    lens.clip_start, lens.clip_end = 0.001 * float(data["distance"]), 1000 * float(data["distance"])
    camera = bpy.data.objects.new("camera", lens)
    camera.rotation_mode = "QUATERNION"
    collection.objects.link(camera)
    before = None
    for t, (pose, K) in enumerate(zip(data["cam2world"], data["intrinsics"], strict=True)):
        place, turn, _ = Matrix((WORLD @ pose @ CAMERA).tolist()).decompose()
        if before is not None:
            turn.make_compatible(before)
        camera.location, camera.rotation_quaternion, before = place, turn, turn
        lens.lens = SENSOR_MM * K[0, 0] / width
        lens.shift_x = (width / 2 - K[0, 2] - 0.5) / width
        lens.shift_y = (K[1, 2] + 0.5 - height / 2) / width * K[0, 0] / K[1, 1]
        for what, path in (
            (camera, "location"),
            (camera, "rotation_quaternion"),
            (lens, "lens"),
            (lens, "shift_x"),
            (lens, "shift_y"),
        ):
            what.keyframe_insert(path, frame=t + 1)
    return camera


def set_up(scene, data, camera):
    """Size, length, speed and colours of the pictures."""
    height, width = data["size"].tolist()
    K, times = np.median(data["intrinsics"], axis=0), data["timestamps"]
    render = scene.render
    render.resolution_x, render.resolution_y, render.resolution_percentage = width, height, 100
    render.pixel_aspect_x, render.pixel_aspect_y = (
        max(1, K[1, 1] / K[0, 0]),
        max(1, K[0, 0] / K[1, 1]),
    )
    rate = (len(times) - 1) / max(times[-1] - times[0], 1e-6) if len(times) > 1 else 24.0
    render.fps = max(1, round(rate))
    render.fps_base = render.fps / rate
    scene.frame_start, scene.frame_end = 1, len(times)
    # Colours are those of the video, not of a film.
    scene.view_settings.view_transform = "Standard"
    scene.camera = camera
    scene.frame_set(1)


def build(folder):
    """Read `folder`/scene.npz into a collection of the open scene."""
    with np.load(folder / "scene.npz", allow_pickle=False) as archive:
        data = dict(archive)
    collection = bpy.data.collections.new(str(data["name"]))
    bpy.context.scene.collection.children.link(collection)
    nodes = point_nodes(RADIUS * float(data["distance"]), point_material())
    points = data["points"] @ WORLD[:3, :3].T
    borders = np.cumsum(data["counts"])[:-1]
    clouds = zip(np.split(points, borders), np.split(data["colors"], borders), strict=True)
    for number, (places, colors) in enumerate(clouds):
        name = f"moving {number:06d}" if number else "still"
        made = add_points(name, places, colors, nodes, collection)
        if number:
            show_only_in(made, number)
    set_up(bpy.context.scene, data, add_camera(data, collection))


if __name__ == "__main__":
    build(Path(sys.argv[sys.argv.index("--") + 1]) if "--" in sys.argv else Path(__file__).parent)
