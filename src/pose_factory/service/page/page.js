// The page: takes a picture or a film, asks the service for the pose of each of its pictures, and shows it.

import { skeleton } from "./overlay.js";
import * as service from "./service.js";
import { turntable } from "./turntable.js";

const RATE = 15; // pictures sent of each second of a film
const LONGEST = 60 * RATE; // so many pictures of a film are sent at most
const SHARPEST = 1280; // the longer side of what is sent, at most, in pixels
const OVERLAY = 1200; // the longer side of the overlay, at least: small pictures are shown enlarged
const QUALITY = 0.95; // of the JPEGs that are sent
const PATIENCE = 5; // a busy service is asked again so many times

const byId = (id) => document.getElementById(id);
const picture = byId("picture");
const overlay = byId("overlay");
const body = turntable(byId("body"));

let token = "";
let run = new AbortController(); // of the file that is being worked on

// --- Files -------------------------------------------------------------------------------------------------------

async function open(file) {
  run.abort();
  run = new AbortController();
  const { signal } = run;
  complain("");
  body.reset();
  byId("result").hidden = byId("film").hidden = byId("token-form").hidden = true;
  byId("progress").textContent = "Looking …";
  try {
    await (file.type.startsWith("image/") ? onePicture(file, signal) : wholeFilm(file, signal));
  } catch (error) {
    if (signal.aborted) return;
    byId("progress").textContent = "";
    complain(error.message);
  }
}

async function onePicture(file, signal) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    throw new Error(`${file.name} is damaged, or no picture that this browser can open; try a JPEG, PNG or WebP.`);
  }
  paint(bitmap, bitmap.width, bitmap.height);
  const answer = await ask({ frame_number: 0, session_id: session() }, signal);
  if (signal.aborted) return;
  show(answer);
  byId("progress").textContent = answer.source ? "" : "Nobody was found in it.";
}

async function wholeFilm(file, signal) {
  const film = await openFilm(file);
  signal.addEventListener("abort", () => URL.revokeObjectURL(film.src));
  const slider = byId("frame");
  const stop = byId("stop");
  const poses = [];
  let stopped = false;
  byId("film").hidden = stop.hidden = false;
  slider.disabled = true;
  slider.oninput = () => lookBack(film, poses, signal);
  stop.onclick = () => (stopped = true);
  const name = session();
  const expected = Math.min(LONGEST, Math.floor(film.duration * RATE + 0.5));
  const total = Number.isFinite(film.duration) ? ` of ${expected}` : "";
  try {
    while (poses.length < LONGEST && !stopped && (await seek(film, poses.length))) {
      paint(film, film.videoWidth, film.videoHeight);
      const answer = await ask({ frame_number: poses.length, session_id: name, fps: RATE }, signal);
      if (signal.aborted) return;
      poses.push(answer);
      show(answer);
      slider.max = slider.value = poses.length - 1;
      byId("progress").textContent = `${poses.length}${total} pictures`;
    }
    byId("progress").textContent = summary(poses);
  } finally {
    if (!signal.aborted) {
      stop.hidden = true;
      slider.disabled = !poses.length;
    }
  }
}

// Show the picture of a film, and its pose, that the slider asks for.
async function lookBack(film, poses, signal) {
  const slider = byId("frame");
  const wanted = slider.value;
  await seek(film, Number(wanted));
  if (wanted !== slider.value || signal.aborted) return;
  paint(film, film.videoWidth, film.videoHeight);
  show(poses[wanted]);
}

function summary(poses) {
  const words = poses.map(({ source }) => source ?? "without anybody");
  const counts = [...new Set(words)].map((word) => `${words.filter((other) => other === word).length} ${word}`);
  return `${poses.length} pictures: ${counts.join(", ")}.`;
}

function openFilm(file) {
  const film = document.createElement("video");
  Object.assign(film, { muted: true, playsInline: true, preload: "auto", src: URL.createObjectURL(file) });
  return new Promise((resolve, reject) => {
    film.onloadeddata = () => resolve(film);
    film.onerror = () => {
      URL.revokeObjectURL(film.src);
      reject(new Error(`${file.name} is damaged, or no film that this browser can play; try an H.264 MP4 or a WebM.`));
    };
  });
}

// Go to the middle of a picture's share of the film's time; false past its end.
async function seek(film, number) {
  const time = (number + 0.5) / RATE;
  if (time >= film.duration) return number === 0; // a film of one short picture has that one
  await new Promise((resolve, reject) => {
    film.onseeked = resolve;
    film.onerror = () => reject(new Error("The film is damaged from here on."));
    film.currentTime = time;
  });
  return film.currentTime > time - 0.5 / RATE;
}

// Put an image or a film's picture on the canvas, from which it is sent: upright, and no larger than need be.
function paint(source, width, height) {
  const scale = Math.min(1, SHARPEST / Math.max(width, height));
  picture.width = Math.round(width * scale);
  picture.height = Math.round(height * scale);
  picture.getContext("2d").drawImage(source, 0, 0, picture.width, picture.height);
  overlay.width = overlay.height = 0;
  byId("result").hidden = false;
}

