// What the page asks of the pose service.

// The service said no, or nothing: `status` is HTTP's (0 where there was no answer), the message a sentence to show,
// `wait` the seconds after which to ask again, if it said so.
export class Refused extends Error {
  constructor(status, sentence, wait = 0) {
    super(sentence);
    this.status = status;
    this.wait = wait;
  }
}

export async function health() {
  const reply = await fetch("health");
  return reply.json();
}

// The answer to one picture; `request` is what POST /pose/hybrid takes.
export async function pose(request, token, signal) {
  const headers = { "Content-Type": "application/json" };
  if (token) headers.Authorization = `Bearer ${token}`;
  let reply;
  try {
    reply = await fetch("pose/hybrid", { method: "POST", headers, body: JSON.stringify(request), signal });
  } catch (error) {
    if (signal.aborted) throw error;
    throw new Refused(0, "The service cannot be reached; see whether it still runs, then try again.");
  }
  if (reply.ok) return reply.json();
  const { error } = await reply.json().catch(() => ({}));
  const wait = Number(reply.headers.get("Retry-After")) || 0;
  throw new Refused(reply.status, error ?? `The service answered ${reply.status} ${reply.statusText}.`, wait);
}
