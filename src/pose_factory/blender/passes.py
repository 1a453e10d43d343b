"""The label passes of one view of the open, prepared scene: depth, normals, instances, parts and flow of every pixel.

They are not rendered: through the centre of each pixel the first triangle is found (geometry.raster), and what is known
of it is written down. So labels never mix, one look serves all passes, and engine, device and samples do not matter.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import bpy
import numpy as np
import pandas as pd
from mathutils import Vector

from pose_factory import passes
from pose_factory.blender import evaluate, limbs, occluders
from pose_factory.blender.ground_truth import FAR, Person, Rays, box_around, measure_flesh
from pose_factory.errors import PoseFactoryError
from pose_factory.geometry.camera import Camera
from pose_factory.geometry.raster import Raster, rasterise
from pose_factory.validation import passes_check

GRAZING = 1e-3
"""The least cosine between a normal and the way to the camera."""
SAME_SURFACE = 1e-3
"""Metres between the depths at which we and Blender find one surface."""
MM = 1000.0


def make(
    character: dict,
    view: dict,
    frames: list[int],
    wanted: Sequence[str],
    labels: pd.DataFrame,
    boxes: pd.DataFrame,
    folder: Path,
) -> dict:
    """Write the `wanted` passes (names of `pose_factory.passes.PASSES`) of `frames` into `folder`, as the camera `view`
    (camera.json) sees them, and check them.

    `labels` and `boxes` are the view's tables ground_truth and boxes. What is no person's mesh hides people and is
    labelled as an occluder. Flow goes to the next of `frames`, so the last has none. The transparency of textures does
    not count, as for visibility. Returns what passes.json holds (see docs/tables.md), NaN for what could not be
    measured. Raises PoseFactoryError when a mesh that flow is wanted of does not keep its vertices.
    """
    if len(character["people"]) >= passes.OCCLUDER:
        raise PoseFactoryError(
            f"The scene has {len(character['people'])} people, but passes tell only {passes.OCCLUDER - 1} apart: take "
            "some out, or render without passes."
        )
    occluders.add(view["variation"]["occluders"])
    people = [Person(facts) for facts in character["people"]]
    reader, camera = _Reader(people), Camera.from_json(view)
    checks = _Checks(camera, people, labels, boxes, frames)
    sizes = {name: [] for name in wanted}
    earlier = None
    for name in wanted:
        (folder / name).mkdir(parents=True)
    for done, number in enumerate(evaluate.each_frame(frames), 1):
        frame = _look(reader, camera, number, view["distance"] / 1000)
        images = {
            "depth": frame.depth,
            "normals": frame.normals,
            "instances": frame.instances,
            "parts": np.where(frame.of_people, passes.part_of_limb(frame.limbs), 0).astype(np.uint8),
        }
        for name in [name for name in wanted if name in images]:
            sizes[name].append(passes.write(passes.file(folder, name, number), name, images[name]))
        checks.add(frame)
        if "flow" in wanted and earlier is not None:
            flow = _flow(earlier, frame, camera)
            sizes["flow"].append(passes.write(passes.file(folder, "flow", earlier.number), "flow", flow))
            checks.add_flow(earlier, frame, flow)
        earlier = frame
        print(f"Frame {number}: {done} of {len(frames)}.", flush=True)
    return {
        "frames": frames,
        "passes": {
            name: {
                "files": len(sizes[name]),
                "bytes": sum(sizes[name]),
                "raw_bytes": len(sizes[name]) * camera.width * camera.height * passes.PASSES[name].raw_bytes,
                "error": passes.PASSES[name].error,
            }
            for name in wanted
        },
        "part_names": ["", *passes.PARTS],
        "checks": checks.summary(),
        "blender": bpy.app.version_string,
    }


@dataclass(frozen=True)
class _Geometry:
    """The meshes of the scene at one frame, one after another: `vertices` (V, 3) in the world and whose they are,
    `owners` (V,), instances; `triangles` (T, 3) of their indices with the `normals` (T, 3, 3) that they are shaded
    with; per triangle (T,) its `instance` and `limb`, and the index of its `mesh` in `objects`; and each mesh's
    `topology`, which is equal where it only moved."""

    vertices: np.ndarray
    owners: np.ndarray
    triangles: np.ndarray
    normals: np.ndarray
    instance: np.ndarray
    limb: np.ndarray
    mesh: np.ndarray
    topology: list[np.ndarray]
    objects: list[bpy.types.Object]


class _Reader:
    """Reads the people, and what is nobody's, from the open scene."""

    def __init__(self, people: list[Person]) -> None:
        owned = [(mesh, index + 1, person) for index, person in enumerate(people) for mesh in person.meshes]
        taken = {mesh.name for mesh, _, _ in owned}
        others = [mesh for mesh in evaluate.character_meshes() if mesh.name not in taken]
        self._owned = owned + [(mesh, passes.OCCLUDER, None) for mesh in others]
        self.instances = sorted({instance for _, instance, _ in self._owned})
        self._limbs: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def __call__(self) -> _Geometry:
        depsgraph = bpy.context.evaluated_depsgraph_get()
        parts, first_vertex = [], 0
        for index, (mesh, instance, person) in enumerate(self._owned):
            o = mesh.evaluated_get(depsgraph)
            data = o.data
            data.calc_loop_triangles()
            count = len(data.loop_triangles)
            vertices = evaluate.vertices([mesh])
            triangles, corners = _array(data.loop_triangles, "vertices", count * 3), _corners(data)
            loops = _array(data.loop_triangles, "loops", count * 3)
            polygons = _array(data.loop_triangles, "polygon_index", count)
            normals = _array(data.corner_normals, "vector", len(data.loops) * 3, np.float32).reshape(-1, 3)
            # Normals go by the cofactors, which are there for a mesh scaled to nothing, too; on which side of the
            # surface that leaves them does not matter.
            x, y, z = np.array(o.matrix_world)[:3, :3].T
            normals = normals @ np.stack([np.cross(y, z), np.cross(z, x), np.cross(x, y)])
            parts.append(
                (
                    vertices,
                    np.full(len(vertices), instance, np.uint8),
                    triangles.reshape(-1, 3) + first_vertex,
                    normals[loops].reshape(-1, 3, 3),
                    np.full(count, instance, np.uint8),
                    self._limbs_of(o, corners, person)[polygons].astype(np.int8),
                    np.full(count, index, np.int32),
                    corners,
                )
            )
            first_vertex += len(vertices)
        *arrays, topology = zip(*parts, strict=True)
        return _Geometry(*map(np.concatenate, arrays), list(topology), [mesh for mesh, _, _ in self._owned])

    def _limbs_of(self, o: bpy.types.Object, corners: np.ndarray, person: Person | None) -> np.ndarray:
        """(F,) the limb of each polygon; found again only where a modifier makes other polygons."""
        known, found = self._limbs.get(o.name, (None, None))
        if known is None or not np.array_equal(known, corners):
            nobody = np.full(len(o.data.polygons), limbs.NONE)
            found = limbs.of_polygons(o, person.joint_of_bone) if person else nobody
            self._limbs[o.name] = corners, found
        return found


