// One request to this server: sends it, waits so long and no longer, opens the envelope, and names what went wrong.
// Knows no token but the one it is handed.

import { record } from "./requests.js";

/** The server gives up a request after 30 seconds by itself. */
const PATIENCE = 40_000;

/** What went wrong, in a word (`kind`) and in a sentence for the user. */
export class Problem extends Error {
  constructor(kind, message, { status = 0, retryAfter = null, reason = null } = {}) {
    super(message);
    Object.assign(this, { kind, status, retryAfter, reason });
  }

  /** Whether the same request may succeed later. */
  get passes() {
    return ["away", "throttled", "busy", "failed"].includes(this.kind);
  }
}

/** `/route/room`. Dots alone would be taken as steps by the browser, so that they travel in the query. */
export function ofRoom(route, room) {
  return /^\.{1,2}$/.test(room) ? `${route}?roomName=${encodeURIComponent(room)}` : `${route}/${encodeURIComponent(room)}`;
}

/**
 * Asks, and answers with `{status, data, raw, etag, age, stale, reason}`: `raw` is `data` as it was sent, for what is no text; on
 * a 304 there is no data. Throws a [Problem].
 */
export async function ask({ method = "GET", path, body, token, etag }) {
  const headers = {};
  if (token) headers.Authorization = `Bearer ${token}`;
  if (etag) headers["If-None-Match"] = etag;
  if (body) headers["Content-Type"] = "application/json";
  const done = record({ method, path, body, etag, withToken: Boolean(token) });
  let response;
  let text;
  try {
    // `no-store`: the conditions are our own, and a 304 has to reach us. Nothing is followed to anywhere else.
    response = await fetch(path, {
      method,
      headers,
      body: body && JSON.stringify(body),
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
      signal: AbortSignal.timeout(PATIENCE),
    });
    text = await response.text();
  } catch {
    done("no answer");
    throw new Problem("away", "The server can’t be reached.");
  }
  done(response.status);
  return answer(response, text);
}

function answer(response, text) {
  const header = (name) => response.headers.get(name);
  const about = {
    status: response.status,
    etag: header("ETag"),
    age: Number(header("Age") ?? 0),
    reason: header("X-Catch-Up-Reason"),
  };
  if (response.status === 304) {
    return about;
  }
  let envelope = null;
  try {
    envelope = JSON.parse(text);
  } catch {
    // Something between us and the server has answered.
  }
  if (response.ok && envelope?.error === null) {
    const start = '{"error":null,"data":';
    const raw = text.startsWith(start) ? text.slice(start.length, -1) : JSON.stringify(envelope.data);
    return { ...about, data: envelope.data, raw };
  }
  throw problem(response.status, envelope?.error?.message, retryAfter(header("Retry-After")), about.reason);
}

function problem(status, message, wait, reason) {
  const details = { status, retryAfter: wait, reason };
  switch (status) {
    case 400:
      return new Problem("wrong", message ?? "The server did not understand the request.", details);
    case 401:
      return new Problem("unauthorized", "You are not signed in.", details);
    case 403:
      return new Problem("forbidden", "You may not see this.", details);
    case 404:
      return new Problem("missing", "There is nothing here.", details);
    case 429:
      return new Problem("throttled", "Too many tries in a short time.", details);
    case 502:
    case 504:
      return new Problem("away", "The server can’t be reached.", details);
    case 503:
      return new Problem("busy", "The server is busy at the moment.", details);
    default:
      return new Problem("failed", "The server could not get an answer.", details);
  }
}

/** Seconds, of a number or of a date. */
function retryAfter(value) {
  if (!value) {
    return null;
  }
  const seconds = /^\d+$/.test(value) ? Number(value) : (Date.parse(value) - Date.now()) / 1000;
  return Number.isFinite(seconds) ? Math.max(0, seconds) : null;
}
