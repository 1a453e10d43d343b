// A body to turn: a shaded mesh with the skeleton inside, drawn with a depth buffer of its own, so that it needs no
// graphics card. Points are metres in camera axes (x right, y down, z forward) about the midpoint of the hips.

import { skeleton } from "./overlay.js";

const STEP = Math.PI / 18; // a press of an arrow key turns so far
const STEEPEST = Math.PI / 3;
const LIGHT = [-0.37, -0.56, -0.74]; // towards it, in the viewer's axes; of length 1
const AMBIENT = 0.35;
const FLOOR = { radii: [0.4, 0.8], points: 48 }; // circles under the person, metres

// Let `canvas` be turned. `show(body)` takes {joints: {name: [x, y, z, confidence]}, source, vertices (flat, in
// millimetres), faces (flat)}; `reset()` forgets where the last person was seen from.
export function turntable(canvas) {
  const view = { yaw: 0, pitch: 0.15, radius: 0 };
  let body = null;
  let waiting = false;

  function redraw() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      if (body) draw(canvas, body, view);
    });
  }

  function turn(yaw, pitch) {
    view.yaw += yaw;
    view.pitch = Math.max(-STEEPEST, Math.min(STEEPEST, view.pitch + pitch));
    redraw();
  }

  canvas.addEventListener("pointerdown", (event) => canvas.setPointerCapture(event.pointerId));
  canvas.addEventListener("pointermove", (event) => {
    if (!canvas.hasPointerCapture(event.pointerId)) return;
    const scale = Math.PI / canvas.clientWidth;
    turn(-event.movementX * scale, event.movementY * scale);
  });
  canvas.addEventListener("keydown", (event) => {
    const turns = { ArrowLeft: [STEP, 0], ArrowRight: [-STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] };
    if (!turns[event.key]) return;
    event.preventDefault();
    turn(...turns[event.key]);
  });
  new ResizeObserver(() => {
    const scale = Math.min(2, devicePixelRatio);
    canvas.width = Math.round(canvas.clientWidth * scale);
    canvas.height = Math.round(canvas.clientHeight * scale);
    redraw();
  }).observe(canvas);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);

  return {
    show(next) {
      body = next;
      redraw();
    },
    reset() {
      Object.assign(view, { yaw: 0, pitch: 0.15, radius: 0 });
    },
  };
}

function draw(canvas, body, view) {
  const { width, height } = canvas;
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, width, height);
  const joints = Object.entries(body.joints);
  if (!joints.length || !width) return;

  const metres = Float32Array.from(body.vertices, (value) => value / 1000);
  const points = metres.length ? metres : Float32Array.from(joints.flatMap(([, joint]) => joint.slice(0, 3)));
  let floor = -Infinity;
  for (let i = 0; i < points.length; i += 3) {
    view.radius = Math.max(view.radius, Math.hypot(points[i], points[i + 1], points[i + 2]));
    floor = Math.max(floor, points[i + 1]);
  }
  const scale = (0.46 * Math.min(width, height)) / view.radius;
  const turned = turning(view.yaw, view.pitch);
  const place = (x, y, z) => {
    const [a, b, c] = turned(x, y, z);
    return [width / 2 + scale * a, height / 2 + scale * b, c];
  };

  const style = getComputedStyle(canvas);
  context.strokeStyle = style.getPropertyValue("--line");
  context.lineWidth = width / 400;
  for (const radius of FLOOR.radii) {
    context.beginPath();
    for (let i = 0; i <= FLOOR.points; i++) {
      const angle = (2 * Math.PI * i) / FLOOR.points;
      const [x, y] = place(radius * Math.cos(angle), floor, radius * Math.sin(angle));
      context.lineTo(x, y);
    }
    context.stroke();
  }

  if (metres.length) {
    const colour = style.getPropertyValue("--body").trim().split(" ").map(Number);
    const image = shaded(metres, body.faces, place, turned, colour, width, height);
    const layer = new OffscreenCanvas(width, height);
    layer.getContext("2d").putImageData(image, 0, 0);
    context.drawImage(layer, 0, 0);
  }
  const placed = joints.map(([name, [x, y, z, confidence]]) => {
    const [a, b] = place(x, y, z);
    return [name, [a, b, confidence]];
  });
  skeleton(context, Object.fromEntries(placed), body.source, width / 160);
}