def _array(collection, name: str, count: int, kind: type = np.int32) -> np.ndarray:
    values = np.empty(count, kind)
    collection.foreach_get(name, values)
    return values


def _corners(mesh: bpy.types.Mesh) -> np.ndarray:
    """The vertex of each corner of each polygon, and where the polygons start: what makes two meshes one that moved."""
    return np.concatenate(
        [
            _array(mesh.polygons, "loop_start", len(mesh.polygons)),
            _array(mesh.loops, "vertex_index", len(mesh.loops)),
            [len(mesh.vertices)],
        ]
    )


@dataclass(frozen=True)
class _Frame:
    """What the camera sees of `geometry` at one frame: images (H, W), `depth` and `normals` rounded as they are stored,
    and the silhouette (H, W) of each instance as if it were alone."""

    number: int
    geometry: _Geometry
    raster: Raster
    silhouettes: dict[int, np.ndarray]
    depth: np.ndarray
    normals: np.ndarray
    instances: np.ndarray
    limbs: np.ndarray

    @property
    def of_people(self) -> np.ndarray:
        return (self.instances > 0) & (self.instances != passes.OCCLUDER)

    def points(self, vertices: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """(N, 3) where what is seen at these pixels is when the meshes have these `vertices` (V, 3)."""
        triangles = self.geometry.triangles[self.raster.triangle[rows, columns]]
        return (self.raster.weights[rows, columns][:, :, None] * vertices[triangles]).sum(axis=1)


def _look(reader: _Reader, camera: Camera, number: int, near: float) -> _Frame:
    geometry = reader()
    corners = camera.to_camera(geometry.vertices)[geometry.triangles]
    raster, silhouettes = _see(corners, geometry.instance, reader.instances, camera, near)
    seen = raster.triangle >= 0
    triangle, weights = raster.triangle[seen], raster.weights[seen]
    normals = np.zeros((*seen.shape, 3))
    shaded = (weights[:, :, None] * geometry.normals[triangle]).sum(axis=1) @ camera.R.T
    points = (weights[:, :, None] * corners[triangle]).sum(axis=1)
    normals[seen] = _towards_camera(shaded, corners[triangle], points)
    return _Frame(
        number,
        geometry,
        raster,
        silhouettes,
        passes.PASSES["depth"].rounded(np.where(seen, raster.depth, 0)),
        passes.PASSES["normals"].rounded(normals),
        # Triangle -1, which is none, is the one behind the last.
        np.append(geometry.instance, np.uint8(0))[raster.triangle],
        np.append(geometry.limb, np.int8(limbs.NONE))[raster.triangle],
    )


def _see(
    corners: np.ndarray, instance: np.ndarray, instances: list[int], camera: Camera, near: float
) -> tuple[Raster, dict[int, np.ndarray]]:
    """All `instances` in one raster, and the silhouette of each alone; `corners` (T, 3, 3) are of `instance` (T,)."""
    shape = camera.height, camera.width
    triangle, weights, depth = np.full(shape, -1, np.int32), np.zeros((*shape, 3)), np.full(shape, np.inf)
    silhouettes = {}
    for value in instances:
        rows = np.flatnonzero(instance == value)
        alone = rasterise(corners[rows], camera.K, camera.width, camera.height, near)
        silhouettes[value] = alone.triangle >= 0
        nearer = alone.depth < depth
        triangle[nearer] = rows[alone.triangle[nearer]]
        weights[nearer], depth[nearer] = alone.weights[nearer], alone.depth[nearer]
    return Raster(triangle, weights, depth), silhouettes


def _towards_camera(shaded: np.ndarray, corners: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(N, 3) unit normals at `points` (N, 3) of triangles `corners` (N, 3, 3), camera axes: the `shaded` ones (N, 3) on
    the side that the camera sees, turned until they graze its ray where interpolation takes them out of its sight."""
    flat = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    flat *= -np.sign((flat * corners[:, 0]).sum(axis=1, keepdims=True))
    side = np.sign((shaded * flat).sum(axis=1, keepdims=True))
    normals = _unit(np.where(np.abs(side) > 0, shaded * side, flat))  # also where a file's own normals are no numbers
    to_camera = -_unit(points)
    cosine = (normals * to_camera).sum(axis=1, keepdims=True)
    return _unit(normals + np.maximum(GRAZING - cosine, 0) * to_camera)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _flow(before: _Frame, after: _Frame, camera: Camera) -> np.ndarray:
    """(H, W, 2) pixels, rounded as they are stored."""
    topologies = before.geometry.topology, after.geometry.topology
    for mesh, one, other in zip(before.geometry.objects, *topologies, strict=True):
        if not np.array_equal(one, other):
            raise PoseFactoryError(
                f'The vertices of mesh "{mesh.name}" in frame {before.number} are not those in frame {after.number}, '
                "because a modifier makes it anew, so its flow is unknown: remove flow from render.passes."
            )
    rows, columns = np.nonzero(before.instances)
    arrival, _ = camera.project(before.points(after.geometry.vertices, rows, columns))
    flow = np.zeros((*before.instances.shape, 2))
    flow[rows, columns] = arrival - passes_check.centres(rows, columns)
    return passes.PASSES["flow"].rounded(flow)


class _Checks:
    """What is measured of the passes, frame by frame."""

    def __init__(
        self, camera: Camera, people: list[Person], labels: pd.DataFrame, boxes: pd.DataFrame, frames: list[int]
    ) -> None:
        self._camera, self._rays = camera, Rays(people)
        self._flesh = measure_flesh(self._rays, people, frames)
        self._labels = dict(list(labels.groupby(["frame", "person"])))
        self._boxes = boxes.set_index(["frame", "person"])[["x_min", "y_min", "x_max", "y_max"]]
        self._found = {name: [np.empty(0)] for name in _MEASURED}

    def add(self, frame: _Frame) -> None:
        pixel = passes_check.sample(frame.instances > 0)
        points = self._camera.unproject(passes_check.centres(*pixel), frame.depth[pixel])
        self._note("beside_mm", _distances(frame, pixel, points) * MM)
        self._note("first_surface", self._is_first(frame, *pixel))
        self._note("first_surface", self._is_first(frame, *passes_check.sample(frame.instances == 0)))
        normals = frame.normals[pixel].astype(float)
        self._note("length_error", np.abs(np.linalg.norm(normals, axis=1) - 1))
        of_depth = passes_check.normals_of_depth(frame.depth, frame.instances, self._camera, *pixel)
        self._note("normals_degrees", passes_check.angles(normals, of_depth))
        for person, flesh in enumerate(self._flesh):
            vertices = frame.geometry.vertices[frame.geometry.owners == person + 1]
            off, iou = passes_check.compare_box(
                frame.silhouettes[person + 1],
                box_around(self._camera, vertices),
                self._boxes.loc[(frame.number, person)].to_numpy(),
            )
            self._note("box_px", [off])
            self._note("box_iou", [iou])
            rows = self._labels[frame.number, person]
            labelled = rows.visibility.to_numpy() > 0
            joints = np.where(labelled[:, None], rows[["x", "y", "z"]].to_numpy(), np.nan)
            seen = passes_check.joint_visibility(
                frame.depth, frame.instances, frame.limbs, self._camera, joints, person, flesh
            )
            same = (seen == (rows.visibility.to_numpy() == 2))[:, labelled]
            self._note("visibility", same[passes_check.MIDDLE])
            self._note("visibility_within_a_pixel", same.any(axis=0))

    def add_flow(self, before: _Frame, after: _Frame, flow: np.ndarray) -> None:
        """`flow` (H, W, 2) is from `before` to `after`."""
        pixel = passes_check.sample(before.instances > 0)
        start = passes_check.centres(*pixel)
        arrival = start + flow[pixel]
        z = self._camera.to_camera(before.points(after.geometry.vertices, *pixel))[:, 2]
        columns, rows = np.floor(np.nan_to_num(arrival, nan=-1)).astype(int).T
        inside = (columns >= 0) & (columns < self._camera.width) & (rows >= 0) & (rows < self._camera.height)
        start, arrival, z, rows, columns = (values[inside] for values in (start, arrival, z, rows, columns))
        returned = np.full(start.shape, np.nan)
        met = after.instances[rows, columns] > 0
        points = after.points(before.geometry.vertices, rows[met], columns[met])
        returned[met], _ = self._camera.project(points)
        same, hidden = passes_check.carried(start, arrival, z, after.depth, rows, columns, returned)
        self._note("carried", same)
        self._note("hidden", hidden)
        self._note("lost", ~same & ~hidden)

    def _is_first(self, frame: _Frame, rows: np.ndarray, columns: np.ndarray) -> list[bool]:
        """Whether Blender's own ray through each of these pixels first meets the same, at the same depth."""
        origin = self._camera.position
        ends = self._camera.unproject(passes_check.centres(rows, columns), np.ones(len(rows)))
        same = []
        for row, column, end in zip(rows, columns, ends, strict=True):
            surface = next(self._rays.surfaces(origin, end - origin, FAR), None)
            instance, depth = 0, 0.0
            if surface is not None:
                instance = passes.OCCLUDER if surface.person is None else surface.person + 1
                depth = self._camera.to_camera(surface.point)[2]
            here = frame.instances[row, column], frame.depth[row, column]
            same.append(here[0] == instance and abs(here[1] - depth) <= SAME_SURFACE)
        return same

    def _note(self, name: str, values) -> None:
        self._found[name].append(np.asarray(values, np.float32))

    def summary(self) -> dict:
        """Means, and the worst, of what was measured; NaN where nothing was."""
        found = {name: np.concatenate(values) for name, values in self._found.items()}
        found = {name: values[np.isfinite(values)] for name, values in found.items()}

        def of(name: str, measure) -> float:
            return float(measure(found[name])) if len(found[name]) else np.nan

        return {
            "pixels": len(found["beside_mm"]),
            "depth_max_mm": of("beside_mm", np.max),
            "depth_p99_mm": of("beside_mm", lambda values: np.quantile(values, 0.99)),
            "first_surface": of("first_surface", np.mean),
            "normals_length_error_max": of("length_error", np.max),
            "normals_median_degrees": of("normals_degrees", np.median),
            "normals_p95_degrees": of("normals_degrees", lambda values: np.quantile(values, 0.95)),
            "box_max_px": of("box_px", np.max),
            "box_iou_min": of("box_iou", np.min),
            "joints": len(found["visibility"]),
            "visibility_same": of("visibility", np.mean),
            "visibility_within_a_pixel": of("visibility_within_a_pixel", np.mean),
            **{f"flow_{name}": of(name, np.mean) for name in ("carried", "hidden", "lost")},
        }


_MEASURED = (
    "beside_mm",
    "first_surface",
    "length_error",
    "normals_degrees",
    "box_px",
    "box_iou",
    "visibility",
    "visibility_within_a_pixel",
    "carried",
    "hidden",
    "lost",
)


def _distances(frame: _Frame, pixel: tuple[np.ndarray, np.ndarray], points: np.ndarray) -> np.ndarray:
    """(N,) metres from `points` (N, 3) to the mesh that is seen at each pixel, by Blender's own search."""
    depsgraph = bpy.context.evaluated_depsgraph_get()
    meshes = frame.geometry.mesh[frame.raster.triangle[pixel]]
    distances = np.empty(len(points))
    for index in np.unique(meshes):
        o = frame.geometry.objects[index].evaluated_get(depsgraph)
        inverse = o.matrix_world.inverted()
        for row in np.flatnonzero(meshes == index):
            _, nearest, _, _ = o.closest_point_on_mesh(inverse @ Vector(points[row]))
            distances[row] = (o.matrix_world @ nearest - Vector(points[row])).length
    return distances