// --- Asking ------------------------------------------------------------------------------------------------------

// A name that nobody else has; crypto.randomUUID is for secure pages alone.
function session() {
  return "page-" + Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16)).join("");
}

// The answer to the picture on the canvas, with what the page keeps of it.
async function ask(fields, signal) {
  const request = { ...fields, image_base64: picture.toDataURL("image/jpeg", QUALITY) };
  for (let tries = 1; ; tries++) {
    try {
      const started = performance.now();
      const answer = await service.pose(request, token, signal);
      complain("");
      return kept(answer, performance.now() - started);
    } catch (error) {
      if (error.status === 401) {
        token = await askToken(signal);
      } else if (error.status === 503 && tries < PATIENCE) {
        complain(`${error.message} Asking again …`);
        await new Promise((resolve) => setTimeout(resolve, 1000 * (error.wait || 1)));
        signal.throwIfAborted();
      } else {
        throw error;
      }
    }
  }
}

// Without what the page does not show, and with the mesh as millimetres in whole numbers, a tenth of its size as lists.
function kept(answer, roundTrip) {
  const { mesh_vertices_data: vertices, mesh_faces_data: faces, ...rest } = answer;
  return { ...rest, roundTrip, vertices: Int16Array.from(vertices.flat(), (value) => 1000 * value), faces: shared(faces) };
}

// Every answer has the same triangles; they are kept once.
let triangles = new Uint32Array();
function shared(faces) {
  if (faces.length && 3 * faces.length !== triangles.length) triangles = Uint32Array.from(faces.flat());
  return triangles;
}

function askToken(signal) {
  const form = byId("token-form");
  const field = byId("token");
  if (token) complain("This is not the service's token; try another.");
  form.hidden = false;
  field.focus();
  return new Promise((resolve, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason));
    form.onsubmit = (event) => {
      event.preventDefault();
      complain("");
      form.hidden = true;
      resolve(field.value.trim());
      field.value = "";
    };
  });
}

// --- Showing -----------------------------------------------------------------------------------------------------

function complain(sentence) {
  byId("error").textContent = sentence;
  byId("error").hidden = !sentence;
}

function show(answer) {
  const { keypoints, source } = answer;
  const enlarged = Math.max(1, OVERLAY / Math.max(picture.width, picture.height));
  overlay.width = picture.width * enlarged;
  overlay.height = picture.height * enlarged;
  const flat = keypoints.map(({ name, x, y, confidence }) => {
    return [name, [(x * overlay.width) / answer.frame_width, (y * overlay.height) / answer.frame_height, confidence]];
  });
  skeleton(overlay.getContext("2d"), Object.fromEntries(flat), source, Math.max(overlay.width, overlay.height) / 250);
  const deep = answer.has_3d
    ? keypoints.map(({ name, confidence }, index) => [name, [...answer.joints_3d_raw[index], confidence]])
    : [];
  body.show({ joints: Object.fromEntries(deep), source, vertices: answer.vertices, faces: answer.faces });

  for (const item of document.querySelectorAll(".legend li")) {
    item.toggleAttribute("aria-current", item.className === source);
  }
  byId("meter").value = answer.tracking_confidence;
  byId("confidence").textContent = `${Math.round(100 * answer.tracking_confidence)} %`;
  byId("source").textContent = source ?? "nobody found";
  byId("person").textContent = answer.track_id ?? "–";
  byId("service-time").textContent = `${Math.round(answer.processing_time_ms)} ms`;
  byId("round-trip").textContent = `${Math.round(answer.roundTrip)} ms`;
  byId("model").textContent = answer.model_version;
  byId("angles").replaceChildren(...angleRows(answer.joint_angles_3d));
}

// A row for each joint: one angle in the middle of the body, one on either side for the others.
function angleRows(angles) {
  const joints = [...new Set(Object.keys(angles).map((name) => name.replace(/^(left|right)_/, "")))];
  return joints.map((joint) => {
    const row = document.createElement("tr");
    const head = document.createElement("th");
    head.scope = "row";
    head.textContent = joint;
    const names = joint in angles ? [joint] : [`left_${joint}`, `right_${joint}`];
    const cells = names.map((name) => {
      const cell = document.createElement("td");
      cell.colSpan = 3 - names.length;
      cell.textContent = Number.isFinite(angles[name]) ? angles[name].toFixed(0) : "–";
      return cell;
    });
    row.append(head, ...cells);
    return row;
  });
}

async function showHealth() {
  let line;
  try {
    const { status, ready, backend, device } = await service.health();
    line = [status.replaceAll("_", " "), backend, device].filter(Boolean).join(" · ");
    if (!ready) setTimeout(showHealth, 2000);
  } catch {
    line = "The service does not answer";
    setTimeout(showHealth, 5000);
  }
  byId("health").textContent = line;
}

// --- Wiring ------------------------------------------------------------------------------------------------------

byId("file").addEventListener("change", ({ target }) => {
  if (target.files.length) open(target.files[0]);
  target.value = ""; // the same file may be chosen again
});
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dragging");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dragging");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dragging");
  if (event.dataTransfer.files.length) open(event.dataTransfer.files[0]);
});
showHealth();