// Turns a point about the vertical, then nods it towards the viewer.
function turning(yaw, pitch) {
  const [c, s, d, t] = [Math.cos(yaw), Math.sin(yaw), Math.cos(pitch), Math.sin(pitch)];
  return (x, y, z) => {
    const depth = -s * x + c * z;
    return [c * x + s * z, d * y - t * depth, t * y + d * depth];
  };
}

// The mesh as an image: Gouraud shading, the nearest triangle at each pixel.
function shaded(vertices, faces, place, turned, colour, width, height) {
  const light = brightness(vertices, faces, turned);
  const seen = new Float32Array(vertices.length);
  for (let i = 0; i < vertices.length; i += 3) {
    seen.set(place(vertices[i], vertices[i + 1], vertices[i + 2]), i);
  }
  const image = new ImageData(width, height);
  const depth = new Float32Array(width * height).fill(Infinity);
  for (let f = 0; f < faces.length; f += 3) {
    const [a, b, c] = [faces[f], faces[f + 1], faces[f + 2]];
    const [ax, ay, az] = [seen[3 * a], seen[3 * a + 1], seen[3 * a + 2]];
    const [bx, by, bz] = [seen[3 * b], seen[3 * b + 1], seen[3 * b + 2]];
    const [cx, cy, cz] = [seen[3 * c], seen[3 * c + 1], seen[3 * c + 2]];
    const area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax);
    if (!area) continue;
    const left = Math.max(0, Math.ceil(Math.min(ax, bx, cx))), right = Math.min(width - 1, Math.max(ax, bx, cx));
    const top = Math.max(0, Math.ceil(Math.min(ay, by, cy))), bottom = Math.min(height - 1, Math.max(ay, by, cy));
    for (let y = top; y <= bottom; y++) {
      for (let x = left; x <= right; x++) {
        const v = ((x - ax) * (cy - ay) - (y - ay) * (cx - ax)) / area;
        const w = ((bx - ax) * (y - ay) - (by - ay) * (x - ax)) / area;
        const u = 1 - v - w;
        if (u < 0 || v < 0 || w < 0) continue;
        const z = u * az + v * bz + w * cz;
        const at = y * width + x;
        if (z >= depth[at]) continue;
        depth[at] = z;
        const bright = u * light[a] + v * light[b] + w * light[c];
        image.data.set([bright * colour[0], bright * colour[1], bright * colour[2], 255], 4 * at);
      }
    }
  }
  return image;
}

// How much light falls on each vertex, by its normal: the mean of its triangles', which point outwards.
function brightness(vertices, faces, turned) {
  const normals = new Float32Array(vertices.length);
  let volume = 0; // six times what the mesh encloses; negative if its triangles turn the other way
  const at = (i) => [vertices[3 * i], vertices[3 * i + 1], vertices[3 * i + 2]];
  for (let f = 0; f < faces.length; f += 3) {
    const corners = [faces[f], faces[f + 1], faces[f + 2]];
    const [a, b, c] = corners.map(at);
    const normal = cross(minus(b, a), minus(c, a));
    volume += dot(a, normal);
    for (const corner of corners) {
      for (let axis = 0; axis < 3; axis++) normals[3 * corner + axis] += normal[axis];
    }
  }
  const outwards = Math.sign(volume);
  return Float32Array.from({ length: vertices.length / 3 }, (_, i) => {
    const normal = turned(normals[3 * i], normals[3 * i + 1], normals[3 * i + 2]);
    const cosine = (outwards * dot(normal, LIGHT)) / (Math.hypot(...normal) || 1);
    return AMBIENT + (1 - AMBIENT) * Math.max(0, cosine);
  });
}

const minus = (a, b) => [a[0] - b[0], a[1] - b[1], a[2] - b[2]];
const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
