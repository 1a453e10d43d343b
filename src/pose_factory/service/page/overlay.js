// Skeletons: which joints are joined, in which colours, drawn as lines on a canvas.

// As in skeleton.json; the tests hold the two together.
export const EDGES = [
  ["pelvis", "spine"], ["spine", "neck"], ["neck", "head_top"], ["neck", "nose"],
  ["nose", "left_eye"], ["left_eye", "left_ear"], ["nose", "right_eye"], ["right_eye", "right_ear"],
  ["neck", "left_shoulder"], ["left_shoulder", "left_elbow"], ["left_elbow", "left_wrist"],
  ["neck", "right_shoulder"], ["right_shoulder", "right_elbow"], ["right_elbow", "right_wrist"],
  ["pelvis", "left_hip"], ["left_hip", "left_knee"], ["left_knee", "left_ankle"], ["left_ankle", "left_foot"],
  ["pelvis", "right_hip"], ["right_hip", "right_knee"], ["right_knee", "right_ankle"], ["right_ankle", "right_foot"],
];

const COLOURS = { detected: "rgb(50 215 80)", redetected: "rgb(20 205 245)", predicted: "rgb(255 80 85)" };
const CASING = "rgb(25 28 35)"; // the dark outline that keeps every line visible on any background
const FAINTEST = 0.25; // a joint of no confidence is still drawn so strongly

// Draw the joints {name: [x, y, confidence]}, in the canvas's pixels, with lines of this width.
export function skeleton(context, joints, source, width) {
  context.save();
  context.lineCap = "round";
  const lines = EDGES.filter(([a, b]) => joints[a] && joints[b]).map(([a, b]) => [joints[a], joints[b]]);
  const dots = Object.values(joints);
  for (const [colour, extra] of [[CASING, 1], [COLOURS[source] ?? "white", 0]]) {
    context.strokeStyle = context.fillStyle = colour;
    for (const [a, b] of lines) {
      context.globalAlpha = Math.max(FAINTEST, Math.min(a[2], b[2]));
      context.lineWidth = width * (1 + extra);
      context.beginPath();
      context.moveTo(a[0], a[1]);
      context.lineTo(b[0], b[1]);
      context.stroke();
    }
    for (const [x, y, confidence] of dots) {
      context.globalAlpha = Math.max(FAINTEST, confidence);
      context.beginPath();
      context.arc(x, y, width * (1.1 + extra / 2), 0, 2 * Math.PI);
      context.fill();
    }
  }
  context.restore();
}
