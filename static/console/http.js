// One request to this server: sends it with a timeout, opens the envelope, and classifies failures.

import { record } from "./requests.js";

/** The default timeout in milliseconds. The server's own is 30 seconds. */
const TIMEOUT = 40_000;

/** A failed request: its `kind`, and a message for the user. */
export class Problem extends Error {
  constructor(kind, message, { status = 0, retryAfter = null, reason = null } = {}) {
    super(message);
    Object.assign(this, { kind, status, retryAfter, reason });
  }

  /** Whether the same request may succeed later. */
  get isRetryable() {
    return ["unreachable", "throttled", "busy", "failed"].includes(this.kind);
  }
}

/** Returns the problem of a response that breaks the contract. */
export function malformed() {
  return new Problem("failed", "The server sent an unexpected response.");
}

/** The URL of a room's view. */
export function roomUrl(room) {
  return `/?room=${encodeURIComponent(room)}`;
}

/** `/route/room`. A browser removes `.` and `..` from a path, so these names travel in the query. */
export function roomPath(route, room) {
  let name;
  try {
    name = encodeURIComponent(room);
  } catch {
    // JSON may hold half of a surrogate pair; UTF-8 may not.
    throw new Problem("invalid", "Room name is not valid.");
  }
  return /^\.{1,2}$/.test(room) ? `${route}?roomName=${name}` : `${route}/${name}`;
}

/**
 * Sends a request and returns `{status, data, raw, etag, age, reason}`. `raw` is `data` as JSON text, for values that are not
 * strings. A 304 has no data. `timeout` is in milliseconds. Throws a [Problem].
 */
export async function send({ method = "GET", path, body, token, etag, timeout = TIMEOUT }) {
  const headers = {};
  if (token) headers.Authorization = `Bearer ${token}`;
  if (etag) headers["If-None-Match"] = etag;
  if (body) headers["Content-Type"] = "application/json";
  const finish = record({ method, path, body, etag, withToken: Boolean(token) });
  let response;
  let text;
  try {
    // `no-store`: a 304 must reach this page. Redirects are not followed.
    response = await fetch(path, {
      method,
      headers,
      body: body && JSON.stringify(body),
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
      signal: AbortSignal.timeout(timeout),
    });
    text = await response.text();
  } catch {
    finish("no response");
    throw new Problem("unreachable", "The server can’t be reached.");
  }
  finish(response.status);
  return readEnvelope(response, text);
}

function readEnvelope(response, text) {
  const header = (name) => response.headers.get(name);
  const result = {
    status: response.status,
    etag: header("ETag"),
    age: parseSeconds(header("Age")) ?? 0,
    reason: header("X-Catch-Up-Reason"),
  };
  if (response.status === 304) {
    return result;
  }
  const envelope = parseJson(text);
  if (response.ok) {
    // A proxy or a portal may answer with a page of its own.
    if (envelope?.error !== null || envelope.data === undefined) throw malformed();
    const start = '{"error":null,"data":';
    const raw = text.startsWith(start) ? text.slice(start.length, -1) : toJson(envelope.data);
    return { ...result, data: envelope.data, raw };
  }
  const message = envelope?.error?.message;
  const sentence = typeof message === "string" ? message : undefined;
  throw problemOf(response.status, sentence, parseRetryAfter(header("Retry-After")), result.reason);
}

/** Parses a JSON text; `null` if it is malformed. */
function parseJson(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** Returns a value as JSON text; `…` if it is nested too deeply. */
export function toJson(value) {
  try {
    return JSON.stringify(value);
  } catch {
    return "…";
  }
}

function problemOf(status, message, retryAfter, reason) {
  const details = { status, retryAfter, reason };
  switch (status) {
    case 400:
      return new Problem("invalid", message ?? "The request is not valid.", details);
    case 401:
      return new Problem("unauthorized", "You are not signed in.", details);
    case 403:
      return new Problem("forbidden", "You do not have access.", details);
    case 404:
      return new Problem("not-found", "Not found.", details);
    case 429:
      return new Problem("throttled", "Too many attempts.", details);
    case 502:
    case 504:
      return new Problem("unreachable", "The server can’t be reached.", details);
    case 503:
      return new Problem("busy", "The server is busy.", details);
    default:
      return new Problem("failed", "Something went wrong on the server.", details);
  }
}

/** Parses `Retry-After` to seconds; `null` if it is missing or malformed. */
function parseRetryAfter(value) {
  if (!value) {
    return null;
  }
  const wait = parseSeconds(value) ?? (Date.parse(value) - Date.now()) / 1000;
  return Number.isFinite(wait) ? Math.max(0, wait) : null;
}

/** Parses up to nine digits; `null` for any other text. */
function parseSeconds(value) {
  return /^\d{1,9}$/.test(value) ? Number(value) : null;
}
