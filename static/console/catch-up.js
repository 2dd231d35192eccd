// Reads a room's catch-up and its changes. Rendering is in room.js.

import { roomPath } from "./http.js";
import { LiveUpdates } from "./live.js";
import { commonPrefixLength } from "./markdown.js";
import { Poller } from "./poller.js";

/** Milliseconds between two reads without a stream. */
const POLL_INTERVAL = 15_000;
/** Milliseconds between two reads while a stream is open. */
const STREAM_POLL_INTERVAL = 60_000;
/** A text older than this, in seconds, is stale. */
const STALE_AFTER = 10;

/** Reads a room's catch-up and status, on demand or automatically. Fires `change` on each change. */
export class CatchUp extends EventTarget {
  #session;
  #room;
  #etag = null;
  #work = new Poller(() => this.#read());
  #live;
  #isLive = false;
  #streamEtag = null;

  /** The text; empty if there is none, `null` if unknown. */
  text = null;
  /** How updates arrive: `off`, `connecting`, `stream` or `polling`. */
  mode = "off";
  /** The length of the text that was seen before. */
  knownLength = 0;
  /** Where the latest version differs from the one before. */
  changedAt = 0;
  /** The number of versions that have not been seen. */
  unseen = 0;
  /** The result of the last read: `first`, `same`, `grown` or `rewritten`. */
  outcome = null;
  /** Why there is none: `transcription-off`, `meeting-ended`, `none-yet` or `unknown-room`; `null` if there is one. */
  reason = null;
  /** When the server got the text, in milliseconds since 1970. */
  asOf = null;
  /** Whether the text is stale. */
  isStale = false;
  /** `{transcription, recording}`: true, false, or `null` if unknown. */
  status = { transcription: null, recording: null };

  constructor(session, room) {
    super();
    this.#session = session;
    this.#room = room;
    this.#work.addEventListener("change", () => this.dispatchEvent(new Event("change")));
    this.#live = new LiveUpdates(session, room, {
      onVersion: (etag) => this.#readVersion(etag),
      onOpen: (isOpen) => this.#setMode(isOpen ? "stream" : "polling"),
    });
  }

  /** The poller that reads, with its problem and its next retry. */
  get work() {
    return this.#work;
  }

  refresh() {
    return this.#work.run();
  }

  /** Turns automatic updates on or off: by stream, or else by polling. */
  setLive(on) {
    this.#isLive = on;
    this.#setMode("connecting");
    this.#live.setEnabled(on);
  }

  /** Polls less often while the stream is open: then only the status and the age are new. */
  #setMode(mode) {
    this.mode = this.#isLive ? mode : "off";
    this.#work.interval = this.mode === "off" ? null : this.mode === "stream" ? STREAM_POLL_INTERVAL : POLL_INTERVAL;
    this.dispatchEvent(new Event("change"));
  }

  /** The new text has been seen: the next version marks only its own. */
  markSeen() {
    this.unseen = 0;
  }

  /** Reads until the version of the stream is shown: a read in progress, or another replica, may be behind it. */
  async #readVersion(etag) {
    this.#streamEtag = etag;
    if (etag !== null && etag === this.#etag) return;
    for (const pause of [0, 500, 1_500, 3_500]) {
      await new Promise((resolve) => setTimeout(resolve, pause));
      if (this.#streamEtag !== etag || !this.#isLive) return;
      // A read that was in progress may have got it.
      if (etag === null || etag !== this.#etag) await this.refresh();
      if (this.#etag === etag) return;
    }
  }

  stop() {
    this.#isLive = false;
    this.#live.setEnabled(false);
    this.#work.stop();
  }

  async #read() {
    const [response] = await Promise.all([this.#fetch(), this.#readStatus()]);
    this.#apply(response);
  }

  /** Fetches the catch-up. A 404 is a valid response. */
  async #fetch() {
    try {
      return await this.#session.request({ path: roomPath("/callCatchUp", this.#room), etag: this.#etag });
    } catch (problem) {
      if (problem.kind !== "not-found") throw problem;
      // `none-yet` with a 404 means an unknown room.
      const reason = problem.reason === null || problem.reason === "none-yet" ? "unknown-room" : problem.reason;
      return { status: 404, data: null, age: 0, etag: null, reason };
    }
  }

  async #readStatus() {
    try {
      const { data } = await this.#session.request({ path: roomPath("/callStatus", this.#room) });
      const known = (value) => (typeof value === "boolean" ? value : null);
      this.status = { transcription: known(data?.transcript_status), recording: known(data?.recording_status) };
    } catch {
      // The status is optional, and shown as unknown.
      this.status = { transcription: null, recording: null };
    }
  }

  #apply(response) {
    this.asOf = Date.now() - response.age * 1000;
    this.isStale = response.age > STALE_AFTER;
    if (response.status === 304) {
      this.outcome = "same";
      return;
    }
    this.#etag = response.etag;
    const text = typeof response.data === "string" ? response.data : response.data === null ? "" : response.raw;
    const before = this.text;
    const isEmpty = text.trim() === "";
    this.text = isEmpty ? "" : text;
    this.reason = isEmpty ? this.#absenceReason(response) : null;
    this.changedAt = before === null ? text.length : commonPrefixLength(before, text);
    this.outcome = before === null ? "first" : outcomeOf(before, this.text, this.changedAt);
    if (this.outcome === "grown") {
      this.knownLength = this.unseen > 0 ? Math.min(this.knownLength, this.changedAt) : this.changedAt;
      this.unseen += 1;
    } else if (this.outcome !== "same") {
      // To mark the whole text as new would not help.
      this.knownLength = text.length;
      this.unseen = 0;
    }
  }

  #absenceReason(response) {
    if (response.reason) return response.reason;
    return this.status.transcription === false ? "transcription-off" : "none-yet";
  }
}

function outcomeOf(before, text, changedAt) {
  if (before === text) return "same";
  return changedAt >= before.length / 2 ? "grown" : "rewritten";
}
